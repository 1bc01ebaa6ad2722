"""Several producers, several groups, several members: how many messages per second, and what an idle lane costs."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any

import numpy as np

import ringipc

from ._contenders import DEPTH, FRAMES, Copies, FasterFifo, Frame, Ring, StandardQueue, Transport, ZeroMQ, if_installed
from ._harness import (
    ONE_CORE,
    ROUNDS,
    Answer,
    Contender,
    Cores,
    Crowd,
    Goal,
    Missing,
    Row,
    Series,
    Side,
    compare,
    per_second,
    scaled,
    together,
    unique,
)

TITLE = "many: producers on one core, consumers on the other"
CROWD = 3  # producers to one consumer; groups of one producer
SIZES = {"64 B": 64, "1 MiB": 1 << 20}
GOALS = {"64 B": 10, "1 MiB": 3}
LANES = 64
MESSAGES = 200_000


def _message(size: str) -> bytes | Frame:
    return bytes(SIZES[size]) if size == "64 B" else np.zeros(SIZES[size], "u1")


def put_all(size: str, end: Any, count: int) -> None:
    put = end.put
    message = _message(size)
    for _ in repeat(None, count + 1):
        put(message)


def get_all(senders: int, end: Any, count: int) -> float:
    """Get the messages; return seconds per message."""
    get = end.get
    get()
    expected = senders * (count + 1) - 1
    start = perf_counter()
    for _ in repeat(None, expected):
        get()
    return (perf_counter() - start) / expected


def _depth(size: str) -> tuple[int, Frame | None]:
    message = _message(size)
    return (DEPTH, None) if isinstance(message, bytes) else (FRAMES, message)


def _fan_in(size: str, pair: tuple[int, int]) -> list[Contender | Missing]:
    """All senders put the same number of messages; one receiver gets them all."""
    depth, frame = _depth(size)

    def crowd(name: str, transport: Transport) -> Crowd:
        sender: Side = (pair[0], transport.sender, partial(put_all, size))
        return Crowd(
            f"{CROWD} to 1, {size}: {name}",
            [*[sender] * CROWD, (pair[1], transport.receiver, partial(get_all, CROWD))],
        )

    return _contenders(
        crowd,
        lambda: Ring(),
        lambda: StandardQueue(depth),
        lambda: FasterFifo(depth * (SIZES[size] + 8), frame),
        lambda: ZeroMQ(depth, frame, receiver_binds=True),
        f"{CROWD} to 1, {size}",
    )


def _fan_out(size: str, pair: tuple[int, int]) -> list[Contender | Missing]:
    """Every receiver gets every message."""
    depth, frame = _depth(size)

    def crowd(name: str, transports: Sequence[Transport]) -> Crowd:
        first = transports[0]
        several = isinstance(first, (StandardQueue, FasterFifo))
        sender: Side = (pair[0], Copies(transports).sender if several else first.sender, partial(put_all, size))
        receivers: list[Side] = [(pair[1], transport.receiver, partial(get_all, 1)) for transport in transports]
        return Crowd(f"1 to {CROWD}, {size}: {name}", [sender, *receivers])

    def ring() -> list[Transport]:
        first = Ring()
        return [replace(first, group=f"group {k}") for k in range(CROWD)]

    return _contenders(
        crowd,
        ring,
        lambda: [StandardQueue(depth) for _ in range(CROWD)],
        lambda: [FasterFifo(depth * (SIZES[size] + 8), frame) for _ in range(CROWD)],
        lambda: [ZeroMQ(depth, frame, broadcast=True)] * CROWD,
        f"1 to {CROWD}, {size}",
    )


def _contenders(
    crowd: Callable[[str, Any], Crowd],
    ring: Callable[[], Any],
    queue: Callable[[], Any],
    fifo: Callable[[], Any],
    zmq: Callable[[], Any],
    what: str,
) -> list[Contender | Missing]:
    return [
        crowd("ringipc", ring()),
        crowd("multiprocessing.Queue", queue()),
        if_installed("faster_fifo", f"{what}: faster-fifo", lambda: crowd("faster-fifo", fifo())),
        if_installed("zmq", f"{what}: pyzmq", lambda: crowd("pyzmq", zmq())),
    ]


def _times_the_best(ring: Series, others: Sequence[Series]) -> tuple[float, ...]:
    present = [other.values for other in others if other.values]
    best = Series("the best of them", tuple(min(values) for values in zip(*present, strict=True)))
    return ring / best


def _compare_kinds(pair: tuple[int, int]) -> list[Series]:
    """The cost of claims: the same stream to an exclusive group, and to a shared group of one member."""

    def kind(name: str, transport: Ring) -> Crowd:
        sides: list[Side] = [
            (pair[0], transport.sender, partial(put_all, "64 B")),
            (pair[1], transport.receiver, partial(get_all, 1)),
        ]
        return Crowd(name, sides)

    contenders = [kind("exclusive group, 64 B", Ring()), kind("shared group of one member, 64 B", Ring(shared=True))]
    return list(compare(contenders).values())


def _measure_lanes(channel: str) -> list[list[float]]:
    """Return seconds per put and get in one process, without idle lanes and with LANES - 1 of them."""
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for beside, series in zip((0, LANES - 1), times, strict=True):
            with ExitStack() as stack:
                busy = stack.enter_context(ringipc.Producer(channel, capacity="1 MiB"))
                for _ in range(beside):
                    stack.enter_context(ringipc.Producer(channel, capacity=4096, slots=4))
                consumer = stack.enter_context(ringipc.Consumer(channel))
                put, get, message = busy.put, consumer.get, bytes(64)
                start = perf_counter()
                for _ in repeat(None, MESSAGES):
                    put(message)
                    get()
                series.append((perf_counter() - start) / MESSAGES)
    return times


def ask(cores: Cores) -> Answer:
    [lanes] = together([(cores.first, partial(_measure_lanes, unique("lanes")))])
    alone, crowded = (
        Series("put and get, the only lane", tuple(lanes[0])),
        Series(f"put and get, beside {LANES - 1} idle lanes", tuple(lanes[1])),
    )
    each = tuple((b - a) / (LANES - 1) * 1e9 for a, b in zip(alone.values, crowded.values, strict=True))
    rows: list[Row] = [(alone, scaled(1e9), "ns"), (crowded, scaled(1e9), "ns")]
    goals = [Goal("ns per idle lane", each, at_most=5)]
    if cores.pair is None:
        return Answer(TITLE, rows, goals, [ONE_CORE])
    exclusive, shared = _compare_kinds(cores.pair)
    rows += [(one, per_second(1e-6), "M messages/s") for one in (exclusive, shared)]
    goals.append(Goal("shared group of one member / exclusive", shared / exclusive, at_least=0.5))
    for size, at_least in GOALS.items():
        for contenders in (_fan_in(size, cores.pair), _fan_out(size, cores.pair)):
            series = list(compare(contenders).values())
            rows += [(one, per_second(1e-3), "k messages/s") for one in series]
            what = series[0].name.split(":")[0]
            ring, *others, zmq = series
            goals.append(Goal(f"{what}: ringipc / pyzmq", ring / zmq, at_least))
            goals.append(Goal(f"{what}: ringipc / the best other", _times_the_best(ring, [*others, zmq])))
    return Answer(TITLE, rows, goals)
