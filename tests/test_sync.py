"""Semaphores, locks, events and barriers, used from Python."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from conftest import Start

from ringipc import (
    Barrier,
    BrokenBarrier,
    Closed,
    Consumer,
    Corrupt,
    Event,
    Incompatible,
    Lock,
    Producer,
    RingError,
    Semaphore,
    TableFull,
    _core,
)

ANY = Semaphore | Lock | Event | Barrier


@contextmanager
def closing(*handles: ANY) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.close()


# ---- one thread ----


def test_units_are_acquired_and_released_in_any_number() -> None:
    with closing(s := Semaphore("s", 5), other := Semaphore("s")):
        assert s.acquire(3)
        assert other.value == 2
        assert not other.acquire(3, timeout=0)
        before = time.monotonic()
        assert not other.acquire(3, timeout=0.02)
        assert 0.02 <= time.monotonic() - before < 1
        other.V(4)
        assert other.P(6, 0)
        with pytest.raises(OverflowError):
            s.release(2**31 - 1)
            s.release()
        assert (s.held, other.held) == (0, 0)


def test_a_with_block_acquires_one_unit_and_always_releases_it() -> None:
    with closing(s := Semaphore(value=1)):
        with pytest.raises(KeyError), s:
            assert s.value == 0
            raise KeyError
        assert s.value == 1


@pytest.mark.parametrize("n", [0, -1, 2**31, 2**70])
def test_invalid_counts_are_refused(n: int) -> None:
    with closing(s := Semaphore(value=1)):
        for call in (s.acquire, s.release):
            with pytest.raises((ValueError, OverflowError)):
                call(n)
        with pytest.raises(TypeError):
            s.acquire(1.5)  # type: ignore[arg-type]
        assert s.value == 1


def test_conflicting_or_invalid_settings_are_refused() -> None:
    with closing(Semaphore("s", 5)):
        with pytest.raises(Incompatible, match="initial value other than 4"):
            Semaphore("s", 4)
        with pytest.raises(Incompatible, match="for something else"):
            Lock("s")
        with pytest.raises(Incompatible, match="semaphore"):
            Producer("s")
        with pytest.raises(Incompatible, match="semaphore"):
            Consumer("s", timeout=0)
    with Producer("c", capacity=4096), pytest.raises(Incompatible, match="for something else"):
        Event("c")
    for bad in (-1, 2**31):
        with pytest.raises(ValueError):
            Semaphore(value=bad)
    for bad in (0, 256):
        with pytest.raises(ValueError):
            Barrier(parties=bad)
    for name in ("", "a/b", ".a", "x" * 201):
        with pytest.raises(ValueError, match="lock's name"):
            Lock(name)
    with pytest.raises(TypeError):
        Semaphore(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wait"):
        Lock(wait="sleep")  # type: ignore[arg-type]


def test_damaged_files_are_refused(base: str) -> None:
    with closing(Lock("l")):
        (control,) = Path(base).glob("ringipc-*/l/control")
        whole = control.read_bytes()
        control.write_bytes(b"x" * 8 + whole[8:])
        with pytest.raises(Corrupt, match="lock 'l'"):
            Lock("l")
        control.write_bytes(whole[:8] + b"\xff" * 4 + whole[12:])
        with pytest.raises(Incompatible, match=r"lock 'l'.*version"):
            Lock("l")
        control.write_bytes(whole)
    with closing(barrier := Barrier("b", 2)):
        (control,) = Path(base).glob("ringipc-*/b/control")
        with control.open("r+b") as file:
            file.seek(44)  # the number of parties
            file.write(b"\xff" * 4)
        with pytest.raises(Corrupt, match="barrier 'b'"):
            barrier.wait(1)


def test_a_name_ends_with_its_last_handle() -> None:
    with closing(first := Semaphore("s", 3)):
        first.acquire(3)
        with closing(Semaphore("s")):
            pass
        with closing(again := Semaphore("s")):
            assert again.value == 0
    with closing(anew := Semaphore("s")):
        assert anew.value == 1


def test_calls_on_closed_handles_raise_closed() -> None:
    handles: list[ANY] = [Semaphore(), Lock("l"), Event(), Barrier("b", 2)]
    for handle in handles:
        handle.close()
        handle.close()
        assert handle.closed
        assert repr(handle).endswith("closed>")
    for call in (handles[0].acquire, handles[1].release, handles[2].set, handles[3].wait):  # type: ignore[union-attr]
        with pytest.raises(Closed, match="is closed"):
            call()
    with pytest.raises(Closed), handles[1]:  # type: ignore[union-attr]
        pass


def test_a_256th_handle_is_refused() -> None:
    handles = [Event("e") for _ in range(255)]
    with closing(*handles), pytest.raises(TableFull, match=r"has 255 handles, the maximum; close some"):
        Event("e")


def test_a_257th_waiting_thread_is_refused() -> None:
    semaphore = Semaphore("s", 0)
    with closing(semaphore):
        waiting = [threading.Thread(target=semaphore.acquire) for _ in range(256)]
        for thread in waiting:
            thread.start()
        with pytest.raises(TableFull, match="256 threads wait for it, the maximum"):
            while True:  # waiting threads are served first
                assert not semaphore.acquire(timeout=0.05)
        semaphore.release(256)
        for thread in waiting:
            thread.join()


# ---- threads ----


def test_threads_share_a_handle() -> None:
    inside, most = [0], [0]
    with closing(s := Semaphore(value=2)):

        def work() -> None:
            for _ in range(300):
                with s:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(0)
                    inside[0] -= 1

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert most[0] in (1, 2)
        assert s.value == 2


@pytest.mark.parametrize("kind", [Semaphore, Lock, Event, Barrier])
def test_closing_ends_the_waits_of_other_threads(kind: type[ANY]) -> None:
    handle = kind(None, 2) if kind is Barrier else kind()
    if isinstance(handle, (Semaphore, Lock)):
        handle.acquire()
    ended = []

    def wait() -> None:
        try:
            handle.acquire() if isinstance(handle, (Semaphore, Lock)) else handle.wait()
        except RingError as error:
            ended.append(type(error))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    handle.close()
    thread.join(10)
    assert ended == [Closed]


def test_a_lock_belongs_to_its_handle() -> None:
    with closing(lock := Lock("l"), other := Lock("l")):
        with lock:
            assert lock.locked()
            assert other.locked()
            assert not lock.acquire(timeout=0)
            with pytest.raises(RuntimeError, match="this handle has not acquired it"):
                other.release()
        with pytest.raises(RuntimeError):
            lock.release()
        assert other.acquire()
        assert not other.owner_died


# ---- other processes ----


def work_with(s: Semaphore, ready: Event, go: Event) -> None:
    assert s.acquire(2)
    ready.set()
    assert go.wait(20)
    s.release(3)
    for handle in (s, ready, go):
        handle.close()


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
@pytest.mark.parametrize("name", ["s", None])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_handles_are_passed_to_processes_as_arguments(start: Start, method: str, name: str | None) -> None:
    with closing(s := Semaphore(name, 2), ready := Event(name and "ready"), go := Event(name and "go")):
        process = start(work_with, s, ready, go, method=method)
        assert ready.wait(20)
        assert s.value == 0
        go.set()
        assert s.acquire(3, timeout=20)
        process.join(20)


def find_as_they_were(handles: Any, found: Any) -> None:
    semaphore, lock, event, barrier = handles
    found.send((semaphore.value, lock.locked(), event.is_set(), barrier.n_waiting, barrier.broken))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_passed_anonymous_object_keeps_its_state_when_its_creator_closes_it(start: Start, method: str) -> None:
    handles = semaphore, _, event, barrier = Semaphore(value=3), Lock(), Event(), Barrier(parties=2)
    semaphore.acquire(2)  # without undo
    event.set()
    barrier.abort()
    near, far = get_context(method).Pipe()
    start(find_as_they_were, handles, far, method=method)
    for handle in handles:
        handle.close()  # most likely before the other process has opened it
    assert near.poll(20)
    assert near.recv() == (1, False, True, 0, True)


def test_a_passed_anonymous_object_stays_until_it_is_opened() -> None:
    event = Event()
    fd = os.dup(event._descriptor())
    event.set()
    event.close()

    class Passed:
        def detach(self) -> int:
            return fd

    with closing(again := _core._open_passed(Event, Passed(), "event", 0, False, "adaptive")):
        assert again.is_set()


def test_opening_a_passed_named_object_that_has_ended_raises_closed() -> None:
    event = Event("s")
    event.set()
    passed = pickle.dumps(event)
    event.close()
    with pytest.raises(Closed, match="ended before"):
        pickle.loads(passed)


def test_a_named_object_can_be_pickled() -> None:
    with closing(named := Semaphore("s", 3)), closing(again := pickle.loads(pickle.dumps(named))):
        named.acquire(2)
        assert again.value == 1


def hold(how: str) -> None:
    handle: Lock | Barrier | Semaphore
    holds = Event("holds")
    if how == "lock":
        handle = Lock("held")
        handle.acquire()
    elif how == "barrier":
        handle = Barrier("held", 2)
        handle.wait()
    else:
        handle = Semaphore("held", 3, undo=how == "undo")
        handle.acquire(2)
    holds.set()
    time.sleep(60)


@pytest.mark.parametrize("how", ["lock", "undo", "keep"])
def test_units_of_a_killed_process_come_back(start: Start, how: str) -> None:
    with closing(holds := Event("holds"), held := Lock("held") if how == "lock" else Semaphore("held", 3)):
        process = start(hold, how)
        assert holds.wait(20)
        take = held.acquire if isinstance(held, Lock) else partial(held.acquire, 3)
        assert not take(timeout=0)
        process.kill()
        before = time.monotonic()
        if isinstance(held, Semaphore) and how == "keep":
            assert not take(timeout=1.2)
            assert held.value == 1
            return
        assert take(timeout=20)
        assert time.monotonic() - before < 1.5
        if isinstance(held, Lock):
            assert held.owner_died
            held.release()
            with held:
                assert not held.owner_died


def test_units_of_a_killed_process_are_found_without_waiting(start: Start) -> None:
    with closing(holds := Event("holds"), held := Semaphore("held", 3)):
        process = start(hold, "undo")
        assert holds.wait(20)
        process.kill()
        process.join()
        end = time.monotonic() + 20
        while not held.acquire(3, timeout=0):
            assert time.monotonic() < end


def test_the_death_of_a_second_owner_is_reported_too(start: Start) -> None:
    with closing(holds := Event("holds"), lock := Lock("held")):
        for _ in range(2):
            process = start(hold, "lock")
            assert holds.wait(20)
            holds.clear()
            process.kill()
            process.join()
        assert lock.acquire(timeout=20)
        assert lock.owner_died


def test_a_lock_whose_owner_died_reports_it_even_if_no_handle_was_left(start: Start) -> None:
    with closing(holds := Event("holds")):
        process = start(hold, "lock")
        assert holds.wait(20)
        process.kill()
        process.join()
    with closing(lock := Lock("held")), lock:
        assert lock.owner_died


def test_a_killed_process_breaks_the_barrier(start: Start) -> None:
    with closing(barrier := Barrier("held", 2), Event("holds")):
        process = start(hold, "barrier")
        end = time.monotonic() + 20
        while barrier.n_waiting == 0:
            assert time.monotonic() < end
            time.sleep(0.01)
        process.kill()
        process.join()
        before = time.monotonic()
        barrier.reset()
        with pytest.raises(BrokenBarrier, match="killed"):
            barrier.wait(20)
        assert time.monotonic() - before < 1.5


def meet(rounds: int) -> None:
    with closing(barrier := Barrier("b", 3), semaphore := Semaphore("firsts", 0)):
        for _ in range(rounds):
            if barrier.wait(20) == 0:
                semaphore.release()
        barrier.wait(20)


def test_one_party_is_first_in_each_round(start: Start) -> None:
    with closing(firsts := Semaphore("firsts", 0)):
        for process in [start(meet, 200) for _ in range(3)]:
            process.join(30)
        assert firsts.value == 200


def test_a_barrier_is_broken_by_a_timeout_until_it_is_reset() -> None:
    with closing(barrier := Barrier(parties=2)):
        with pytest.raises(BrokenBarrier, match=r"0\.01 s"):
            barrier.wait(0.01)
        assert barrier.broken
        with pytest.raises(threading.BrokenBarrierError):
            barrier.wait()
        barrier.reset()
        assert barrier.n_waiting == 0
        assert barrier.parties == 2


def test_a_barrier_is_broken_by_abort() -> None:
    with closing(barrier := Barrier(parties=1)):
        assert [barrier.wait(), barrier.wait()] == [0, 0]
        barrier.abort()
        with pytest.raises(BrokenBarrier):
            barrier.wait()


# ---- signals ----

INTERRUPTED = """
import ringipc, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell may ignore SIGINT
handle = {make}
print("waits", flush=True)
try:
    handle.{wait}
