"""The largest lane for a producer at the other end of a connection: both sides allocate one of the same size."""

from .. import _facts

LARGEST_REMOTE_LANE = _facts.LARGEST_REMOTE  # bytes, also of a single message that is longer than the lane
MOST_REMOTE_SLOTS = 1 << 20


def check_remote_lane(where: str, capacity: int, slots: int) -> None:
    """Check the size of a lane whose messages go over a connection: the other side allocates a lane of the same size.

    Raises
    ------
    ValueError
        The other side would refuse the lane, and messages put before that would be lost.
    """
    if capacity > LARGEST_REMOTE_LANE or slots > MOST_REMOTE_SLOTS:
        raise ValueError(
            f"{where!r}: over a socket or a pipe a lane has at most {LARGEST_REMOTE_LANE} bytes (1 GiB) and "
            f"{MOST_REMOTE_SLOTS} messages, not capacity={capacity} and slots={slots}"
        )
