"""As `multiprocessing.connection`: connections, listeners and clients.

The connections of `Pipe` and of the families of sockets speak the protocol of the standard library, so the other end
may be a connection of the standard library. Connections over rings move objects through shared memory: those of the
family "ring", and those of a `Pipe` with `wait`.
"""

import itertools
import os
import secrets
import socket
from collections.abc import Callable
from hashlib import sha256
from multiprocessing import connection as standard
from multiprocessing.connection import answer_challenge, deliver_challenge, wait
from multiprocessing.context import AuthenticationError
from time import monotonic as _now
from typing import Any

from .. import _names
from .._arguments import Wait
from ..channel import Channel
from ..transports.unix import peer_of
from ._ring_connection import PEER_SECONDS, RingConnection, pass_rings, rings_on
from ._standard import fall_back
from ._stream_connection import Connection as Connection
from ._stream_connection import adopted

__all__ = ["Client", "Listener", "Pipe", "wait"]

_LONGEST_ADDRESS = 107  # bytes of the address of a Unix socket
_numbers = itertools.count()


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    one.setblocking(True)  # also where socket.setdefaulttimeout was called
    other.setblocking(True)
    return one, other


def Pipe(duplex: bool = True, *, wait: Wait | None = None) -> tuple[Any, Any]:
    """Return two connections that are connected with each other.

    Parameters
    ----------
    duplex
        False: the first can only receive, the second only send.
    wait
        None: they are connected by a socket or a pipe. "block", "adaptive" or "spin": by rings in shared memory, and
        this is how `recv` waits: it sleeps; it spins for up to 200 microseconds while that has been succeeding; it
        spins all the time. Rings are quicker, most of all with arrays; they use more file descriptors.

    Examples
    --------
    >>> from ringipc import mp
    >>> ours, theirs = mp.Pipe()
    >>> ours.send([1, "hello", None])
    >>> theirs.recv()
    [1, 'hello', None]
    """
    if wait is None:
        if not duplex:
            reading, writing = os.pipe()
            return Connection(reading, writable=False), Connection(writing, readable=False)
        one, other = _socket_pair()
        return Connection(one.detach()), Connection(other.detach())
    there, back = Channel.anonymous(), Channel.anonymous() if duplex else None
    one, other = _socket_pair()
    return (
        RingConnection(one.detach(), rings_on(there, back, wait), wait),
        RingConnection(other.detach(), rings_on(back, there, wait), wait),
    )


def abstract_address(what: str, name: str) -> bytes:
    """Return the abstract address of a Unix socket: nothing is left of it when it ends. what: kind of listener."""
    start = f"\0ringipc {what} ".encode()
    address = start + os.fsencode(_names.path_of(_names.checked_name(name, what)))
    return address if len(address) <= _LONGEST_ADDRESS else start + sha256(address).hexdigest().encode()


class _RingListener:
    """Listens for clients that pass rings. Takes the place of `multiprocessing.connection.SocketListener`."""

    def __init__(self, name: str | None, backlog: int, wait: Wait) -> None:
        self._address = name or f"listener-{os.getpid()}-{next(_numbers)}-{secrets.token_hex(8)}"
        self._last_accepted: Any = None
        self._wait = wait
        address = abstract_address("listener", self._address)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.setblocking(True)
        try:
            self._socket.bind(address)
            self._socket.listen(backlog)
        except OSError:
            self._socket.close()
            raise

    def accept(self) -> RingConnection:
        while True:
            accepted, _ = self._socket.accept()
            if peer_of(accepted)[1] == os.geteuid():
                accepted.setblocking(True)
                return RingConnection(accepted.detach(), None, self._wait)
            accepted.close()

    def close(self) -> None:
        self._socket.close()


class Listener(standard.Listener):
    """Listens for connections, as `multiprocessing.connection.Listener`.

    Parameters
    ----------
    address
        A path (AF_UNIX), or a host and a port (AF_INET). For the family "ring" a name, for processes of this user on
        this machine. None: one is chosen.
    family
        "AF_UNIX", "AF_INET" or "ring". None: that of the address.
    backlog
        How many clients may wait to be accepted.
    authkey
        A key that the clients have to know. A client that does not prove this within 10 seconds is refused.
    wait
        With the family "ring": how connections wait, as for `Pipe`.
    """

    def __init__(
        self,
        address: Any = None,
        family: str | None = None,
        backlog: int = 1,
        authkey: bytes | None = None,
        *,
        wait: Wait = "block",
    ) -> None:
        _check_key(authkey)
        if family == "ring":
            self._listener: Any = _RingListener(address, backlog, wait)
            self._authkey = authkey
        else:
            super().__init__(address, family, backlog, authkey)

    def accept(self) -> Any:
        """Accept a client, and return the connection with it.

        Raises
        ------
        AuthenticationError
            The client does not know the key.
        EOFError, OSError
            It has sent something else, or has closed. The listener can accept others.
        """
        if self._listener is None:
            raise OSError("listener is closed")
        connection = self._listener.accept()
        if not isinstance(connection, RingConnection):
            connection = adopted(connection)
        if self._authkey is not None:
            _authenticate(connection, self._authkey, deliver_challenge, answer_challenge)
        return connection


def Client(address: Any, family: str | None = None, authkey: bytes | None = None, *, wait: Wait = "block") -> Any:
    """Connect to a listener, and return the connection with it. The parameters are those of `Listener`.

    Raises
    ------
    AuthenticationError
        The keys differ, or the listener belongs to another user (family "ring").
    OSError
        Nobody listens.
    """
    _check_key(authkey)
    connection = _connect(address, wait) if family == "ring" else adopted(standard.Client(address, family))
    if authkey is not None:
        _authenticate(connection, authkey, answer_challenge, deliver_challenge)
    return connection


def _connect(name: str, wait: Wait) -> RingConnection:
    """Connect to a listener of the family "ring", and pass rings to it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(True)
        sock.connect(abstract_address("listener", name))
        pid, uid = peer_of(sock)
        if uid != os.geteuid():
            raise AuthenticationError(f"the listener {name!r} belongs to user {uid} (process {pid})")
        rings = pass_rings(sock, wait)
        return RingConnection(sock.detach(), rings, wait)


def _check_key(authkey: bytes | None) -> None:
    if authkey is not None and not isinstance(authkey, bytes):
        raise TypeError("authkey should be a byte string")


def _authenticate(connection: Any, key: bytes, *steps: Callable[[Any, bytes], None]) -> None:
    """Prove that both sides know the key. Close the connection if they do not."""
    connection._deadline = _now() + PEER_SECONDS
    try:
        for step in steps:
            step(connection, key)
    except TimeoutError as error:
        connection.close()
        raise AuthenticationError(str(error)) from None
    except AssertionError as error:  # Python 3.11: it did not send a challenge
        connection.close()
        raise AuthenticationError(f"the peer did not send a challenge: {error}") from None
    except BaseException:
        connection.close()
        raise
    connection._deadline = None


__getattr__ = fall_back(__name__)
