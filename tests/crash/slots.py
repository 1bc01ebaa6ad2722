"""The records of a round's processes, in memory that outlives them: complete up to the kill."""

import mmap
import signal
import time
from collections.abc import Callable, Iterator

LIMIT = 10.0  # the longest time of a call, in seconds; a call that blocks for ever fails the round

SLOTS = 32  # the maximum of processes in a round
EVENTS = 4096
_HEAD = 64
_SLOT = _HEAD + EVENTS

# the phases of a process
NOT_YET, ATTACHING, WORKING, PUT_ALL, CLOSING, GONE = range(6)
PHASES = ["not yet", "attaching", "working", "after its last put", "closing", "gone"]

# the words of a slot
PHASE, KILLED, INTENT, DONE, PENDING, RELEASING, LONGEST, ATTACHED, MISSED, DEAD, COUNT = range(11)
SEEN = 16  # from here on: the last message that each producer had started to put when this consumer joined

# the kinds of an event; for a producer they are the types of its messages
GOT, RELEASED, DEATH, IN_WORK, REQUEUED = 1, 2, 3, 4, 5  # in work: done when its consumer gets again
# in GOT, redelivered is 0 or 1, or UNKNOWN if the call does not return it; then deliveries is 0
UNKNOWN = 2
ANY_TYPE, NO_ORDER = 0, 7  # how a message was requested; 1 + type: by that type


class Memory:
    """Shared memory: a few flags, and a slot for each process."""

    def __init__(self) -> None:
        self._words = memoryview(mmap.mmap(-1, 8 * (_HEAD + SLOTS * _SLOT))).cast("q")
        self.slots = [Slot(self._words[_HEAD + i * _SLOT : _HEAD + (i + 1) * _SLOT]) for i in range(SLOTS)]

    def clear(self) -> None:
        self._words[:_HEAD] = memoryview(bytes(8 * _HEAD)).cast("q")
        for slot in self.slots:
            slot.words[:_HEAD] = memoryview(bytes(8 * _HEAD)).cast("q")

    @property
    def go(self) -> bool:
        """Whether all processes of the start have attached."""
        return self._words[0] != 0

    @go.setter
    def go(self, value: bool) -> None:
        self._words[0] = value

    @property
    def finish(self) -> bool:
        """Whether no new producer will attach, and all producers have put their messages."""
        return self._words[1] != 0

    @finish.setter
    def finish(self, value: bool) -> None:
        self._words[1] = value


class Slot:
    """One process's."""

    def __init__(self, words: "memoryview[int]") -> None:
        self.words = words

    def __getitem__(self, index: int) -> int:
        return self.words[index]

    def __setitem__(self, index: int, value: int) -> None:
        self.words[index] = value

    def enter(self, phase: int, alarm: "tuple[int, float] | None") -> None:
        """Start a new phase. An alarm without a handler kills like SIGKILL, at the moment that the plan says."""
        if alarm and alarm[0] == phase:
            self.words[KILLED] = 1
            signal.setitimer(signal.ITIMER_REAL, alarm[1])
        self.words[PHASE] = phase

    def note(self, event: int) -> None:
        count = self.words[COUNT]
        assert count < EVENTS
        self.words[_HEAD + count] = event
        self.words[COUNT] = count + 1

    def events(self) -> Iterator[int]:
        return iter(self.words[_HEAD : _HEAD + self.words[COUNT]])

    def measure(self, since: int) -> None:
        """Record the duration of a call that has returned."""
        self.words[LONGEST] = max(self.words[LONGEST], time.monotonic_ns() - since)


def got(producer: int, number: int, redelivered: int, deliveries: int, how: int) -> int:
    return GOT << 56 | how << 52 | redelivered << 48 | deliveries << 40 | producer << 32 | number


def released(producer: int, number: int) -> int:
    return RELEASED << 56 | producer << 32 | number


def in_work(producer: int, number: int) -> int:
    return IN_WORK << 56 | producer << 32 | number


def requeued(producer: int, number: int) -> int:
    return REQUEUED << 56 | producer << 32 | number


def key_of(event: int) -> tuple[int, int]:
    """Return the producer and the number of the message of an event."""
    return event >> 32 & 0xFF, event & 0xFFFFFFFF


def death(pid: int, how: int) -> int:
    return DEATH << 56 | how << 52 | pid


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll a condition."""
    end = time.monotonic() + 2 * LIMIT
    while not condition():
        assert time.monotonic() < end, "the machine does not continue"
        time.sleep(0.0002)
