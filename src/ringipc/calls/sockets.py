"""Services over sockets: requests and replies of a client are two connections to one listener, that of a server.

The server's process has a channel of requests, with a lane for each client, and for each client a channel of replies,
with a member for it. So a server sees no difference to clients that share its memory. A token, which the client sends
as the group in both greetings, says which two connections belong together.

On one machine the listener passes the channel of requests instead, and the client takes part in it.
"""

import dataclasses
import re
import secrets
from collections.abc import Callable
from socket import socket
from typing import Self

from ..channel import Channel, core_name_of
from ..transports.endpoint import Endpoint, SocketEndpoint
from ..transports.handshake import Hello, Welcome
from ..transports.link import ConsumerLink, ProducerLink
from ..transports.refusals import refused
from ..transports.remote_lane import check_remote_lane
from ..transports.socket_ends import SocketConsumerLink, SocketProducerLink
from ..transports.socket_link import Peer
from . import reply_channel
from .protocol import CLIENT

_TOKEN_BYTES = 16
_TOKEN = re.compile(rf"[0-9a-f]{{{2 * _TOKEN_BYTES}}}")


class _Address(Endpoint):
    """The address of a service, for handles that connect to it, or listen there, with links of this module."""

    def __init__(self, address: SocketEndpoint) -> None:
        self._address = address

    @classmethod
    def from_url(cls, url: str) -> Self:
        raise NotImplementedError

    def __str__(self) -> str:
        return str(self._address)

    def producer_link(
        self, channel: Channel, capacity: int, slots: int, *, timeout: float | None, spin: bool
    ) -> ProducerLink:
        raise NotImplementedError

    def consumer_link(
        self, channel: Channel, group: str, flags: int, *, timeout: float | None, spin: bool
    ) -> ConsumerLink:
        raise NotImplementedError


# ---- clients ----


class ClientAddress(_Address):
    """Where a client connects: its producer of requests first; then, unless a channel is passed, its consumer."""

    def __init__(self, address: SocketEndpoint) -> None:
        super().__init__(dataclasses.replace(address, bind=False))
        self._token = secrets.token_hex(_TOKEN_BYTES)

    def producer_link(
        self, channel: Channel, capacity: int, slots: int, *, timeout: float | None, spin: bool
    ) -> ProducerLink:
        check_remote_lane(str(self), capacity, slots)
        link = _RequestLink(self._address, self._address.scheme, channel, capacity, slots, timeout=timeout, spin=spin)
        link.token = self._token
        return link

    def consumer_link(
        self, channel: Channel, group: str, flags: int, *, timeout: float | None, spin: bool
    ) -> ConsumerLink:
        return SocketConsumerLink(
            self._address, self._address.scheme, channel, self._token, flags, timeout=timeout, spin=spin
        )


class _RequestLink(SocketProducerLink):
    token: str

    def _hello(self, following: int = 0, group: str = "", flags: int = 0) -> Hello:
        return super()._hello(following, self.token, flags)


# ---- servers ----


class ServerAddress(_Address):
    """Where a server listens.

    Parameters
    ----------
    capacity, slots
        Of the lanes for replies.
    """

    def __init__(self, address: SocketEndpoint, capacity: int, slots: int) -> None:
        super().__init__(dataclasses.replace(address, bind=True))
        check_remote_lane(str(self), capacity, slots)
        self._size = capacity, slots

    def consumer_link(
        self, channel: Channel, group: str, flags: int, *, timeout: float | None, spin: bool
    ) -> ConsumerLink:
        return ServerLink(self._address, self._size, channel, group, flags, timeout=timeout, spin=spin)


class ServerLink(SocketConsumerLink):
    """A lane in the channel of requests for each client, and a member of its channel of replies."""

    def __init__(
        self,
        address: SocketEndpoint,
        size: tuple[int, int],
        channel: Channel,
        group: str,
        flags: int,
        *,
        timeout: float | None,
        spin: bool,
    ) -> None:
        super().__init__(address, address.scheme, channel, group, flags, timeout=timeout, spin=spin)
        self._size = size
        self._channels: dict[str, Channel] = {}  # for replies, by the tokens of clients

    def _lane_size(self) -> tuple[int, int]:
        return self._size

    def _refusal(self, hello: Hello) -> str:
        return "" if _TOKEN.fullmatch(hello.group) else "a server listens there; only a Client can connect to it"

    def _admit(self, hello: Hello, local: bool = False) -> tuple[Welcome, Callable[[socket], None]]:
        # the channel of requests is passed to those who send requests
        return super()._admit(hello if hello.producer else dataclasses.replace(hello, maps=False), local)

    def _replies(self, token: str) -> Channel:
        """Return the channel for the replies to this client."""
        replies = self._channels.get(token)
        if replies is None:
            replies = self._channels[token] = Channel.anonymous()
        return replies

    def _join(self, hello: Hello) -> Peer | Welcome:
        replies = self._replies(hello.group)
        if hello.producer:
            peer = self._new_lane(hello, reply_channel.label(replies))
            if isinstance(peer, Peer):
                peer.group = hello.group
            return peer
        id, _ = self.io_loop.join(core_name_of(replies), CLIENT.encode(), 0, 0, True)
        return Peer(id, hello.session, hello.group) if id >= 0 else self._refuse(-id, refused(id))

    def _resume(self, peer: Peer, hello: Hello) -> tuple[int, int]:
        if hello.producer:
            return super()._resume(peer, hello)
        return (hello.next, hello.next) if peer.ordinal else (0, 0)

    def _can_resume(self, peer: Peer, hello: Hello) -> bool:
        return hello.producer or not peer.ordinal or self.io_loop.can(peer.id, hello.next)

    def _remove(self, peer: Peer) -> None:
        super()._remove(peer)
        if not any(other.group == peer.group for other in self._peers.values()):
            replies = self._channels.pop(peer.group, None)
            if replies is not None:
                replies.close()

    def close(self) -> None:
        """Keep the connections until `abandon`: handlers may still reply."""
