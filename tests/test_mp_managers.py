"""The managers of `ringipc.mp`; see also stdlib_mp, where the standard library's tests run over them."""

import multiprocessing
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import managers as standard
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

import ringipc
from ringipc import mp
from ringipc.mp.managers import BaseManager, BaseProxy, RemoteError, SyncManager

SPAWN = mp.get_context("spawn")
FORK = mp.get_context("fork")


@pytest.fixture(scope="module")
def served() -> Iterator[SyncManager]:
    manager = SyncManager(ctx=FORK)
    manager.start()
    yield manager
    manager.shutdown()
    manager.join()


def start(function: Callable[..., object], *args: object, context: Any = SPAWN) -> BaseProcess:
    process: BaseProcess = context.Process(target=function, args=args, daemon=True)
    process.start()
    return process


def change(shared: dict[str, Any], plain: Any, other: Any, space: Any, value: Any, array: Any, messages: Any) -> None:
    shared["child"] = "was here"
    shared["nested"].append(3)
    plain.append(2)
    other.update(a=1)
    space.name = "child"
    value.value += 1
    array[0] = 7
    messages.put("message")


@pytest.mark.parametrize("context", [SPAWN, FORK], ids=["spawn", "fork"])
def test_processes_change_objects_of_each_type(served: SyncManager, context: Any) -> None:
    shared, plain, other, space = served.dict(), served.list([1]), served.dict(), served.Namespace()
    value, array, messages = served.Value("i", 1), served.Array("i", [1, 2]), served.Queue()
    shared["nested"] = served.list([0])
    start(change, shared, plain, other, space, value, array, messages, context=context).join()
    assert (shared["child"], list(shared["nested"]), list(plain)) == ("was here", [0, 3], [1, 2])
    assert (dict(other), space.name, value.value, array[0]) == ({"a": 1}, "child", 2, 7)
    assert messages.get() == "message"
    assert sorted(shared.keys()) == ["child", "nested"]
    assert [key for key in shared] == shared.keys()  # noqa: C416  # an iterator in the server


def hold(lock: Any, times: int, holds: Any, ends: bool) -> None:
    for _ in range(times):
        lock.acquire()
    holds.set()
    if not ends:
        time.sleep(60)


@pytest.mark.parametrize(("kind", "times"), [("Lock", 1), ("RLock", 3), ("Condition", 2)])
def test_a_killed_client_releases_its_locks(served: SyncManager, kind: str, times: int) -> None:
    lock, holds = getattr(served, kind)(), mp.Event()
    process = start(hold, lock, times, holds, False, context=FORK)
    assert holds.wait(20)
    assert not lock.acquire(True, 0.01)
    os.kill(process.pid or 0, signal.SIGKILL)
    assert lock.acquire(True, 20)
    lock.release()
    process.join()


def test_a_client_that_is_killed_while_it_waits_for_a_lock_does_not_keep_it(served: SyncManager) -> None:
    lock, begins = served.Lock(), mp.Event()
    with lock:
        process = start(begin_and_hold, lock, begins, context=FORK)
        assert begins.wait(20)
        time.sleep(0.1)  # so that it waits
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    assert lock.acquire(True, 20)
    lock.release()


def begin_and_hold(lock: Any, begins: Any) -> None:
    assert not lock.acquire(False)
    begins.set()
    lock.acquire()
    time.sleep(60)


@pytest.mark.parametrize("context", [SPAWN, FORK], ids=["spawn", "fork"])
def test_a_client_that_ends_keeps_a_lock_as_in_the_standard_library(served: SyncManager, context: Any) -> None:
    lock, holds = served.Lock(), mp.Event()
    start(hold, lock, 1, holds, True, context=context).join()
    time.sleep(0.6)  # until the server would know of a death
    assert not lock.acquire(False)
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


def test_a_condition_wakes_its_waiters(served: SyncManager) -> None:
    condition = served.Condition()
    with condition:
        assert not condition.wait(0.01)
    woken: list[bool] = []

    def wait() -> None:
        with condition:
            woken.append(condition.wait(20))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(woken) < 3:
        with condition:
            condition.notify_all()
    for thread in threads:
        thread.join()
    assert woken == [True] * 3


class Counter:
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def add(self, n: int) -> int:
        self.count += n
        return self.count

    def fail(self) -> None:
        raise ZeroDivisionError("on purpose")

    def lock(self) -> Any:
        return threading.Lock()  # it cannot be pickled


class CounterProxy(BaseProxy):
    _exposed_ = ("add",)

    def add_twice(self, n: int) -> Any:
        self._callmethod("add", (n,))
        return self._callmethod("add", (n,))


class Counters(BaseManager):
    pass


Counters.register("Counter", Counter)
Counters.register("Twice", Counter, CounterProxy)


def use_counters(counter: Any, twice: Any) -> None:
    counter.add(1)
    twice.add_twice(1)


