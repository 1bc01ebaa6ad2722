"""joblib with the workers of `ringipc.ProcessPoolExecutor`."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import pytest

joblib = pytest.importorskip("joblib")

import ringipc.joblib  # noqa: E402


@pytest.fixture(scope="module")
def parallel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Runs tasks with two workers, which are those of all tests of this module."""
    ringipc.joblib.register()

    def run(tasks: Any, **options: Any) -> Any:
        with joblib.parallel_config("ringipc", n_jobs=2):
            return joblib.Parallel(**options)(tasks)

    yield run
    for executor in ringipc.joblib._executors.values():
        executor.shutdown()
    ringipc.joblib._executors.clear()


def scaled(array: Any, *, by: float) -> Any:
    array *= by
    return array


def fail() -> None:
    raise KeyError("its own")


def pid_after_work(_: int) -> int:
    np.ones(1000).sum()
    return os.getpid()


def test_results_come_in_order_and_arrays_can_be_written_to(parallel: Callable[..., Any]) -> None:
    arrays = [np.full(100_000, float(k)) for k in range(8)]
    got = parallel(joblib.delayed(scaled)(array, by=2) for array in arrays)
    for k, array in enumerate(got):
        assert (array == 2 * k).all()
        array[:] = 0
    assert parallel(joblib.delayed(abs)(k) for k in range(-500, 0)) == list(range(500, 0, -1))


def test_functions_that_pickle_refuses_are_run(parallel: Callable[..., Any]) -> None:
    base = 10
    assert parallel(joblib.delayed(lambda k: k + base)(k) for k in range(5)) == [10, 11, 12, 13, 14]


def test_workers_are_kept_for_the_next_call(parallel: Callable[..., Any]) -> None:
    pids = set(parallel(joblib.delayed(pid_after_work)(k) for k in range(20)))
    assert os.getpid() not in pids
    assert set(parallel(joblib.delayed(pid_after_work)(k) for k in range(20))) <= set(workers())
    assert pids <= set(workers())


def workers() -> list[int]:
    return [pid for executor in ringipc.joblib._executors.values() for pid in executor._processes]


def test_results_can_come_one_by_one(parallel: Callable[..., Any]) -> None:
    for how in ("generator", "generator_unordered"):
        got = parallel((joblib.delayed(abs)(k) for k in range(-20, 0)), return_as=how)
        assert sorted(got) == list(range(1, 21))


def test_an_exception_and_a_dead_worker_end_the_call_and_the_next_one_works(parallel: Callable[..., Any]) -> None:
    with pytest.raises(KeyError, match="its own"):
        parallel(joblib.delayed(fail)() for _ in range(10))
    with pytest.raises(BrokenProcessPool):
        parallel(joblib.delayed(os.kill)(pid, signal.SIGKILL) for pid in workers_of(parallel))
    assert parallel(joblib.delayed(abs)(k) for k in range(-3, 0)) == [3, 2, 1]


def workers_of(parallel: Callable[..., Any]) -> list[int]:
    parallel(joblib.delayed(pid_after_work)(k) for k in range(20))
    return workers()


def test_one_job_runs_here(parallel: Callable[..., Any]) -> None:
    assert parallel([joblib.delayed(os.getpid)()], n_jobs=1) == [os.getpid()]
    with pytest.raises(ValueError, match="n_jobs == 0"):
        parallel([joblib.delayed(os.getpid)()], n_jobs=0)
