"""The locks, semaphores, events, conditions and barriers of `ringipc.mp`, where the standard library's tests are blind.

Those run too: see test_stdlib_mp.py.
"""

import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

from ringipc import mp

SPAWN = mp.get_context("spawn")
FORK = mp.get_context("fork")
MAKERS: list[Callable[[], Any]] = [
    mp.Lock, mp.RLock, mp.Semaphore, mp.BoundedSemaphore, mp.Event, mp.Condition, functools.partial(mp.Barrier, 2)
]  # fmt: skip


def start(function: Callable[..., object], *args: object, context: Any = SPAWN) -> BaseProcess:
    process: BaseProcess = context.Process(target=function, args=args, daemon=True)
    process.start()
    return process


def kill(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def hold_until_killed(lock: Any, holds: Any) -> None:
    lock.acquire()
    holds.set()
    time.sleep(60)


@pytest.mark.parametrize("make", [mp.Lock, mp.RLock])
@pytest.mark.parametrize("context", [SPAWN, FORK], ids=["spawn", "fork"])
def test_a_killed_owner_releases_a_lock(make: Callable[[], Any], context: Any) -> None:
    lock, holds = make(), mp.Event()
    owner = start(hold_until_killed, lock, holds, context=context)
    assert holds.wait(20)
    assert "SomeOtherProcess" in repr(lock)
    assert not lock.acquire(timeout=0.01)
    kill(owner)
    assert lock.acquire(timeout=20)
    assert lock.owner_died
    lock.release()
    with lock:
        assert not lock.owner_died


def release_and_tell(lock: Any, done: Any) -> None:
    lock.release()
    done.set()


def test_another_process_releases_a_lock() -> None:
    lock, done = mp.Lock(), mp.Event()
    lock.acquire()
    process = start(release_and_tell, lock, done)
    assert done.wait(20)
    process.join()
    assert lock.acquire(block=False)
    lock.release()
    with pytest.raises(ValueError, match="nobody has acquired it"):
        lock.release()


def test_an_rlock_is_released_by_its_owner_only() -> None:
    lock = mp.RLock()
    with lock:
        errors: list[BaseException] = []

        def release() -> None:
            try:
                lock.release()
            except (RuntimeError, AssertionError) as error:
                errors.append(error)

        thread = threading.Thread(target=release)
        thread.start()
        thread.join()
        assert isinstance(errors[0], RuntimeError)
        assert isinstance(errors[0], AssertionError)


def use_all(lock: Any, rlock: Any, semaphore: Any, bounded: Any, event: Any, condition: Any, barrier: Any) -> None:
    with lock, rlock, rlock:
        semaphore.release()
        bounded.release()
    with condition:
        event.set()
        condition.notify()
    barrier.wait(20)


def test_the_state_is_kept_when_the_parent_drops_its_handles_before_the_child_has_opened_its_own() -> None:
    event, semaphore = SPAWN.Event(), SPAWN.Semaphore(0)
    event.set()
    for _ in range(3):
        semaphore.release()
    result = mp.Value("i", -1)
    process = start(tell_state, event, semaphore, result)
    del event, semaphore
    for _ in range(1000):  # would take the memory again, if it were free
        SPAWN.Semaphore(0)
    process.join()
    assert result.value == 3


def tell_state(event: Any, semaphore: Any, result: Any) -> None:
    time.sleep(0.1)
    result.value = semaphore.get_value() if event.is_set() else -2


@pytest.mark.parametrize("context", ["spawn", "fork", "forkserver"])
def test_all_are_passed_as_arguments(context: str) -> None:
    made = [make() for make in MAKERS]
    lock, _, semaphore, bounded, event, condition, barrier = made
    bounded.acquire()
    with condition:
        process = start(use_all, *made, context=mp.get_context(context))
        assert condition.wait(20)
    assert event.is_set()
    barrier.wait(20)
    process.join()
    assert process.exitcode == 0
    assert (semaphore.get_value(), bounded.get_value()) == (2, 1)
    assert lock.acquire(block=False)


def count(increment: Callable[[], None]) -> None:
    for _ in range(200):
        increment()


def increment(shared: dict[str, Any]) -> None:
    with shared["lock"]:
        shared["value"].value += 1


def test_they_are_passed_in_containers_in_partials_and_through_queues() -> None:
    shared = {"lock": mp.Lock(), "value": mp.Value("i", 0)}
    queue = SPAWN.SimpleQueue()
    processes = [start(count, functools.partial(increment, shared)) for _ in range(2)]
    process = start(run_from, queue)
    queue.put((increment, shared))
    for each in [*processes, process]:
        each.join()
    assert shared["value"].value == 401


def run_from(queue: Any) -> None:
    function, argument = queue.get()
    function(argument)


def test_they_are_passed_to_a_process_of_the_standard_library() -> None:
    lock, event = mp.Lock(), mp.Event()
    process = multiprocessing.get_context("spawn").Process(target=hold_until_killed, args=(lock, event), daemon=True)
    process.start()
    assert event.wait(20)
    kill(process)
    assert lock.acquire(timeout=20)


def wait_for(condition: Any, event: Any, waits: Any) -> None:
    if condition is not None:
        with condition:
            waits.release()
            condition.wait()
    else:
        waits.release()
        event.wait()


@pytest.mark.parametrize("what", ["condition", "event"])
def test_a_killed_waiter_stops_nobody(what: str) -> None:
    condition, event, waits = mp.Condition(), mp.Event(), mp.Semaphore(0)
    arguments = (condition, None, waits) if what == "condition" else (None, event, waits)
    waiters = [start(wait_for, *arguments, context=FORK) for _ in range(3)]
    for _ in waiters:
        assert waits.acquire(timeout=20)
    with condition:  # all of them sleep now
        kill(waiters[1])
    began = time.monotonic()
    with condition:
        condition.notify_all()
    event.set()
    assert time.monotonic() - began < 5
    for waiter in waiters:
        waiter.join(20)
        assert waiter.exitcode in (0, -signal.SIGKILL)


def test_a_condition_may_have_any_lock_of_the_module() -> None:
    for lock in (mp.Lock(), mp.RLock(), multiprocessing.RLock()):
        condition = mp.Condition(lock)
        with pytest.raises(AssertionError, match="must acquire"):
            condition.wait()
        with pytest.raises(AssertionError, match="not owned"):
            condition.notify()
        with condition:
            assert not condition.wait(0.01)
            assert "0)>" in repr(condition)


def test_an_interrupted_waiter_passes_its_notification_on() -> None:
    class Interrupt(Exception):
        pass

    def interrupt(*args: object) -> None:
        raise Interrupt

    condition, waits = mp.Condition(), mp.Semaphore(0)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with condition:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interrupt):
                condition.wait()
            assert condition._lock._is_mine()
    finally:
        signal.signal(signal.SIGALRM, before)
    waiter = start(wait_for, condition, None, waits, context=FORK)
    assert waits.acquire(timeout=20)
    with condition:
        condition.notify()  # not for the one that was interrupted
    waiter.join(20)
    assert waiter.exitcode == 0


def test_ten_thousand_locks_take_no_file_descriptors() -> None:
    mp.Lock()
    before = len(os.listdir("/proc/self/fd"))
    locks = [mp.Lock() for _ in range(10_000)]
    for lock in locks:
        lock.acquire()
    assert len(os.listdir("/proc/self/fd")) - before < 10
    assert not mp.Lock().locked()


def test_values_that_cannot_be() -> None:
    for value in (-1, 2**31):
        with pytest.raises(ValueError, match="must be from 0"):
            mp.Semaphore(value)
    with pytest.raises(TypeError):
        mp.Semaphore("1")  # type: ignore[arg-type]


def test_the_executor_of_the_standard_library_takes_the_context() -> None:
    with ProcessPoolExecutor(1, mp_context=SPAWN) as executor:
        assert executor.submit(abs, -3).result() == 3


def test_objects_of_a_fork_context_are_passed_to_a_spawned_process() -> None:
    lock, event = FORK.Lock(), FORK.Event()
    lock.acquire()
    process = start(release_and_tell, lock, event, context=SPAWN)
    assert event.wait(20)
    assert not lock.locked()
    process.join()
