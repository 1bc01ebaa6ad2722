"""Closes the connections of a process in its forked children.

A child that kept its parent's connections open would hide the parent's death from the peers.
"""

import os
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar


class _Closable(Protocol):
    def close(self) -> object: ...


_C = TypeVar("_C", bound=_Closable)

_open: weakref.WeakSet[_Closable] = weakref.WeakSet()
_forking = threading.RLock()  # no fork falls between the opening of a socket and its registration


def closed_in_children(make: Callable[[], _C]) -> _C:
    """Open a socket or the like, without waiting, that forked children close."""
    with _forking:
        made = make()
        _open.add(made)
    return made


def pair_closed_in_children() -> tuple[socket.socket, socket.socket]:
    """Return a pair of connected sockets that forked children close."""
    with _forking:
        pair = socket.socketpair()
        _open.update(pair)
    return pair


def _close_in_child() -> None:
    for each in list(_open):
        each.close()
    _forking.release()


os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_close_in_child)
