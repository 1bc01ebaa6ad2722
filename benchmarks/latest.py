"""What does it cost to set and to get the latest value, a pose of 6 floats? How fast is a writer with many readers?"""

import multiprocessing
from collections.abc import Callable
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any

import numpy as np

import ringipc

from ._harness import ONE_CORE, PATIENCE, ROUNDS, Answer, Cores, Goal, Series, scaled, together, unique

TITLE = "latest: a pose of 6 floats"
COUNT = 300_000
SETS = 1_000_000  # with readers, in each round
READERS = 8

COPY, GET, SET = "numpy: copy of the pose", "ringipc.Latest: get", "ringipc.Latest: set"
ARRAY = "multiprocessing.Array: copy under its lock"
SETTING, READING = f"ringipc.Latest: set beside {READERS} readers", "ringipc.Latest: get, one of these readers"

Times = dict[str, list[float]]


def _time(call: Callable[..., object], *arguments: object) -> float:
    start = perf_counter()
    for _ in repeat(None, COUNT):
        call(*arguments)
    return (perf_counter() - start) / COUNT


def _measure_alone() -> Times:
    pose = np.arange(6.0)
    shared = multiprocessing.Array("d", 6)
    numbers: Any = shared.get_obj()
    memory = np.frombuffer(numbers)

    def copy_under_lock() -> Any:
        with shared:
            return memory.copy()

    with ringipc.Latest() as latest:
        latest.set(pose)
        tasks: dict[str, Callable[[], float]] = {
            COPY: partial(_time, pose.copy),
            GET: partial(_time, latest.get),
            SET: partial(_time, latest.set, pose),
            ARRAY: partial(_time, copy_under_lock),
        }
        times: Times = {name: [] for name in tasks}
        for _ in range(ROUNDS + 1):  # the first round warms up
            for name, task in tasks.items():
                times[name].append(task())
    return {name: each[1:] for name, each in times.items()}


def _set(name: str) -> list[float]:
    """Set poses, whose six floats are equal; the last one is negative. Return the time of one, in each round."""
    poses = [np.full(6, float(k)) for k in range(1000)]
    times = []
    with ringipc.Latest(name) as latest:
        ready = ringipc.Semaphore(f"{name}-ready", 0)
        if not ready.acquire(READERS, PATIENCE):
            raise TimeoutError("the readers have not started")
        ready.close()
        put = latest.set
        for _ in range(ROUNDS):
            start = perf_counter()
            for _ in repeat(None, SETS // len(poses)):
                for pose in poses:
                    put(pose)
            times.append((perf_counter() - start) / SETS)
        put(np.full(6, -1.0))
    return times


def _read(name: str) -> list[float]:
    """Read poses as fast as possible, and check that none is torn. Return the time of one."""
    with ringipc.Latest(name) as latest:
        ready = ringipc.Semaphore(f"{name}-ready", 0)
        ready.release()
        get = latest.get
        reads = 0
        get(PATIENCE)
        start = perf_counter()
        while (pose := get())[0] >= 0:
            reads += 1
            if pose[0] != pose[5] or pose[0] != pose[2]:
                raise RuntimeError(f"a pose was torn: {pose}")
        ready.close()
    return [(perf_counter() - start) / reads]


def ask(cores: Cores) -> Answer:
    [times] = together([(cores.first, _measure_alone)])
    series = {name: Series(name, tuple(values)) for name, values in times.items()}
    notes = [
        f"The writer has a core of its own. The {READERS} readers share another one, and check every pose.",
        "On a core that a writer shares with readers that never wait, it gets the share that the scheduler gives it.",
    ]
    if cores.other is None:
        crowd = {name: Series(name, (), ONE_CORE) for name in (SETTING, READING)}
    else:
        name = unique("latest")
        tasks = [(cores.first, partial(_set, name)), *[(cores.other, partial(_read, name))] * READERS]
        setting, *reading = together(tasks)
        crowd = {
            SETTING: Series(SETTING, tuple(setting)),
            READING: Series(READING, tuple(time for times in reading for time in times)),
        }
    return Answer(
        TITLE,
        [(one, scaled(1e9), "ns") for one in (*series.values(), *crowd.values())],
        [
            Goal("time: get / NumPy copy", series[COPY] / series[GET], at_most=3),
            Goal("time: set / NumPy copy", series[COPY] / series[SET]),
            Goal("get: ringipc / multiprocessing.Array, times as fast", series[GET] / series[ARRAY]),
            Goal(
                f"million values per second beside {READERS} readers",
                tuple(1e-6 / time for time in crowd[SETTING].values),
                at_least=1,
            ),
        ],
        notes,
    )
