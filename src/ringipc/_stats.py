"""What `Producer.stats` and `Consumer.stats` return."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProducerStats:
    """How a producer fares.

    Attributes
    ----------
    messages, bytes
        Put so far; bytes counts the headers of arrays too.
    dropped
        Of those, how many were dropped to make room, once for each group that had not got them; with
        overflow="drop-old" only.
    refused
        Messages that were not put, because the lane was full; not with overflow="block".
    backlog, backlog_bytes
        What some group has not let go: messages, and bytes of the ring.
    slots, capacity
        The most that the lane holds: messages, and bytes.
    allocated
        Bytes that have memory so far, of capacity.
    waits, waited
        How often `put` had to wait for room, and for how many seconds in all.
    transport
        The way that was chosen: "ring", "unix", "tcp", "pipe" or "fifo".
    """

    messages: int
    bytes: int
    dropped: int
    refused: int
    backlog: int
    backlog_bytes: int
    slots: int
    capacity: int
    allocated: int
    waits: int
    waited: float
    transport: str


@dataclass(frozen=True, slots=True)
class ConsumerStats:
    """How a consumer fares.

    Attributes
    ----------
    messages, bytes
        Got so far; bytes counts the headers of arrays too.
    missed
        Messages that the group has lost since this consumer came, because a lane was full and drops messages.
    backlog
        Messages put and not yet got.
    held
        Messages that views keep in the ring.
    lanes
        Producers whose messages it reads.
    waits, waited
        How often `get` had to wait, and for how many seconds in all.
    transport
        The way that was chosen: "ring", "unix", "tcp", "pipe" or "fifo".
    """

    messages: int
    bytes: int
    missed: int
    backlog: int
    held: int
    lanes: int
    waits: int
    waited: float
    transport: str
