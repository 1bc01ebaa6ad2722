"""What does a get in the order of time cost, with 1 to 1000 producers, compared with reading lane by lane?"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from time import perf_counter
from typing import Literal

import ringipc

from ._harness import ROUNDS, Answer, Cores, Goal, Series, scaled, together, unique

TITLE = "order: get of 64 bytes in one process, with several producers"
LANES = (1, 4, 64, 1000)
MESSAGE = b"m" * 64
Order = Literal["lane", "time"]
ORDERS: tuple[Order, ...] = ("lane", "time")


def _name(lanes: int, order: Order, waiting: str) -> str:
    return f"{lanes} producer{'s' * (lanes > 1)}, {waiting}, by {order}"


def _time_many(puts: Sequence[Callable[..., object]], get: Callable[[], object], count: int) -> float:
    """Return the seconds for each get while messages of all producers wait."""
    took = 0.0
    batch = max(len(puts), 100)
    turn = cycle(puts)
    for _ in range(count // batch):
        for put in islice(turn, batch):
            put(MESSAGE)
        start = perf_counter()
        for _ in range(batch):
            get()
        took += perf_counter() - start
    return took / (count // batch * batch)


def _time_one(puts: Sequence[Callable[..., object]], get: Callable[[], object], count: int) -> float:
    """Return the seconds for each get of the only message that waits."""
    took = 0.0
    for put in islice(cycle(puts[::7]), count):
        put(MESSAGE)
        start = perf_counter()
        get()
        took += perf_counter() - start
    return took / count


def _measure(channel: str) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {}
    with ExitStack() as stack:
        producers: list[ringipc.Producer] = []
        tasks: dict[str, Callable[[], float]] = {}
        for lanes in LANES:
            for order in ORDERS:
                name = f"{channel}-{lanes}-{order}"
                producers = [stack.enter_context(ringipc.Producer(name, capacity=16384)) for _ in range(lanes)]
                get = stack.enter_context(ringipc.Consumer(name, order=order)).get
                puts = [producer.put for producer in producers]
                tasks[_name(lanes, order, "many messages wait")] = partial(_time_many, puts, get, 20_000)
                tasks[_name(lanes, order, "one message waits")] = partial(_time_one, puts, get, 2_000)
        for name, task in tasks.items():  # the first call is to warm up
            times[name] = [task() for _ in range(ROUNDS + 1)][1:]
    return times


def ask(cores: Cores) -> Answer:
    [times] = together([(cores.first, partial(_measure, unique("order")))])
    series = {name: Series(name, tuple(values)) for name, values in times.items()}
    goals = []
    for lanes in LANES:
        for waiting in ("many messages wait", "one message waits"):
            by_lane, by_time = (series[_name(lanes, order, waiting)] for order in ORDERS)
            goals.append(Goal(f"time: {lanes} lanes, {waiting}: by time / by lane", by_lane / by_time))
    return Answer(
        TITLE, [(one, scaled(1e9), "ns") for one in series.values()], goals, ["Reading the clock is included."]
    )
