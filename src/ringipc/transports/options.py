"""How to connect, as the user has said it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._core import check_timeout

if TYPE_CHECKING:
    from ssl import SSLContext

    from .url import Url


LARGEST_LANE = 1 << 30  # bytes that a process allocates for the lane of another one
MOST_SLOTS = 1 << 20


def check_lane(where: object, capacity: int, slots: int) -> None:
    """Of a producer whose messages go over connections, or may have to: the other side makes a lane as large.

    Raises
    ------
    ValueError
        The other side would refuse, and the messages that are put until then would be lost.
    """
    if capacity > LARGEST_LANE or slots > MOST_SLOTS:
        raise ValueError(
            f"{where!r}: over a socket or a pipe a lane has at most {LARGEST_LANE} bytes (1 GiB) and {MOST_SLOTS} "
            f"messages, not capacity={capacity} and slots={slots}"
        )


@dataclass(frozen=True, slots=True)
class Options:
    """How to connect.

    Attributes
    ----------
    listen
        Whether this side is the one that the others connect to.
    key, tls, users
        As in `sockets.connect`.
    timeout
        Seconds to wait for the other side, where this one connects; None waits for ever.
    """

    listen: bool
    key: bytes | None = None
    tls: SSLContext | None = None
    users: frozenset[int] = frozenset()
    timeout: float | None = None

    def __post_init__(self) -> None:
        check_timeout(self.timeout)

    def check(self, where: object, url: Url | None) -> None:
        """What says who may come is for sockets: elsewhere it would be a promise that nobody keeps.

        Raises
        ------
        ValueError
            There is no socket.
        """
        if (url is None or url.scheme in ("pipe", "fifo")) and (self.key is not None or self.tls or self.users):
            raise ValueError(f"{where!r} is no socket: key=, tls= and users= are for unix:// and tcp://, or a fallback")
