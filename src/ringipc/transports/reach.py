"""A connection to whoever listens, or word that nobody does yet."""

import socket

from ..errors import AuthenticationError, SystemRefused
from . import tcp, unix
from .meeting import Terms
from .url import Url


def reach(terms: Terms, seconds: float) -> socket.socket | None:
    """A connection, or None while nobody listens."""
    if terms.url.scheme == "unix":
        return _connected(unix.make(), unix.address(terms.url), terms.url, seconds)
    for family, where in tcp.find(terms.url, keyed=terms.key is not None, listens=False):
        connection = _connected(tcp.make(family), where, terms.url, seconds)
        if connection is not None and _has_peer(connection):
            return connection
    return None


def _has_peer(connection: socket.socket) -> bool:
    """False, and closed: it has gone, or nobody listens and the kernel gave the attempt the port that it was for."""
    try:
        if connection.getsockname() != connection.getpeername():
            return True
    except OSError:
        pass
    connection.close()
    return False


def _connected(
    connection: socket.socket, where: str | tuple[object, ...], url: Url, seconds: float
) -> socket.socket | None:
    try:
        connection.settimeout(seconds)
        connection.connect(where)
        return connection
    except BaseException as error:
        connection.close()
        if isinstance(error, ConnectionError | FileNotFoundError | BlockingIOError | TimeoutError):
            return None
        if isinstance(error, PermissionError):
            raise AuthenticationError(error.errno, "this user may not connect", str(url)) from None
        if isinstance(error, OSError):
            raise SystemRefused(error.errno, error.strerror, str(url)) from None
        raise
