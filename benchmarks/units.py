"""What do acquire and release of one unit cost, uncontended?"""

import multiprocessing
import threading
from collections.abc import Callable
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any

import ringipc

from . import _limits
from ._harness import ROUNDS, Answer, Cores, Goal, Series, scaled, together

TITLE = "units: acquire and release of one unit in one process, uncontended"
COUNT = 300_000

Times = dict[str, list[float]]
EMPTY = "two empty calls"
RING, UNDO, LOCK = "ringipc.Semaphore", "ringipc.Semaphore, undo=True", "ringipc.Lock"
STANDARD, POSIX, THREADS = "multiprocessing.Semaphore", "posix_ipc.Semaphore", "threading.Lock (no other process)"


def _pairs(acquire: Callable[[], object], release: Callable[[], object]) -> float:
    start = perf_counter()
    for _ in repeat(None, COUNT):
        acquire()
        release()
    return (perf_counter() - start) / COUNT


def _blocks(handle: Any) -> float:
    start = perf_counter()
    for _ in repeat(None, COUNT):
        with handle:
            pass
    return (perf_counter() - start) / COUNT


def _posix() -> Any:
    try:
        import posix_ipc
    except ImportError:
        return None
    semaphore = posix_ipc.Semaphore(None, posix_ipc.O_CREX, initial_value=5)
    semaphore.unlink()
    return semaphore


def _measure() -> tuple[Times, Times]:
    nop = _limits.empty_method() if _limits.has_compiler() else None
    handles = {
        RING: ringipc.Semaphore(value=5),
        UNDO: ringipc.Semaphore(value=5, undo=True),
        LOCK: ringipc.Lock(),
        STANDARD: multiprocessing.Semaphore(5),
        POSIX: _posix(),
        THREADS: threading.Lock(),
    }
    pairs: Times = {EMPTY: [], **{name: [] for name in handles}}
    blocks: Times = {name: [] for name in handles}
    for _ in range(ROUNDS + 1):  # the first round warms up
        if nop is not None:
            pairs[EMPTY].append(_pairs(nop, nop))
        for name, handle in handles.items():
            if handle is not None:
                pairs[name].append(_pairs(handle.acquire, handle.release))
                blocks[name].append(_blocks(handle))
    for name in (RING, UNDO, LOCK):
        handles[name].close()
    return pairs, blocks


def ask(cores: Cores) -> Answer:
    [(pairs, blocks)] = together([(cores.first, partial(_measure))])
    called = {name: Series(name, tuple(times[1:]), "" if times else "not installed") for name, times in pairs.items()}
    entered = {
        name: Series(f"with {name}", tuple(times[1:]), "" if times else "not installed")
        for name, times in blocks.items()
    }
    rows = [(series, scaled(1e9), "ns") for series in (*called.values(), *entered.values())]
    goals = [
        Goal(
            "acquire and release: ringipc / multiprocessing, times as fast", called[RING] / called[STANDARD], at_least=5
        ),
        Goal("acquire and release: ringipc / posix_ipc", called[RING] / called[POSIX], at_least=5),
        Goal("the two calls alone: empty / multiprocessing", called[EMPTY] / called[STANDARD]),
        Goal("with: ringipc / multiprocessing", entered[RING] / entered[STANDARD]),
        Goal("with: ringipc / posix_ipc", entered[RING] / entered[POSIX]),
    ]
    return Answer(TITLE, rows, goals, ["Each loop binds its methods once, as a program would do."])
