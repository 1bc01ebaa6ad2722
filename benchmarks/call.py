"""What does a put and a get cost, beside a call that does nothing?"""

from collections.abc import Callable
from functools import partial
from itertools import repeat
from time import perf_counter

import ringipc

from . import _limits
from ._harness import ROUNDS, Answer, Cores, Goal, Series, scaled, together, unique

TITLE = "call: put and get of 64 bytes in one process, beside empty calls of a Cython method"
COUNT = 1_000_000
MESSAGE = b"m" * 64

Times = dict[str, list[float]]


def _time_empty_loop() -> float:
    start = perf_counter()
    for _ in repeat(None, COUNT):
        pass
    return perf_counter() - start


def _time_calls(nop: Callable[[], None]) -> float:
    start = perf_counter()
    for _ in repeat(None, COUNT):
        nop()
    return perf_counter() - start


def _time_messages(put: Callable[[bytes], object], get: Callable[[], object]) -> float:
    start = perf_counter()
    for _ in repeat(None, COUNT):
        put(MESSAGE)
        get()
    return perf_counter() - start


def _measure(channel: str) -> Times:
    nop = _limits.empty_method()
    times: Times = {"loop": [], "call": [], "messages": []}
    with ringipc.Producer(channel) as producer, ringipc.Consumer(channel) as consumer:
        _time_messages(producer.put, consumer.get)  # the first round warms up
        for _ in range(ROUNDS):
            times["loop"].append(_time_empty_loop() / COUNT)
            times["call"].append(_time_calls(nop) / COUNT)
            times["messages"].append(_time_messages(producer.put, consumer.get) / COUNT)
        if consumer.stats.messages != (ROUNDS + 1) * COUNT:
            raise RuntimeError(f"lost count: {consumer.stats}")
    return times


def ask(cores: Cores) -> Answer:
    if not _limits.has_compiler():
        return Answer(TITLE, notes=[f"left out: {_limits.NO_COMPILER}"])
    [times] = together([(cores.first, partial(_measure, unique("call")))])
    call, messages = (
        Series("a loop of empty calls", tuple(times["call"])),
        Series("put and get", tuple(times["messages"])),
    )
    loop = Series("an empty loop", tuple(times["loop"]))
    return Answer(
        TITLE,
        [(loop, scaled(1e9), "ns"), (call, scaled(1e9), "ns"), (messages, scaled(1e9), "ns")],
        [Goal("put and get, in empty calls", call / messages, at_most=4)],
        ["Each as a program would call it, in a loop."],
    )
