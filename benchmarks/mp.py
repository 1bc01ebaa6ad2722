"""How fast is ringipc.mp, and ProcessPoolExecutor, beside the standard library?"""

import concurrent.futures
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import repeat
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Self

import numpy as np

import ringipc
from ringipc import mp

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
)
from .values import adds, adds_under_lock, blocks, copies, slices, timed

TITLE = "mp: ringipc.mp and ringipc.ProcessPoolExecutor beside multiprocessing and concurrent.futures"
OURS, STANDARD = "ringipc", "standard library"
SMALL = ("x" * 40, 3, 1.5)  # its pickle has 64 bytes
LARGE = np.arange(1 << 17, dtype="f8")  # 1 MiB
FULL = 64  # arrays in a queue
MADE = 50  # objects that are alive at the same time

STANDARD_CONTEXT = multiprocessing.get_context("spawn")
OUR_CONTEXT = mp.get_context("spawn")
CONTEXTS: dict[str, Any] = {OURS: OUR_CONTEXT, STANDARD: STANDARD_CONTEXT}


def _is_same(got: Any, wanted: Any) -> bool:
    if isinstance(wanted, np.ndarray):
        return type(got) is np.ndarray and got.shape == wanted.shape and got[0] == wanted[0] and got[-1] == wanted[-1]
    return bool(got == wanted)


def _check(got: Any, wanted: Any) -> None:
    if not _is_same(got, wanted):
        raise RuntimeError("what arrived is not what was sent")


def _lacks(module: str, name: str) -> str:
    """Return why a row is left out: ringipc.mp has only the standard library's class; else nothing."""
    ours = getattr(getattr(mp, module), name)
    return f"left out: ringipc.mp has no {name} of its own yet" if ours.__module__.startswith("multiproc") else ""


NO_QUEUE = _lacks("queues", "Queue")


# ---- a queue, one way between two processes ----


def _put(message: Any, queue: Any, count: int) -> None:
    put = queue.put
    for _ in repeat(None, count):
        put(message)


def _get(message: Any, queue: Any, count: int) -> float:
    get = queue.get
    _check(get(), message)
    start = perf_counter()
    for _ in repeat(None, count - 1):
        got = get()
    seconds = perf_counter() - start
    _check(got, message)
    return seconds / (count - 1)


def _queue(whose: str, what: str, message: Any, size: int, pair: tuple[int, int]) -> Contender:
    name = f"{whose}: {what}"
    opener = partial(nullcontext, CONTEXTS[whose].Queue(size))
    return Crowd(name, [(pair[0], opener, partial(_put, message)), (pair[1], opener, partial(_get, message))])


# ---- a round trip through a pipe ----


def _call(connection: Any, count: int) -> float:
    start = perf_counter()
    for _ in repeat(None, count):
        connection.send(SMALL)
        got = connection.recv()
    seconds = perf_counter() - start
    _check(got, SMALL)
    return seconds / count


def _answer(connection: Any, count: int) -> None:
    for _ in repeat(None, count):
        connection.send(connection.recv())


def _pipe(name: str, ends: tuple[Any, Any], pair: tuple[int, int]) -> Contender:
    sides = [(pair[0], partial(nullcontext, ends[0]), _call), (pair[1], partial(nullcontext, ends[1]), _answer)]
    return Crowd(name, sides)


# ---- a dict of a manager ----


def _get_items(table: Any, count: int) -> float:
    table["key"] = SMALL
    start = perf_counter()
    for _ in repeat(None, count):
        got = table["key"]
    seconds = perf_counter() - start
    _check(got, SMALL)
    return seconds / count


class _Client(Crowd):
    """A client of a server that runs only while it is measured: one that spins would take its core from the others."""

    def __init__(self, name: str, server: int, side: Side) -> None:
        super().__init__(name, [side])
        self._server = server

    def measure(self, count: int) -> float:
        os.kill(self._server, signal.SIGCONT)
        try:
            return super().measure(count)
        finally:
            os.kill(self._server, signal.SIGSTOP)


@contextmanager
def _dict_of(name: str, manager: Any, pair: tuple[int, int]) -> Iterator[Contender]:
    """A client on one core, the server of the manager on the other one."""
    with manager:
        server = manager._process.pid
        os.sched_setaffinity(server, {pair[1]})
        try:
            yield _Client(name, server, (pair[0], partial(nullcontext, manager.dict()), _get_items))
        finally:
            os.kill(server, signal.SIGCONT)


# ---- the map of an executor ----


def add_one(value: int) -> int:
    return value + 1


def same(array: Any) -> Any:
    return array


