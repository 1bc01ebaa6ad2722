"""`ringipc.ProcessPoolExecutor` behaves as that of the standard library. Its own tests are run by stdlib_futures.py."""

import concurrent.futures
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ringipc
from ringipc import mp

SPAWN: Any = multiprocessing.get_context("spawn")
FORK: Any = multiprocessing.get_context("fork")  # quick to start: for tests that break the pool
ignores_fork_warning = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ringipc.ProcessPoolExecutor]:
    with ringipc.ProcessPoolExecutor(2, SPAWN) as executor:
        yield executor


@pytest.fixture
def forked() -> Iterator[ringipc.ProcessPoolExecutor]:
    with ringipc.ProcessPoolExecutor(2, FORK) as executor:
        yield executor


def double(value: Any) -> Any:
    return value * 2


def doubled_in_place(array: Any) -> Any:
    array *= 2
    return array


def test_it_is_the_standard_librarys_executor(executor: ringipc.ProcessPoolExecutor) -> None:
    assert isinstance(executor, concurrent.futures.ProcessPoolExecutor)
    assert ringipc.ProcessPoolExecutor.map.__doc__ == concurrent.futures.ProcessPoolExecutor.map.__doc__
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(executor)
    wrong: list[dict[str, Any]] = [{"max_workers": 0}, {"max_tasks_per_child": 0}, {"initializer": 3}]
    for arguments in wrong:
        with pytest.raises((ValueError, TypeError)) as theirs:
            concurrent.futures.ProcessPoolExecutor(**arguments)
        with pytest.raises(theirs.type, match=str(theirs.value)):
            ringipc.ProcessPoolExecutor(**arguments)


def test_many_small_tasks_come_back_in_order(executor: ringipc.ProcessPoolExecutor) -> None:
    assert list(executor.map(double, range(3000))) == list(range(0, 6000, 2))
    assert list(executor.map(double, range(3000), chunksize=100)) == list(range(0, 6000, 2))
    assert list(executor.map(pow, range(5), [2] * 5)) == [0, 1, 4, 9, 16]


def test_arrays_are_the_receivers_own(executor: ringipc.ProcessPoolExecutor) -> None:
    array = np.arange(1 << 17, dtype="f8")
    for got in executor.map(doubled_in_place, [array] * 10):
        assert np.array_equal(got, array * 2)
        got[:] = 0
    assert array[3] == 3


def test_a_task_can_be_larger_than_the_memory_of_a_lane_usually_is(executor: ringipc.ProcessPoolExecutor) -> None:
    array = np.ones(80 << 20, dtype="u1")
    assert executor.submit(double, array).result().sum() == 2 * array.size


def fail() -> None:
    raise KeyError("its own")


def test_an_exception_has_the_traceback_of_the_worker(executor: ringipc.ProcessPoolExecutor) -> None:
    error = executor.submit(fail).exception()
    assert isinstance(error, KeyError)
    assert "in fail" in str(error.__cause__)


class Refuses:
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error("no")


def test_what_cannot_be_pickled_is_the_exception_of_its_task(executor: ringipc.ProcessPoolExecutor) -> None:
    """The other tasks are done."""
    futures = [executor.submit(double, value) for value in (1, Refuses(ZeroDivisionError), Refuses(SystemExit), 2)]
    assert futures[0].result() == 2
    assert isinstance(futures[1].exception(), ZeroDivisionError)
    assert isinstance(futures[2].exception(), SystemExit)
    assert futures[3].result() == 4
    result = executor.submit(Refuses, ZeroDivisionError).exception()
    assert isinstance(result, ZeroDivisionError)
    lock = executor.submit(double, SPAWN.Lock()).exception()
    assert isinstance(lock, RuntimeError)
    assert "through inheritance" in str(lock)


def test_tasks_are_not_sent_long_before_a_worker_is_free(executor: ringipc.ProcessPoolExecutor) -> None:
    """What was sent cannot be cancelled."""
    list(executor.map(double, range(1000)))
    time.sleep(0.05)
    slow = [executor.submit(time.sleep, 0.1) for _ in range(40)]
    cancelled = sum(future.cancel() for future in slow)
    assert cancelled >= 40 - 16 * 2
    slow = [executor.submit(time.sleep, 0.05) for _ in range(40)]
    slow[0].result()
    assert sum(future.cancel() for future in slow) >= 40 - 2 * 2 - 1 - 4