except KeyboardInterrupt:
    print("interrupted", {state})
"""


@pytest.mark.parametrize(
    ("make", "wait", "state"),
    [
        ("ringipc.Semaphore('x', 1)", "acquire(2)", "handle.acquire(1, 0)"),
        ("ringipc.Event('x')", "wait()", "not handle.is_set()"),
        ("ringipc.Barrier('x', 2)", "wait()", "handle.broken"),
    ],
)
def test_ctrl_c_ends_a_wait_at_once(make: str, wait: str, state: str) -> None:
    code = INTERRUPTED.format(make=make, wait=wait, state=state)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        failing = threading.Timer(20, process.kill)  # else the read below could block for ever
        failing.start()
        assert process.stdout.readline() == "waits\n"
        time.sleep(0.3)
        before = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "interrupted True\n"
        assert time.monotonic() - before < 5  # without a wake-up it would never end
        failing.cancel()
    assert process.returncode == 0


def every_half_millisecond(call: Callable[[int], object]) -> threading.Thread:
    def work() -> None:
        for k in range(500):
            call(k)
            time.sleep(0.0005)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def bombard(pid: int, ended: Event) -> None:
    while not ended.is_set():
        os.kill(pid, signal.SIGUSR1)
        time.sleep(0.0001)
    ended.close()


def test_a_storm_of_signals_changes_nothing(start: Start) -> None:
    """A signal about every 0.1 ms: timeouts are kept, and no unit is lost."""
    caught = [0]
    before = signal.signal(signal.SIGUSR1, lambda *_: caught.__setitem__(0, caught[0] + 1))
    ended = Event("ended")
    bomber = start(bombard, os.getpid(), ended)
    try:
        with (
            closing(ended, s := Semaphore("s", 0), event := Event(), barrier := Barrier(parties=2)),
            Producer("c", capacity=4096) as producer,
            Consumer("c") as consumer,
        ):
            end = time.monotonic() + 20
            while caught[0] < 100:
                assert time.monotonic() < end
                time.sleep(0.001)
            late = []
            waits: list[Callable[[], bool]] = [lambda: s.acquire(1, 0.2), lambda: event.wait(0.2)]
            for wait in waits:
                began = time.monotonic()
                assert not wait()
                late.append(time.monotonic() - began - 0.2)
            began = time.monotonic()
            with pytest.raises(BrokenBarrier):
                barrier.wait(0.2)
            late.append(time.monotonic() - began - 0.2)
            assert min(late) >= 0
            assert sorted(late)[1] < 0.05
            other = every_half_millisecond(lambda k: s.release())
            for _ in range(500):
                assert s.acquire(timeout=20)
            other.join()
            other = every_half_millisecond(lambda k: producer.put(b"%d" % k))
            for k in range(500):
                assert consumer.get(20) == b"%d" % k
            other.join()
            ended.set()
            bomber.join(20)
    finally:
        bomber.kill()
        bomber.join(20)
        signal.signal(signal.SIGUSR1, before)