class Pool:
    """An executor with two workers; the core of each process is chosen by the system."""

    def __init__(self, name: str, executor: type[concurrent.futures.ProcessPoolExecutor], arrays: bool) -> None:
        self.name = name
        self._make, self._arrays = executor, arrays

    def __enter__(self) -> Self:
        self._executor = self._make(2, STANDARD_CONTEXT)
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()

    def wait_until_ready(self) -> None:
        self.measure(50)

    def measure(self, count: int) -> float:
        start = perf_counter()
        if self._arrays:
            for array in self._executor.map(same, repeat(LARGE, count)):
                last: Any = array
            wanted: Any = LARGE
        else:
            for number in self._executor.map(add_one, range(count)):
                last = number
            wanted = count
        seconds = perf_counter() - start
        _check(last, wanted)
        return seconds / count


# ---- one process: values, locks, and what it costs to make an object ----


class Cost(NamedTuple):
    """What an object costs to make: seconds, bytes of memory, file descriptors."""

    seconds: float
    memory: float
    files: float


def _status(name: str) -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def _files() -> dict[int, int]:
    """Return the bytes that each open file has allocated, by its descriptor; 0 if it is a file on a disk."""
    sizes = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            status = os.stat(f"/proc/self/fd/{name}")
        except OSError:  # the directory that was just listed
            continue
        sizes[int(name)] = status.st_blocks * 512
    return sizes


def _cost_of(make: Callable[[], object]) -> Cost:
    made = [make()]  # what is made once for all
    files, private, shared = _files(), _status("RssAnon"), _status("RssShmem")
    start = perf_counter()
    made += [make() for _ in range(MADE)]
    seconds = perf_counter() - start
    new = {fd: size for fd, size in _files().items() if fd not in files}
    memory = max(sum(new.values()), _status("RssShmem") - shared) + max(0, _status("RssAnon") - private)
    return Cost(seconds / MADE, memory / MADE, len(new) / MADE)


LOCKED, ADD, LOCK = "with lock: value += 1", "atomic add", "with Lock()"
SLICE = "Array, slice of 1000"
MAKERS = {"make a Queue": "Queue", "make a Pipe": "Pipe", "make a Lock": "Lock"}


def _costs() -> dict[str, Cost]:
    """Return what objects cost in this process, which has made none before: it would use their memory again."""
    return {
        f"{whose}: {what}": _cost_of(getattr(context, method))
        for what, method in MAKERS.items()
        for whose, context in CONTEXTS.items()
        if not (whose == OURS and method == "Queue" and NO_QUEUE)
    }


def _times() -> dict[str, list[float]]:
    """Return the times of the rows of one process."""
    values = {whose: context.Value("d", 0.0) for whose, context in CONTEXTS.items()}
    arrays = {whose: context.Array("i", range(1000)) for whose, context in CONTEXTS.items()}
    tasks: list[tuple[str, Callable[[int], object], int]] = []
    for whose, context in CONTEXTS.items():
        tasks += [
            (f"{whose}: {LOCKED}", adds_under_lock(values[whose]), 20_000),
            (f"{whose}: {LOCK}", blocks(context.Lock()), 50_000),
        ]
    tasks += [
        (f"{OURS}: {ADD}", adds(values[OURS]), 50_000),
        (f"{OURS}: {SLICE}", copies(arrays[OURS]), 2_000),
        (f"{STANDARD}: {SLICE}", slices(arrays[STANDARD]), 2_000),
    ]
    times: dict[str, list[float]] = {name: [] for name, _, _ in tasks}
    for _ in range(ROUNDS + 1):  # the first round warms up
        for name, call, count in tasks:
            times[name].append(timed(call, count))
    added = (ROUNDS + 1) * 20_000
    _check(values[STANDARD].value, added)
    _check(values[OURS].value, added + (ROUNDS + 1) * 50_000)
    _check(arrays[OURS].array.copy().tolist(), arrays[STANDARD][:])
    return {name: each[1:] for name, each in times.items()}


# ---- the question ----

SMALL_QUEUE, LARGE_QUEUE = "Queue, objects of 64 bytes", "Queue, arrays of 1 MiB"
BLOCKED, SPINNING = "Pipe, round trip, blocking", "Pipe, round trip, spinning"
DICT, SPINNING_DICT = "Manager().dict(), get", "Manager().dict(), get, spinning"
MAP_LARGE, MAP_SMALL = "Executor.map, arrays of 1 MiB there and back", "Executor.map, small ints"

BETWEEN = (SMALL_QUEUE, LARGE_QUEUE, BLOCKED, SPINNING, DICT, SPINNING_DICT, MAP_LARGE, MAP_SMALL)


