"""What does a put into a shared lane cost, beside one into an own lane?"""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import repeat
from time import perf_counter

import ringipc

from ._harness import ONE_CORE, ROUNDS, Answer, Cores, Goal, Series, scaled, together, unique

TITLE = "writers: put of 64 bytes, without waiting for room"
COUNT = 20_000
MESSAGE = bytes(64)

OWN, SHARED, TURNS = "own lane", "shared lane, one producer", "shared lane, two handles in turn"
TWO_OWN, TWO_SHARED = "two processes at once, own lanes", "two processes at once, a shared lane"


def _open(channel: str, shared: bool) -> ringipc.Producer:
    return ringipc.Producer(channel, lane="shared" if shared else "own", capacity="16 MiB", slots=2 * COUNT)


def _put(one: Callable[[bytes], object], other: Callable[[bytes], object]) -> float:
    start = perf_counter()
    for _ in repeat(None, COUNT // 2):
        one(MESSAGE)
        other(MESSAGE)
    return (perf_counter() - start) / COUNT


def _drain(consumer: ringipc.Consumer, count: int) -> None:
    while count:
        count -= len(consumer.get_many(count))


def _alone() -> dict[str, list[float]]:
    times: dict[str, list[float]] = {OWN: [], SHARED: [], TURNS: []}
    for name, found in times.items():
        with (
            _open(channel := unique("writers"), name != OWN) as one,
            _open(channel, shared=True) as two,
            ringipc.Consumer(channel, producers=None) as consumer,
        ):
            for _ in range(ROUNDS + 1):  # the first round warms up
                found.append(_put(one.put, two.put if name == TURNS else one.put))
                _drain(consumer, COUNT)
    return times


def _beside(channel: str, shared: bool, reads: bool) -> list[float]:
    times = []
    with _open(channel, shared) as producer, closing(ringipc.Barrier(channel + "-start", parties=2)) as start:
        consumer = ringipc.Consumer(channel, producers=None) if reads else None
        for _ in range(ROUNDS + 1):
            start.wait()
            times.append(_put(producer.put, producer.put))
            start.wait()
            if consumer:
                _drain(consumer, 2 * COUNT)
        start.wait()
        if consumer:
            consumer.close()
    return times


def _both(cores: tuple[int, int], shared: bool) -> list[float]:
    channel = unique("writers")
    first, second = together([(cpu, partial(_beside, channel, shared, i == 0)) for i, cpu in enumerate(cores)])
    return [max(pair) for pair in zip(first, second, strict=True)]


def ask(cores: Cores) -> Answer:
    [times] = together([(cores.first, partial(_alone))])
    if cores.pair:
        times |= {TWO_OWN: _both(cores.pair, shared=False), TWO_SHARED: _both(cores.pair, shared=True)}
    series = {
        name: Series(name, tuple(times[name][1:]) if name in times else (), "" if name in times else ONE_CORE)
        for name in (OWN, SHARED, TURNS, TWO_OWN, TWO_SHARED)
    }
    goals = [
        Goal("one producer: own / shared, times as fast", series[OWN] / series[SHARED]),
        Goal("two handles in turn: own / shared", series[OWN] / series[TURNS]),
        Goal("two processes at once: own / shared", series[TWO_OWN] / series[TWO_SHARED]),
    ]
    rows = [(each, scaled(1e9), "ns") for each in series.values()]
    return Answer(TITLE, rows, goals, ["Time of one put. Where two processes put, that of the slower one."])
