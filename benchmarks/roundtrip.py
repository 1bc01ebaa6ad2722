"""How long does a message of 64 bytes take there and back?"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from time import perf_counter
from types import SimpleNamespace
from typing import Any

from ringipc.producer import Wait

from ._contenders import Ring, StandardPipe, between
from ._harness import ONE_CORE, Answer, Contender, Cores, Crowd, Goal, Missing, compare, scaled
from ._limits import program

TITLE = "roundtrip: 64 bytes there and back through two channels"
MESSAGES = b"there" * 12 + b"back", b"again" * 12 + b"back"


@dataclass(frozen=True)
class TwoRings:
    """There and back. Each side makes its producer first: a consumer waits for its channel to be made."""

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
        raise RuntimeError("lost count: an answer is not the one that was due")
    return seconds / count


def answer(end: Any, count: int) -> None:
    put, get = end.put, end.get
    for _ in repeat(None, count + 2):
        put(get())


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
        between("multiprocessing.Pipe", pair, StandardPipe(), call, answer),
    ]
    pingpong, spin, adaptive, futex, block, pipe = compared = list(compare(contenders).values())
    return Answer(
        TITLE,
        [(series, scaled(1e6), "us") for series in compared],
        [
            Goal("time: spin / C: cache line", pingpong / spin, at_most=4),
            Goal("time: adaptive / spin", spin / adaptive, at_most=1.3),
            Goal("time: block / C: futexes", futex / block, at_most=1.1),
            Goal("time: block / multiprocessing.Pipe", pipe / block),
        ],
    )
