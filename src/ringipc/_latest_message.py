"""What `Latest.message` returns."""

from typing import Any, NamedTuple


class LatestMessage(NamedTuple):
    """The newest value of a `Latest`, with its attributes.

    Attributes
    ----------
    payload
        The value: what `Latest.get` would return.
    seq
        Its number, from 1. Compare it, or give it to ``newer_than``.
    timestamp
        When it was set, in nanoseconds of ``time.monotonic_ns()`` of this process.
    """

    payload: Any
    seq: int
    timestamp: int