def test_registered_classes_are_served() -> None:
    with Counters(ctx=FORK) as manager:
        counter, twice = manager.Counter(5), manager.Twice()
        start(use_counters, counter, twice).join()
        assert (counter.add(0), twice.add_twice(0)) == (6, 2)
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            counter.fail()
        with pytest.raises(RemoteError, match="Unserializable"):
            counter.lock()
        with pytest.raises(Exception, match="pickle"):
            counter.add(threading.Lock())
        assert counter.add(1) == 7  # the connection is still good
        with pytest.raises(RemoteError, match="count"):
            counter._callmethod("count")


def test_a_large_object_goes_through_a_proxy(served: SyncManager) -> None:
    data = served.list([bytes(40 << 20)])
    assert len(data[0]) == 40 << 20


def test_an_object_has_one_name_for_all(served: SyncManager) -> None:
    first = served.named("settings", "dict", speed=1)
    first["speed"] += 1
    del first
    assert served.named("settings", "dict")["speed"] == 2
    with pytest.raises(RemoteError, match="is a dict, not a list"):
        served.named("settings", "list")


PROGRAM = """
import ringipc, sys
manager = ringipc.Manager("state")
manager.named("log", "list").append(int(sys.argv[1]))
print(manager.named("count", "Value", "i", 0).value)
sys.stdin.read()
"""


def test_unrelated_processes_find_a_manager_by_its_name() -> None:
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for i in range(3)
    ]
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "0\n"
    manager = ringipc.Manager("state")
    assert sorted(manager.named("log", "list")) == [0, 1, 2]
    with pytest.raises(multiprocessing.AuthenticationError):
        ringipc.Manager("state", authkey=b"another")
    for program in programs:
        program.communicate()
        assert program.returncode == 0
    with ringipc.Manager("state") as manager:  # the first has ended with the process that started it
        assert list(manager.named("log", "list")) == []


def test_a_manager_of_the_standard_library_and_ours_understand_each_other() -> None:
    with SyncManager(authkey=b"key", ctx=FORK) as ours:
        theirs = standard.SyncManager(ours.address, b"key")
        theirs.connect()
        shared = theirs.dict(a=1)
        assert shared["a"] == 1
        del shared
    with standard.SyncManager(authkey=b"key", ctx=multiprocessing.get_context("fork")) as theirs:
        ours = SyncManager(theirs.address, b"key")
        ours.connect()
        shared = ours.dict(a=2)
        assert shared["a"] == 2
        del shared


def test_a_manager_listens_at_an_address_of_tcp() -> None:
    with SyncManager(("127.0.0.1", 0), b"key", ctx=FORK) as manager:
        client = SyncManager(manager.address, b"key")
        client.connect()
        shared = client.dict(a=1)
        assert shared["a"] == 1
        with pytest.raises(multiprocessing.AuthenticationError):
            SyncManager(manager.address, b"wrong").connect()
        del shared


@pytest.mark.parametrize("garbage", [b"", b"\0", b"GET / HTTP/1.0\r\n\r\n" * 100, b"\0\0\0\x04abcd" * 9, b"\xff" * 64])
def test_garbage_at_the_listener_stops_nobody(served: SyncManager, garbage: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(served.address)
        sock.sendall(garbage)
        assert served.list([1])[0] == 1


def test_a_killed_manager_raises_what_it_raises_in_the_standard_library() -> None:
    manager = SyncManager(ctx=FORK)
    manager.start()
    shared = manager.dict(a=1)
    assert shared["a"] == 1
    os.kill(manager._process.pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises((EOFError, ConnectionError)):
        shared["a"]
    assert time.monotonic() - began < 10
    with pytest.raises((ConnectionError, FileNotFoundError)):
        manager.dict()
    manager.shutdown()


def test_an_interrupted_call_does_not_get_its_answer_into_the_next_one(served: SyncManager) -> None:
    class Interrupt(Exception):
        pass

    def interrupt(*args: object) -> None:
        raise Interrupt

    shared, messages = served.dict(a=1), served.Queue()
    assert shared["a"] == 1
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Interrupt):
            messages.get()
    finally:
        signal.signal(signal.SIGALRM, before)
    messages.put("for the call that was interrupted")
    assert shared["a"] == 1


def use_in_child(shared: Any) -> None:
    shared["child"] = shared["parent"]


def test_a_forked_child_uses_a_proxy_that_its_parent_uses(served: SyncManager) -> None:
    shared = served.dict(parent=1)
    for _ in range(3):
        start(use_in_child, shared, context=FORK).join()
        assert shared.pop("child") == 1
    assert shared["parent"] == 1


def test_each_thread_has_a_connection(served: SyncManager) -> None:
    shared = served.dict()
    threads = [threading.Thread(target=lambda i=i: shared.__setitem__(i, i)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shared) == 20


def test_an_exception_of_the_object_is_raised(served: SyncManager) -> None:
    with pytest.raises(KeyError, match="nothing"):
        served.dict()["nothing"]
    with pytest.raises(queue.Empty):
        served.Queue().get_nowait()


def test_a_way_to_wait_that_is_none() -> None:
    with pytest.raises(ValueError, match="wait"):
        SyncManager(wait="later")  # type: ignore[arg-type]