def _between_processes(pair: tuple[int, int]) -> dict[str, Series]:
    series: dict[str, Series] = {}
    for what, message, size in (SMALL_QUEUE, SMALL, 0), (LARGE_QUEUE, LARGE, FULL):
        ours = Missing(f"{OURS}: {what}", NO_QUEUE) if NO_QUEUE else _queue(OURS, what, message, size, pair)
        series |= compare([ours, _queue(STANDARD, what, message, size, pair)])
    series |= compare(
        [
            _pipe(f"{OURS}: {BLOCKED}", OUR_CONTEXT.Pipe(), pair),
            _pipe(f"{OURS}: {SPINNING}", mp.connection.Pipe(wait="spin"), pair),
            _pipe(f"{STANDARD}: {BLOCKED}", STANDARD_CONTEXT.Pipe(), pair),
        ]
    )
    managers = {
        f"{OURS}: {DICT}": OUR_CONTEXT.Manager(),
        f"{OURS}: {SPINNING_DICT}": mp.managers.SyncManager(ctx=OUR_CONTEXT, wait="spin"),
        f"{STANDARD}: {DICT}": STANDARD_CONTEXT.Manager(),
    }
    with ExitStack() as stack:
        dicts = [stack.enter_context(_dict_of(name, manager, pair)) for name, manager in managers.items()]
        series |= compare(dicts)
    for what, arrays in (MAP_LARGE, True), (MAP_SMALL, False):
        series |= compare(
            [
                Pool(f"{OURS}: {what}", ringipc.ProcessPoolExecutor, arrays),
                Pool(f"{STANDARD}: {what}", concurrent.futures.ProcessPoolExecutor, arrays),
            ],
            seconds=0.5,
        )
    return series


def _column(rounds: list[dict[str, Cost]], name: str) -> list[Cost]:
    return [costs[name] for costs in rounds if name in costs]


def _rows(series: Iterable[Series], costs: dict[str, list[Cost]]) -> Iterator[Row]:
    for one in series:
        if "1 MiB" in one.name and "Queue" in one.name:
            yield one, per_second(LARGE.nbytes * 1e-9), "GB/s"
        else:
            yield one, scaled(1e6), "us"
    for name, each in costs.items():
        if not each:
            yield Series(name, (), NO_QUEUE), scaled(1), ""
            continue
        yield Series(f"{name}, time", tuple(cost.seconds for cost in each)), scaled(1e6), "us"
        yield Series(f"{name}, memory", tuple(cost.memory for cost in each)), scaled(1e-3), "kB"
        yield Series(f"{name}, files", tuple(cost.files for cost in each)), scaled(1), "fds"


def _cost_goals(costs: dict[str, list[Cost]]) -> Iterator[Goal]:
    for what in MAKERS:
        both = list(zip(costs[f"{OURS}: {what}"], costs[f"{STANDARD}: {what}"], strict=False))
        yield Goal(f"{what}, time, of the standard library's", tuple(a.seconds / b.seconds for a, b in both), at_most=2)
        yield Goal(f"{what}, memory in kB", tuple(a.memory * 1e-3 for a, _ in both), at_most=100)
        yield Goal(f"{what}, more descriptors", tuple(a.files - b.files for a, b in both), at_most=0)


def ask(cores: Cores) -> Answer:
    if cores.pair is None:
        series = {f"{OURS}: {what}": Series(f"{OURS}: {what}", (), ONE_CORE) for what in BETWEEN}
    else:
        series = _between_processes(cores.pair)
    [times] = together([(cores.first, _times)])
    rounds = [together([(cores.first, _costs)])[0] for _ in range(ROUNDS)]
    costs = {f"{whose}: {what}": _column(rounds, f"{whose}: {what}") for what in MAKERS for whose in CONTEXTS}
    series |= {name: Series(name, tuple(values)) for name, values in times.items()}

    def times_as_fast(what: str, at_least: float, *, than: str = "") -> Goal:
        ours, theirs = series.get(f"{OURS}: {what}"), series.get(f"{STANDARD}: {than or what}")
        named = f"{what}, times as fast as {than or 'the standard library'}"
        return Goal(named, ours / theirs if ours and theirs else (), at_least=at_least)

    goals = [
        times_as_fast(SMALL_QUEUE, 15),
        times_as_fast(LARGE_QUEUE, 30),
        times_as_fast(BLOCKED, 1),
        times_as_fast(SPINNING, 10, than=BLOCKED),
        times_as_fast(DICT, 4),
        times_as_fast(SPINNING_DICT, 10, than=DICT),
        times_as_fast(LOCKED, 5),
        times_as_fast(ADD, 20, than=LOCKED),
        times_as_fast(LOCK, 3),
        times_as_fast(SLICE, 20),
        times_as_fast(MAP_LARGE, 10),
        times_as_fast(MAP_SMALL, 8),
        *_cost_goals(costs),
    ]
    return Answer(TITLE, list(_rows(series.values(), costs)), goals)
