"""What do shared numbers, arrays and small locks cost, uncontended, beside those of multiprocessing?"""

import multiprocessing
import threading
from collections.abc import Callable
from itertools import repeat
from time import perf_counter
from typing import Any

import numpy as np

import ringipc

from ._harness import ROUNDS, Answer, Cores, Goal, Series, scaled, together

TITLE = "values: a double, an array of 1000 ints, a lock; one process, uncontended"
COUNT = 100_000
SLICES = 2_000
MADE = 1_000

OURS, STANDARD = "ringipc", "multiprocessing"
LOCKED, READ, ADD = "with v.get_lock(): v.value += 1", "v.value", "v.add(1), atomic"
ITEM, SLICE, COPY, COPIED = "a[5]", "a[:], a list", "a.array.copy()", "copy under the lock, NumPy"
RLOCK, LOCK, THREADS = "with RLock()", "with Lock()", "with threading.Lock() (no other process)"
MAKE, SNAPSHOT, UPDATE = "make a Value", "SharedArray: snapshot of 1000 ints", "SharedArray: update of 1000 ints"

Times = dict[str, list[float]]


def timed(call: Callable[[int], object], count: int) -> float:
    start = perf_counter()
    call(count)
    return (perf_counter() - start) / count


def adds_under_lock(value: Any) -> Callable[[int], object]:
    def call(count: int) -> None:
        for _ in repeat(None, count):
            with value.get_lock():
                value.value += 1

    return call


def reads(value: Any) -> Callable[[int], object]:
    def call(count: int) -> None:
        for _ in repeat(None, count):
            value.value  # noqa: B018

    return call


def adds(value: Any) -> Callable[[int], object]:
    def call(count: int) -> None:
        add = value.add
        for _ in repeat(None, count):
            add(1)

    return call


def items(array: Any) -> Callable[[int], object]:
    def call(count: int) -> None:
        for _ in repeat(None, count):
            array[5]

    return call


def slices(array: Any) -> Callable[[int], object]:
    def call(count: int) -> None:
        for _ in repeat(None, count):
            array[:]

    return call


def copies(array: Any) -> Callable[[int], object]:
    def call(count: int) -> None:
        for _ in repeat(None, count):
            array.array.copy()

    return call


def blocks(lock: Any) -> Callable[[int], object]:
    def call(count: int) -> None:
        for _ in repeat(None, count):
            with lock:
                pass

    return call


def makes(module: Any) -> Callable[[int], object]:
    def call(count: int) -> None:
        values = [module.Value("i", 0) for _ in repeat(None, count)]
        del values

    return call


def _snapshots(array: Any) -> Callable[[int], object]:
    def call(count: int) -> None:
        for _ in repeat(None, count):
            array.snapshot()

    return call


def _updates(array: Any) -> Callable[[int], object]:
    def call(count: int) -> None:
        for _ in repeat(None, count):
            with array.update():
                pass

    return call


def _copies_under_lock(array: Any) -> Callable[[int], object]:
    memory = np.frombuffer(array.get_obj(), "i4")

    def call(count: int) -> None:
        for _ in repeat(None, count):
            with array:
                memory.copy()

    return call


def _measure() -> Times:
    numbers = range(1000, 2000)  # Python keeps no objects of these ints
    value, standard_value = ringipc.Value("d", 0.0), multiprocessing.Value("d", 0.0)
    array, standard_array = ringipc.Array("i", numbers), multiprocessing.Array("i", numbers)
    lock = ringipc.Lock()
    table = ringipc.SharedArray(1000, "i4")
    tasks: list[tuple[str, Callable[[int], object], int]] = [
        (f"{OURS}: {LOCKED}", adds_under_lock(value), COUNT),
        (f"{STANDARD}: {LOCKED}", adds_under_lock(standard_value), COUNT),
        (f"{OURS}: {READ}", reads(value), COUNT),
        (f"{STANDARD}: {READ}", reads(standard_value), COUNT),
        (f"{OURS}: {ADD}", adds(value), COUNT),
        (f"{OURS}: {ITEM}", items(array), COUNT),
        (f"{STANDARD}: {ITEM}", items(standard_array), COUNT),
        (f"{OURS}: {SLICE}", slices(array), SLICES),
        (f"{STANDARD}: {SLICE}", slices(standard_array), SLICES),
        (f"{OURS}: {COPY}", copies(array), SLICES),
        (f"{STANDARD}: {COPIED}", _copies_under_lock(standard_array), SLICES),
        (f"{OURS}: {RLOCK}", blocks(ringipc.RLock()), COUNT),
        (f"{STANDARD}: {RLOCK}", blocks(multiprocessing.RLock()), COUNT),
        (f"{OURS}: {LOCK}", blocks(lock), COUNT),
        (f"{STANDARD}: {LOCK}", blocks(multiprocessing.Lock()), COUNT),
        (THREADS, blocks(threading.Lock()), COUNT),
        (f"{OURS}: {MAKE}", makes(ringipc), MADE),
        (f"{STANDARD}: {MAKE}", makes(multiprocessing), MADE),
        (SNAPSHOT, _snapshots(table), SLICES),
        (UPDATE, _updates(table), SLICES),
    ]
    times: Times = {name: [] for name, _, _ in tasks}
    for _ in range(ROUNDS + 1):  # the first round warms up
        for name, call, count in tasks:
            times[name].append(timed(call, count))
    lock.close()
    table.close()
    return {name: each[1:] for name, each in times.items()}


def ask(cores: Cores) -> Answer:
    [times] = together([(cores.first, _measure)])
    series = {name: Series(name, tuple(values)) for name, values in times.items()}

    def times_as_fast(what: str, *, than: str = "", at_least: float | None = None) -> Goal:
        ratio = series[f"{OURS}: {what}"] / series[f"{STANDARD}: {than or what}"]
        return Goal(f"{what}, times as fast as {than or STANDARD}", ratio, at_least=at_least)

    return Answer(
        TITLE,
        [(one, scaled(1e9), "ns") for one in series.values()],
        [
            times_as_fast(LOCKED, at_least=5),
            times_as_fast(READ),
            times_as_fast(ADD, than=LOCKED, at_least=20),
            times_as_fast(ITEM),
            times_as_fast(SLICE),
            times_as_fast(COPY, than=SLICE, at_least=20),
            times_as_fast(RLOCK, at_least=3),
            times_as_fast(LOCK, at_least=3),
            times_as_fast(MAKE),
        ],
    )
