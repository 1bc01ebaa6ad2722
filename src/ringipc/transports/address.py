"""The address of a socket: what a listener binds and its peers connect to."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from ssl import SSLContext

SHORTEST_KEY = 16  # bytes


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
        """Bind the address.

        Raises
        ------
        SystemRefused, OSError
            It is in use, or not a socket.
        """

    @abstractmethod
    def connect(self, seconds: float) -> socket.socket | None:
        """Return a connection, or None while nobody listens.

        Raises
        ------
        AuthenticationError
            This user may not connect.
        SystemRefused
            The address cannot be used.
        """

    @abstractmethod
    def prepare(self, connection: socket.socket) -> None:
        """Set the options of a new connection."""

    def peer_refusal(self, connection: socket.socket) -> str:
        """Return why the user at the other end is not admitted; empty if the user is."""
        return ""

    def peer_is_silent(self, connection: socket.socket) -> bool:
        """Return whether the peer's machine has stopped answering."""
        return False

    def tls_context(self) -> SSLContext | None:
        """Set if connections are encrypted."""
        return None

    def server_name(self) -> str:
        """Return the host that the listener's certificate must name."""
        return ""

    def shares_memory(self) -> bool:
        """Return whether the channel itself may be passed to a peer on this machine.

        RINGIPC_RING=0 in the environment forbids it, to test and to measure the stream.
        """
        return os.environ.get("RINGIPC_RING") != "0"

    def local_address(self) -> SocketAddress | None:
        """Return a new address where peers on this machine get the channel, if this one passes no file descriptors."""
        return None

    def local_address_from(self, url: str) -> SocketAddress | None:
        """Return the listener's `local_address` from the URL that it sent; None if the URL cannot be one."""
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
        """Remove what the address has left in the file system. Call this before the socket is closed."""
