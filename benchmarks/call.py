"""What do a put and a get cost in one process, compared with an empty call, queue.SimpleQueue, and a serialiser?"""

from collections.abc import Callable
from functools import partial
from itertools import repeat
from queue import SimpleQueue
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

import ringipc

from . import _limits
from ._harness import ROUNDS, Answer, Cores, Goal, Series, scaled, together, unique

TITLE = "call: put and get in one process"
COUNT = 500_000
MESSAGE = b"m" * 64
ARRAY = np.full((4, 4), 1, "f4")
RECORD = {"k": 1, "t": 2.5}

LOOP, EMPTY = "an empty loop", "two empty calls of a Cython method"
QUEUE, SERIALISER = "queue.SimpleQueue: put, get of 64 bytes", 'msgspec: encode, decode of {"k": 1, "t": 2.5}'
BYTES, ARRAYS = "ringipc: put, get of 64 bytes", "ringipc: put, get of a 4x4 float32 array"
RECORDS = 'ringipc: put, get of {"k": 1, "t": 2.5}'

Times = dict[str, list[float]]


def _time_empty_loop() -> float:
    start = perf_counter()
    for _ in repeat(None, COUNT):
        pass
    return perf_counter() - start


def _time_calls(nop: Callable[[], object]) -> float:
    start = perf_counter()
    for _ in repeat(None, COUNT):
        nop()
        nop()
    return perf_counter() - start


def _time_messages(put: Callable[[Any], object], get: Callable[[], object], message: Any) -> float:
    start = perf_counter()
    for _ in repeat(None, COUNT):
        put(message)
        get()
    return perf_counter() - start


def _time_serialiser(encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]) -> float:
    start = perf_counter()
    for _ in repeat(None, COUNT):
        decode(encode(RECORD))
    return perf_counter() - start


def _measure(channel: str) -> Times:
    nop = _limits.empty_method()
    queue: SimpleQueue[bytes] = SimpleQueue()
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode
    with ringipc.Producer(channel) as producer, ringipc.Consumer(channel) as consumer:
        put, get = producer.put, consumer.get
        tasks: dict[str, Callable[[], float]] = {
            LOOP: _time_empty_loop,
            EMPTY: partial(_time_calls, nop),
            QUEUE: partial(_time_messages, queue.put, queue.get, MESSAGE),
            BYTES: partial(_time_messages, put, get, MESSAGE),
            ARRAYS: partial(_time_messages, put, get, ARRAY),
            SERIALISER: partial(_time_serialiser, encode, decode),
            RECORDS: partial(_time_messages, put, get, RECORD),
        }
        times: Times = {name: [] for name in tasks}
        for task in tasks.values():  # to warm up
            task()
        for _ in range(ROUNDS):
            for name, task in tasks.items():
                times[name].append(task() / COUNT)
        if consumer.stats.messages != 3 * (ROUNDS + 1) * COUNT:
            raise RuntimeError(f"messages are missing: {consumer.stats}")
    return times


def ask(cores: Cores) -> Answer:
    if not _limits.has_compiler():
        return Answer(TITLE, notes=[f"left out: {_limits.NO_COMPILER}"])
    [times] = together([(cores.first, partial(_measure, unique("call")))])
    series = {name: Series(name, tuple(values)) for name, values in times.items()}
    return Answer(
        TITLE,
        [(one, scaled(1e9), "ns") for one in series.values()],
        [
            Goal("time: 64 bytes / queue.SimpleQueue", series[QUEUE] / series[BYTES], at_most=1),
            Goal("time: 64 bytes / two empty calls", series[EMPTY] / series[BYTES]),
            Goal("time: array / 64 bytes", series[BYTES] / series[ARRAYS], at_most=1.5),
            Goal("time: record / msgspec alone", series[SERIALISER] / series[RECORDS], at_most=1.5),
        ],
        ["Each loop binds its methods once, as a program would do. SimpleQueue copies nothing."],
    )
