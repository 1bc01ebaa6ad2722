"""What every kind of socket needs: connecting, buffers, and detection of silent peers."""

import socket
import struct

from ..errors import AuthenticationError, SystemRefused

_BUFFER = 4 << 20


def connected(
    connection: socket.socket, where: str | tuple[object, ...], url: str, seconds: float
) -> socket.socket | None:
    """Connect a socket, as `SocketAddress.connect`. Close it if that fails."""
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
    """Ask for large buffers; the kernel may give less."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


def is_unanswered(connection: socket.socket, seconds: float = 10.0) -> bool:
    """Return whether the kernel of a TCP peer has left sent data unacknowledged for so many seconds.

    Keep-alive does not run while data is unacknowledged, and the kernel itself gives up after 15 minutes. False while
    the peer is slow to read: then its kernel still acknowledges.
    """
    # struct tcp_info: u8 retransmits at 2, since the last answer; u32 last_ack_recv (ms) at 56
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60)
    (last_answer,) = struct.unpack_from("=I", info, 56)
    return info[2] > 0 and last_answer > seconds * 1000
