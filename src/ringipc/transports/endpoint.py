"""The base of all endpoints: pipes and addresses of sockets, for messages that do not go through shared memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from .address import SocketAddress
from .remote_lane import check_remote_lane

if TYPE_CHECKING:
    from ..channel import Channel
    from .link import ConsumerLink, ProducerLink


def check_path(path: str) -> None:
    """Raise ValueError for what cannot be the path of a socket or a named pipe."""
    if not isinstance(path, str):
        raise TypeError(f"the path must be a str, not {path!r}")
    if not path.startswith("/"):
        raise ValueError(f"the path must be absolute, as in /run/camera, not {path!r}")
    if path.endswith("/"):
        raise ValueError(f"the path {path!r} names a directory")
    if "\0" in path:
        raise ValueError(f"the path {path!r} has a NUL")


class Endpoint(ABC):
    """A transport and an address; given to `Producer` and `Consumer` as the channel. ``str()`` makes its URL.

    `tcp`, `unix` and `fifo` make endpoints with options; `pair` makes the two ends of a pipe. A URL string stands for
    an endpoint without options.
    """

    __slots__ = ()

    scheme: ClassVar[str]
    """The start of its URLs, and its name in `stats.transport`."""
    form: ClassVar[str]
    """What its URLs look like, for errors."""

    @classmethod
    @abstractmethod
    def from_url(cls, url: str) -> Self:
        """Return the endpoint that a URL of this scheme names.

        Raises
        ------
        ValueError
            The URL is malformed; the text says how.
        """

    @abstractmethod
    def __str__(self) -> str: ...

    @abstractmethod
    def producer_link(
        self, channel: Channel, capacity: int, slots: int, *, timeout: float | None, spin: bool
    ) -> ProducerLink:
        """Return a link, not yet open, for a producer in this channel.

        Raises
        ------
        ValueError
            The producer's lane is larger than the other side would allocate.
        """

    @abstractmethod
    def consumer_link(
        self, channel: Channel, group: str, flags: int, *, timeout: float | None, spin: bool
    ) -> ConsumerLink:
        """Return a link, not yet open, for a consumer in this channel.

        Raises
        ------
        ValueError
            The transport has no such groups.
        """


class SocketEndpoint(SocketAddress, Endpoint):
    """An endpoint whose connections are sockets: any number of peers, in groups."""

    __slots__ = ()

    # Imported where it is used: a program that uses rings alone does not load what moves messages over sockets.

    def producer_link(
        self, channel: Channel, capacity: int, slots: int, *, timeout: float | None, spin: bool
    ) -> ProducerLink:
        from .socket_ends import SocketProducerLink

        check_remote_lane(str(self), capacity, slots)
        return SocketProducerLink(self, self.scheme, channel, capacity, slots, timeout=timeout, spin=spin)

    def consumer_link(
        self, channel: Channel, group: str, flags: int, *, timeout: float | None, spin: bool
    ) -> ConsumerLink:
        from .socket_ends import SocketConsumerLink

        return SocketConsumerLink(self, self.scheme, channel, group, flags, timeout=timeout, spin=spin)
