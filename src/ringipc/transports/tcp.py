"""TCP sockets: where a host is, and how a peer that vanished is noticed."""

import errno
import ipaddress
import socket
import struct
from typing import Any

from ..errors import SystemRefused
from .forks import own
from .url import Url

Found = tuple[int, tuple[Any, ...]]  # address family, address

_BUFFER = 4 << 20
_IDLE, _INTERVAL, _COUNT = 4, 2, 3  # seconds, seconds, probes: 10 s for an idle connection


def find(url: Url, *, keyed: bool, listens: bool) -> list[Found]:
    """The addresses of a host.

    Raises
    ------
    ValueError
        There is no key, and not all of them are this machine's own: anybody might come, or answer.
    """
    flags = socket.AI_PASSIVE if listens else 0
    try:
        found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM, flags=flags)
    except (socket.gaierror, UnicodeError) as error:
        raise SystemRefused(errno.EADDRNOTAVAIL, f"the host is not found: {error}", str(url)) from None
    if not keyed:
        for *_, where in found:
            if not ipaddress.ip_address(str(where[0])).is_loopback:
                raise ValueError(f"{url}: {where[0]} can be reached by others than this machine, which needs key=")
    return [(family, where) for family, _, _, _, where in found]


def make(family: int) -> socket.socket:
    made = own(lambda: socket.socket(family, socket.SOCK_STREAM))
    roomy(made)  # before it connects or listens, since the window is agreed on then
    return made


def listen(url: Url, *, keyed: bool, backlog: int) -> socket.socket:
    family, where = find(url, keyed=keyed, listens=True)[0]
    listening = make(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(where)
        listening.listen(backlog)
    except BaseException:
        listening.close()
        raise
    return listening


def roomy(connection: socket.socket) -> None:
    """Asks for large buffers; the kernel gives what it likes."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


def attend(connection: socket.socket) -> None:
    """No delay, and keep-alive.

    TCP_USER_TIMEOUT is not for us: it also ends a connection whose peer is well and only slow to read.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _COUNT)


def unanswered(connection: socket.socket, seconds: float = 10.0) -> bool:
    """Whether the peer's kernel has left what was sent without an answer for so long.

    Keep-alive does not run while data is on its way, and the kernel itself gives up after a quarter of an hour. False
    while the peer is slow to read: then it answers, and nothing is on its way.
    """
    # struct tcp_info: u8 retransmits at 2, since the last answer; u32 last_ack_recv (ms) at 56
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60)
    (last_answer,) = struct.unpack_from("=I", info, 56)
    return info[2] > 0 and last_answer > seconds * 1000
