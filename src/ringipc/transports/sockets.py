"""What every kind of socket needs: an address, buffers, detection of silent peers, and no copies in forked children."""

from __future__ import annotations

import os
import socket
import struct
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from ..errors import AuthenticationError, Corrupt, SystemRefused

if TYPE_CHECKING:
    from ssl import SSLContext

SHORTEST_KEY = 16  # bytes

_BUFFER = 4 << 20


@dataclass(frozen=True, slots=True)
class SocketAddress(ABC):
    """An address that a listener binds and its peers connect to, and how the two authenticate each other.

    Attributes
    ----------
    bind
        True: bind and listen. False: connect. None: a producer binds, a consumer connects.
    key
        At least 16 bytes that both sides know, or None.
    """

    bind: bool | None = field(default=None, kw_only=True)
    key: bytes | None = field(default=None, kw_only=True, repr=False)

    can_reconnect: ClassVar[bool] = False
    """Whether a connection can break although the peer lives, as in a network."""
    passes_descriptors: ClassVar[bool] = False
    """Whether a file descriptor can be sent over a connection."""

    def __post_init__(self) -> None:
        if self.bind is not None and not isinstance(self.bind, bool):
            raise TypeError(f"bind must be True, False or None, not {self.bind!r}")
        if self.key is None:
            return
        if not isinstance(self.key, bytes):
            raise TypeError(f"key must be bytes, not {type(self.key).__name__}")
        if len(self.key) < SHORTEST_KEY:
            raise ValueError(
                f"key must have at least {SHORTEST_KEY} bytes, not {len(self.key)}; secrets.token_bytes(32) makes one"
            )

    @abstractmethod
    def listen(self, backlog: int) -> Listening:
        """Binds the address.

        Raises
        ------
        SystemRefused, OSError
            It is in use, or not a socket.
        """

    @abstractmethod
    def connect(self, seconds: float) -> socket.socket | None:
        """A connection, or None while nobody listens.

        Raises
        ------
        AuthenticationError
            This user may not connect.
        SystemRefused
            The address cannot be used.
        """

    @abstractmethod
    def prepare(self, connection: socket.socket) -> None:
        """Sets the options of a new connection."""

    def peer_refusal(self, connection: socket.socket) -> str:
        """Why the user at the other end is not admitted, or nothing."""
        return ""

    def peer_is_silent(self, connection: socket.socket) -> bool:
        """Whether the peer's machine has stopped answering."""
        return False

    def tls_context(self) -> SSLContext | None:
        """Set if connections are encrypted."""
        return None

    def server_name(self) -> str:
        """The host that the listener's certificate must name."""
        return ""

    def shares_memory(self) -> bool:
        """Whether the ring itself may be passed to a peer on this machine.

        RINGIPC_RING=0 in the environment forbids it, to test and to measure the stream.
        """
        return os.environ.get("RINGIPC_RING") != "0"

    def local_address(self) -> SocketAddress | None:
        """A new address where peers of this machine get the ring, if this one passes no descriptors."""
        return None

    def local_address_from(self, url: str) -> SocketAddress | None:
        """The listener's `local_address`, from the URL that it sent; None if the URL cannot be one."""
        return None


class Listening:
    """A socket that listens.

    Attributes
    ----------
    socket
        Accepts connections.
    url
        Its address, with the port that was found.
    """

    def __init__(self, socket: socket.socket, url: str) -> None:
        self.socket = socket
        self.url = url

    def remove(self) -> None:
        """Removes what the address has left in the file system; to be called before the socket is closed."""


def connected(
    connection: socket.socket, where: str | tuple[object, ...], url: str, seconds: float
) -> socket.socket | None:
    """Connects a socket, as `SocketAddress.connect`; it is closed if that fails."""
    try:
        connection.settimeout(seconds)
        connection.connect(where)
        return connection
    except BaseException as error:
        connection.close()
        if isinstance(error, ConnectionError | FileNotFoundError | BlockingIOError | TimeoutError):
            return None
        if isinstance(error, PermissionError):
            raise AuthenticationError(error.errno, "this user may not connect", url) from None
        if isinstance(error, OSError):
            raise SystemRefused(error.errno, error.strerror, url) from None
        raise


def enlarge_buffers(connection: socket.socket) -> None:
    """Asks for large buffers; the kernel may give less."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


def is_unanswered(connection: socket.socket, seconds: float = 10.0) -> bool:
    """Whether the kernel of a TCP peer has left sent data unacknowledged for so many seconds.

    Keep-alive does not run while data is unacknowledged, and the kernel itself gives up after 15 minutes. False while
    the peer is slow to read: then its kernel still acknowledges.
    """
    # struct tcp_info: u8 retransmits at 2, since the last answer; u32 last_ack_recv (ms) at 56
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60)
    (last_answer,) = struct.unpack_from("=I", info, 56)
    return info[2] > 0 and last_answer > seconds * 1000


# ---- file descriptors over Unix sockets (SCM_RIGHTS) ----

_MARK = b"ring"
_PATIENCE = 5.0  # seconds


def send_descriptor(connection: socket.socket, fd: int) -> None:
    """Sends a file descriptor, and waits until the peer has it and has closed the connection."""
    connection.settimeout(_PATIENCE)
    socket.send_fds(connection, [_MARK], [fd])
    connection.recv(1)


def receive_descriptor(connection: socket.socket) -> int:
    """The file descriptor that the peer sends.

    Raises
    ------
    Corrupt
        It sends something else, or nothing.
    """
    connection.settimeout(_PATIENCE)
    try:
        data, fds, _, _ = socket.recv_fds(connection, len(_MARK), 1)
    except OSError as error:
        raise Corrupt(f"the peer did not send its ring: {error}") from error
    if data != _MARK or len(fds) != 1:
        for fd in fds:
            os.close(fd)
        raise Corrupt("the peer sent something else than its ring")
    return fds[0]


# ---- forks: a child that kept its parent's connections open would hide the parent's death from the peer ----


class _Closable(Protocol):
    def close(self) -> object: ...


_C = TypeVar("_C", bound=_Closable)

_open: weakref.WeakSet[_Closable] = weakref.WeakSet()
_forking = threading.RLock()  # no fork falls between the opening of a socket and its registration


def closed_in_children(make: Callable[[], _C]) -> _C:
    """Opens a socket or the like, without waiting, that forked children close."""
    with _forking:
        made = make()
        _open.add(made)
    return made


def pair_closed_in_children() -> tuple[socket.socket, socket.socket]:
    """A pair of connected sockets that forked children close."""
    with _forking:
        pair = socket.socketpair()
        _open.update(pair)
    return pair


def _close_in_child() -> None:
    for each in list(_open):
        each.close()
    _forking.release()


os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_close_in_child)
