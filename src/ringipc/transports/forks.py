"""A forked child must not hold its parent's connections open: the peer would wait for ever for the parent to die."""

import os
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar


class Closable(Protocol):
    def close(self) -> object: ...


_C = TypeVar("_C", bound=Closable)

_owned: "weakref.WeakSet[Closable]" = weakref.WeakSet()
_forking = threading.RLock()  # no fork falls between the making of a socket and its being noted


def own(make: Callable[[], _C]) -> _C:
    """Makes a socket or the like, without waiting, that a forked child closes."""
    with _forking:
        made = make()
        _owned.add(made)
    return made


def own_pair() -> tuple[socket.socket, socket.socket]:
    with _forking:
        pair = socket.socketpair()
        _owned.update(pair)
    return pair


def _close_in_child() -> None:
    for each in list(_owned):
        each.close()
    _forking.release()


os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_close_in_child)
