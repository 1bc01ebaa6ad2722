"""How long does a round trip of a message of 64 bytes take?"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from multiprocessing.reduction import DupFd
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import ringipc
from ringipc._arguments import Wait

from ._contenders import Ring, StandardPipe, between
from ._harness import ONE_CORE, Answer, Contender, Cores, Crowd, Goal, Missing, compare, scaled, unique
from ._limits import program

TITLE = "roundtrip: 64 bytes there and back through two channels"
MESSAGES = b"there" * 12 + b"back", b"again" * 12 + b"back"


@dataclass(frozen=True)
class TwoRings:
    """A channel in each direction. Each side opens its producer first, because a consumer waits for its channel."""

    wait: Wait
    there: Ring = field(init=False)
    back: Ring = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "there", Ring(self.wait))
        object.__setattr__(self, "back", Ring(self.wait))

    @contextmanager
    def sender(self) -> Iterator[Any]:
        with self.there.sender() as producer, self.back.receiver() as consumer:
            yield SimpleNamespace(put=producer.put, get=consumer.get)

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        with self.back.sender() as producer, self.there.receiver() as consumer:
            yield SimpleNamespace(put=producer.put, get=consumer.get)


def call(end: Any, count: int) -> float:
    put, get = end.put, end.get
    put(MESSAGES[0])
    get()
    start = perf_counter()
    for _ in repeat(None, count):
        put(MESSAGES[0])
        message = get()
    seconds = perf_counter() - start
    put(MESSAGES[1])
    if message != MESSAGES[0] or get() != MESSAGES[1]:
        raise RuntimeError("an answer does not match its message")
    return seconds / count


def answer(end: Any, count: int) -> None:
    put, get = end.put, end.get
    for _ in repeat(None, count + 2):
        put(get())


@dataclass(frozen=True)
class TwoSemaphores:
    """A semaphore in each direction: the wake-up alone."""

    wait: Wait
    there: str = field(default_factory=lambda: unique("there"))
    back: str = field(default_factory=lambda: unique("back"))

    @contextmanager
    def _open(self) -> Iterator[tuple[ringipc.Semaphore, ringipc.Semaphore]]:
        there = ringipc.Semaphore(self.there, 0, wait=self.wait)
        back = ringipc.Semaphore(self.back, 0, wait=self.wait)
        yield there, back
        there.close()
        back.close()

    @contextmanager
    def sender(self) -> Iterator[Any]:
        with self._open() as (there, back):
            yield SimpleNamespace(give=there.release, take=back.acquire)

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        with self._open() as (there, back):
            yield SimpleNamespace(give=back.release, take=there.acquire)


class TwoEventDescriptors:
    """An eventfd(2) in each direction, read and written through the os module."""

    def __init__(self) -> None:
        self._there, self._back = os.eventfd(0), os.eventfd(0)

    def __getstate__(self) -> Any:
        return DupFd(self._there), DupFd(self._back)

    def __setstate__(self, state: Any) -> None:
        self._there, self._back = (passed.detach() for passed in state)

    @contextmanager
    def sender(self) -> Iterator[Any]:
        yield SimpleNamespace(give=partial(os.eventfd_write, self._there, 1), take=partial(os.eventfd_read, self._back))

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        yield SimpleNamespace(give=partial(os.eventfd_write, self._back, 1), take=partial(os.eventfd_read, self._there))


def ping(end: Any, count: int) -> float:
    give, take = end.give, end.take
    give()
    take()
    start = perf_counter()
    for _ in repeat(None, count):
        give()
        take()
    return (perf_counter() - start) / count


def pong(end: Any, count: int) -> None:
    give, take = end.give, end.take
    for _ in repeat(None, count + 1):
        take()
        give()


def ask(cores: Cores) -> Answer:
    if cores.pair is None:
        return Answer(TITLE, notes=[ONE_CORE])
    pair = cores.pair

    def rings(wait: Wait) -> Crowd:
        return between(f'ringipc, wait="{wait}"', pair, TwoRings(wait), call, answer)

    contenders: list[Contender | Missing] = [
        program("C: a cache line between two spinning cores", "pingpong", cores=pair),
        rings("spin"),
        rings("adaptive"),
        program("C: a pair of futexes", "futex", cores=pair),
        rings("block"),
        between('two ringipc.Semaphore, wait="block"', pair, TwoSemaphores("block"), ping, pong),
        between("a pair of eventfds, from Python", pair, TwoEventDescriptors(), ping, pong),
        between("multiprocessing.Pipe", pair, StandardPipe(), call, answer),
    ]
    pingpong, spin, adaptive, futex, block, semaphores, events, pipe = compared = list(compare(contenders).values())
    return Answer(
        TITLE,
        [(series, scaled(1e6), "us") for series in compared],
        [
            Goal("time: spin / C: cache line", pingpong / spin, at_most=4),
            Goal("time: adaptive / spin", spin / adaptive, at_most=1.3),
            Goal("time: block / C: futexes", futex / block, at_most=1.1),
            Goal("time: semaphores, block / C: futexes", futex / semaphores, at_most=1.3),
            Goal("time: block / eventfds", events / block),
            Goal("time: block / multiprocessing.Pipe", pipe / block),
        ],
    )
