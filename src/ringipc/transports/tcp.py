"""TCP sockets."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from ..errors import SystemRefused
from .address import Listening, SocketAddress
from .endpoint import SocketEndpoint
from .forks import closed_in_children
from .sockets import connected, is_unanswered
from .unix import Unix

if TYPE_CHECKING:
    from ssl import SSLContext

_IDLE, _INTERVAL, _COUNT = 4, 2, 3  # seconds, seconds, probes: an idle connection is given up after 10 s
_LOCAL = "@ringipc-"  # the Unix socket where a listener passes its channel to peers on this machine


def tcp(address: str, *, bind: bool | None = None, key: bytes | None = None, tls: SSLContext | None = None) -> Tcp:
    """Return a TCP endpoint to give to `Producer` and `Consumer` as the channel.

    Parameters
    ----------
    address
        "host:port", or its URL; an IPv6 address stands in brackets, "[::1]:5000". A listener may have port 0, which
        takes any that is free; the attribute `channel` of its producer or consumer has the URL with that port.
    bind
        True: bind the address and listen, for any number of peers. False: connect to a listener. None: a producer
        binds, a consumer connects.
    key
        At least 16 bytes that both sides know, for mutual authentication (HMAC-SHA256 challenge and response). Required
        unless the address is on the loopback, where every local user can connect without it. It guards the greeting,
        not what follows: use tls on a network.
    tls
        Encrypts the connection. The context of the side that connects says how the listener's certificate is checked.

    Raises
    ------
    ValueError
        The address has no port or no host, or the key is shorter than 16 bytes.

    Examples
    --------
    >>> import ringipc
    >>> with ringipc.Producer(ringipc.tcp("127.0.0.1:0", key=b"sixteen bytes or more")) as producer:
    ...     producer.channel
    'tcp://127.0.0.1:...'
    """
    host, port = _host_and_port(address)
    return Tcp(host, port, bind=bind, key=key, tls=tls)


@dataclass(frozen=True, slots=True)
class Tcp(SocketEndpoint):
    """A host and a port.

    Attributes
    ----------
    host
        A name or an address, without brackets.
    port
        0 lets a listener take any that is free.
    tls
        None: not encrypted.
    """

    host: str
    port: int
    tls: SSLContext | None = field(default=None, kw_only=True)

    scheme = "tcp"
    form = "tcp://host:port"
    can_reconnect = True

    def __post_init__(self) -> None:
        SocketEndpoint.__post_init__(self)
        if self.tls is not None:
            import ssl  # which the caller has loaded

            if not isinstance(self.tls, ssl.SSLContext):
                raise TypeError(f"tls must be an ssl.SSLContext, not {self.tls!r}")

    @classmethod
    def from_url(cls, url: str) -> Self:
        return cls(*_host_and_port(url))

    def __str__(self) -> str:
        return self._url(self.port)

    def _url(self, port: int) -> str:
        return f"tcp://[{self.host}]:{port}" if ":" in self.host else f"tcp://{self.host}:{port}"

    def listen(self, backlog: int) -> Listening:
        family, where = self._resolve(socket.AI_PASSIVE)[0]
        listening = _make(family, where)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(where)
            listening.listen(backlog)
        except BaseException:
            listening.close()
            raise
        return Listening(listening, self._url(listening.getsockname()[1]))

    def connect(self, seconds: float) -> socket.socket | None:
        for family, where in self._resolve(0):
            connection = connected(_make(family, where), where, str(self), seconds)
            if connection is not None and _has_peer(connection):
                return connection
        return None

    def _resolve(self, flags: int) -> list[tuple[int, tuple[Any, ...]]]:
        """Return the families and addresses of the host.

        Raises
        ------
        ValueError
            There is no key, and not all addresses are on the loopback: anybody might connect, or answer.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=flags)
        except (socket.gaierror, UnicodeError) as error:
            raise SystemRefused(errno.EADDRNOTAVAIL, f"the host is not found: {error}", str(self)) from None
        if self.key is None:
            for *_, where in found:
                if not _is_loopback(where):
                    raise ValueError(
                        f"{self}: {where[0]} can be reached from other machines, which needs a key: "
                        f"ringipc.tcp({str(self)!r}, key=...)"
                    )
        return [(family, where) for family, _, _, _, where in found]

    def prepare(self, connection: socket.socket) -> None:
        """Send without delay, and keep the connection alive.

        TCP_USER_TIMEOUT is not used: it also ends a connection whose peer is alive and only slow to read.
        """
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _COUNT)

    def peer_is_silent(self, connection: socket.socket) -> bool:
        return self.tls is None and is_unanswered(connection)  # with TLS the tunnel checks it

    def tls_context(self) -> SSLContext | None:
        return self.tls

    def server_name(self) -> str:
        return self.host

    def shares_memory(self) -> bool:
        return self.tls is None and SocketEndpoint.shares_memory(self)

    def local_address(self) -> SocketAddress:
        return Unix(f"{_LOCAL}{os.urandom(16).hex()}", key=self.key)

    def local_address_from(self, url: str) -> SocketAddress | None:
        path = url.removeprefix("unix://")
        try:
            return Unix(path, key=self.key) if path.startswith(_LOCAL) else None
        except ValueError:
            return None


def _make(family: int, where: tuple[Any, ...]) -> socket.socket:
    # The kernel adapts the buffers of a TCP connection. Setting their size would end that, and at the size that it
    # allows by default (net.core.rmem_max and wmem_max: 208 KiB) large messages take nearly twice the CPU time.
    made = closed_in_children(lambda: socket.socket(family, socket.SOCK_STREAM))
    if _is_loopback(where):
        # There is no congestion on the loopback, and Reno, which every kernel has, costs least. BBR, the default of
        # some systems, sets a timer for each segment: a fifth of the sender's CPU time with large messages. The timers
        # stay when it is replaced later, so this is set before there is a connection. Accepted sockets inherit it.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    return made


def _is_loopback(where: tuple[Any, ...]) -> bool:
    return ipaddress.ip_address(str(where[0])).is_loopback


def _has_peer(connection: socket.socket) -> bool:
    """Return whether the socket has a peer; close it if not. The kernel can connect a socket to its own port."""
    try:
        if connection.getsockname() != connection.getpeername():
            return True
    except OSError:
        pass
    connection.close()
    return False


def _host_and_port(text: str) -> tuple[str, int]:
    """Return the parts of "host:port" or "tcp://host:port"."""
    if not isinstance(text, str):
        raise TypeError(f'the address must be a str such as "127.0.0.1:5000", not {text!r}')
    rest = text.removeprefix("tcp://")
    if any(extra in rest for extra in "/?#@"):
        raise ValueError(f"{text!r} has more than a host and a port")
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        raise ValueError(f"{text!r} has no port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{text!r}: {host!r} is not an IPv6 address") from None
    elif ":" in host or "[" in host or "]" in host:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, as in [::1]:5000")
    if not host:
        raise ValueError(f"{text!r} has no host")
    if not port:
        raise ValueError(f"{text!r} has no port")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"{text!r}: the port must be a number from 0 to 65535, not {port!r}")
    return host, int(port)
