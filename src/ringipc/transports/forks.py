"""A forked child must not hold its parent's connections open: the peer would wait for ever for the parent to die."""

import os
import socket
import threading
import weakref
from collections.abc import Callable

_sockets: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()
_forking = threading.RLock()  # no fork falls between the making of a socket and its being noted


def own(make: Callable[[], socket.socket]) -> socket.socket:
    """Makes a socket, without waiting, that a forked child closes."""
    with _forking:
        made = make()
        _sockets.add(made)
    return made


def own_pair() -> tuple[socket.socket, socket.socket]:
    with _forking:
        pair = socket.socketpair()
        _sockets.update(pair)
    return pair


def _close_in_child() -> None:
    for each in list(_sockets):
        each.close()
    _forking.release()


os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_close_in_child)