def test_an_idle_executor_uses_no_processor(executor: ringipc.ProcessPoolExecutor) -> None:
    executor.submit(double, 1).result()
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


def run_and_die(path: str) -> None:
    with open(path, "a") as file:
        file.write("started\n")
    os.kill(os.getpid(), signal.SIGKILL)


@ignores_fork_warning
def test_a_killed_worker_breaks_the_pool_and_its_task_does_not_run_again(
    forked: ringipc.ProcessPoolExecutor, tmp_path: Path
) -> None:
    path = str(tmp_path / "log")
    futures = [forked.submit(*task) for task in [(time.sleep, 0.3)] * 2 + [(run_and_die, path)] + [(time.sleep, 1)] * 9]
    with pytest.raises(BrokenProcessPool):
        futures[2].result(20)
    concurrent.futures.wait(futures, 20)
    assert all(future.done() for future in futures)
    with pytest.raises(BrokenProcessPool):
        forked.submit(double, 1)
    time.sleep(0.1)
    assert Path(path).read_text() == "started\n"


@ignores_fork_warning
def test_a_worker_that_is_killed_while_it_is_idle_breaks_the_pool(forked: ringipc.ProcessPoolExecutor) -> None:
    pid = forked.submit(os.getpid).result(20)
    time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not forked._broken and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(BrokenProcessPool):
        forked.submit(double, 1)


@ignores_fork_warning
@pytest.mark.parametrize("how", ["shutdown", "broken", "collected"])
def test_an_executor_leaves_nothing(how: str) -> None:
    def use() -> None:
        executor = ringipc.ProcessPoolExecutor(2, FORK)
        assert list(executor.map(double, range(10))) == list(range(0, 20, 2))
        if how == "broken":
            with pytest.raises(BrokenProcessPool):
                executor.submit(os._exit, 1).result(20)
        thread = executor._executor_manager_thread
        if how == "collected":
            del executor
        else:
            executor.shutdown()
        thread.join(20)
        assert not thread.is_alive()

    use()
    gc.collect()
    before = len(os.listdir("/proc/self/fd")), threading.active_count(), len(multiprocessing.active_children())
    use()
    gc.collect()
    after = len(os.listdir("/proc/self/fd")), threading.active_count(), len(multiprocessing.active_children())
    assert after == before


def do_nothing() -> None:
    pass


@ignores_fork_warning
def test_a_child_forked_beside_an_executor_ends_in_order(forked: ringipc.ProcessPoolExecutor) -> None:
    assert forked.submit(double, 1).result(20) == 2
    time.sleep(0.1)  # its thread sleeps
    child = FORK.Process(target=do_nothing)
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert forked.submit(double, 2).result(20) == 4


def initialize(value: int) -> None:
    global initialized
    initialized = value


initialized = 0


def read_initialized(_: int) -> tuple[int, int]:
    return initialized, os.getpid()


def test_workers_are_initialized_and_replaced_after_their_last_task() -> None:
    context = mp.get_context("spawn")
    with ringipc.ProcessPoolExecutor(
        1, context, initializer=initialize, initargs=(7,), max_tasks_per_child=2
    ) as executor:
        got = [executor.submit(read_initialized, k).result(30) for k in range(4)]
    assert [value for value, _ in got] == [7] * 4
    assert len({pid for _, pid in got}) == 2


@ignores_fork_warning
def test_workers_end_when_the_process_of_the_executor_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import multiprocessing, os, time, ringipc

            if __name__ == "__main__":
                executor = ringipc.ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
                print(*{executor.submit(os.getpid).result() for _ in range(20)}, flush=True)
                time.sleep(60)
            """
        )
    )
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        process.kill()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert pids
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.long
@pytest.mark.skipif(
    not find_spec("test") or not find_spec("test.test_concurrent_futures"),
    reason="this Python comes without the tests of concurrent.futures",
)
@pytest.mark.parametrize("method", ["Spawn", "Fork", "Forkserver"])
def test_the_tests_of_the_standard_library_pass(method: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stdlib_futures", f"ProcessPool{method}"],
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
