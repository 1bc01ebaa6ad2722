"""What `Producer.stats` and `Consumer.stats` return."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProducerStats:
    """Counters of a producer.

    Attributes
    ----------
    messages, bytes
        Messages put so far, and their bytes with the headers of arrays.
    dropped
        Messages dropped to make room, counted once for each group that had not taken them (overflow="drop-old",
        here or of the group).
    refused
        Messages not put because the lane was full (overflow="drop-new" or "drop-old").
    backlog, backlog_bytes
        Messages, and bytes of the lane, that some group has not released. Lossy groups do not count.
    slots, capacity
        How many messages, and bytes, the lane holds at most.
    allocated
        Bytes that have memory now: of the capacity, and for messages that are longer.
    waits, waited
        How often `put` had to wait for room, and for how many seconds in all.
    transport
        What carries the messages: "ring" (shared memory), "unix", "tcp", "pipe" or "fifo".
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
    """Counters of a consumer.

    Attributes
    ----------
    messages, bytes
        Messages got so far, and their bytes with the headers of arrays.
    missed
        Messages that the group has lost since this consumer joined, because a full lane dropped or refused them,
        or because the group is lossy.
    deaths
        Producers that died or failed, as far as this consumer has come: each was raised, or skipped (deaths="skip").
    dead
        Messages moved to the dead letters, or dropped, after `max_deliveries`.
    backlog
        Messages put and not yet got.
    held
        Messages that views keep in their lanes.
    lanes
        Lanes that this consumer reads.
    waits, waited
        How often `get` had to wait, and for how many seconds in all.
    transport
        What carries the messages: "ring" (shared memory), "unix", "tcp", "pipe" or "fifo".
    """

    messages: int
    bytes: int
    missed: int
    deaths: int
    dead: int
    backlog: int
    held: int
    lanes: int
    waits: int
    waited: float
    transport: str
