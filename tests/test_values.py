"""Values and arrays with the interface of multiprocessing."""

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from multiprocessing.sharedctypes import SynchronizedBase
from typing import Any

import numpy as np
import pytest
from conftest import Start

import ringipc
from ringipc import Array, RLock, SharedArray, Synchronized, SynchronizedArray, SynchronizedString, Value

SPAWN = multiprocessing.get_context("spawn")
METHODS = ["spawn", "fork", pytest.param("forkserver", marks=pytest.mark.long)]
INTEGERS = "bBhHiIlLqQ"


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_double), ("n", ctypes.c_int))


def as_any(value: Any) -> Any:
    """Return an object whose type is not checked: it has more than its stub says."""
    return value


# ---- as in multiprocessing ----


@pytest.mark.parametrize("code", [*INTEGERS, "f", "d"])
def test_a_number_behaves_as_that_of_multiprocessing(code: str) -> None:
    for value in (0, 1, 100):
        ours: Any = Value(code, value)
        standard: Any = multiprocessing.Value(code, value)
        assert (ours.value, type(ours.value)) == (standard.value, type(standard.value))
    for value in (-1, 127, 255, 2**15, 2**31, 2**63, 2**64 + 5):
        ours.value = standard.value = value
        assert ours.value == standard.value
    for wrong in ("text", None, b"b", *([1.5] if code in INTEGERS else [])):
        with pytest.raises(TypeError):
            standard.value = wrong
        with pytest.raises(TypeError):
            ours.value = wrong
        assert ours.value == standard.value
    assert isinstance(ours, Synchronized)
    assert ours.get_obj().value == ours.value
    ours.get_obj().value = 3
    assert ours.value == 3


@pytest.mark.parametrize(
    ("kind", "value"),
    [("c", b"x"), ("u", "x"), (ctypes.c_bool, True), (ctypes.c_longdouble, 1.5), (ctypes.c_int.__ctype_be__, 258)],
)
def test_other_simple_types_behave_as_those_of_multiprocessing(kind: Any, value: Any) -> None:
    ours, standard = Value(kind, value), as_any(multiprocessing.Value(kind, value))
    assert ours.value == standard.value == value
    assert type(ours.value) is type(standard.value)
    array, other = Array(kind, [value, value]), as_any(multiprocessing.Array(kind, [value, value]))
    assert array[:] == other[:]
    assert array[1] == other[1] == value
    array[0] = other[0] = value
    with pytest.raises(TypeError, match="atomic operations are for integers and for floats"):
        ours.add(1)


def test_a_structure_has_its_fields() -> None:
    point, standard = Value(Point, 2.5, 3), as_any(multiprocessing.Value(Point, 2.5, 3))
    point.x += 1
    standard.x += 1
    assert (point.x, point.n) == (standard.x, standard.n) == (3.5, 3)
    assert type(point).__name__ == type(standard).__name__ == "SynchronizedPoint"
    assert type(point) is type(Value(Point))
    assert Value(Point).n == 0
    points = Array(Point, [(1.0, 2), (3.0, 4)])
    assert [(p.x, p.n) for p in points] == [(1.0, 2), (3.0, 4)]
    assert points.array["n"].tolist() == [2, 4]


@pytest.mark.parametrize("code", [*INTEGERS, "f", "d"])
def test_an_array_behaves_as_that_of_multiprocessing(code: str) -> None:
    ours, standard = Array(code, range(10)), as_any(multiprocessing.Array(code, range(10)))
    assert isinstance(ours, SynchronizedArray)
    assert len(ours) == len(standard) == 10
    for array in (ours, standard):
        array[3] = 33
        array[-1] = 99
        array[4:7] = [40, 50, 60]
        array[0:2] = (7, 8)
    for part in (slice(None), slice(2, 5), slice(None, None, -1), slice(8, 2, -3), slice(5, 100), slice(4, 1)):
        assert ours[part] == standard[part]
        assert list(map(type, ours[part])) == list(map(type, standard[part]))
    assert list(as_any(ours)) == list(standard) == ours.get_obj()[:]
    for wrong in (10, -11):
        with pytest.raises(IndexError):
            ours[wrong]
        with pytest.raises(IndexError):
            ours[wrong] = 1
    with pytest.raises(ValueError, match="same size"):
        ours[2:5] = [1, 2]
    with pytest.raises(TypeError):
        ours["a"]
    with pytest.raises(TypeError):
        ours[0] = "text"
    assert list(as_any(ours)) == list(standard)
    assert Array(code, 5)[:] == multiprocessing.Array(code, 5)[:] == [0] * 5
    assert Array(code, 0)[:] == []


@pytest.mark.parametrize("kind", [ctypes.POINTER(ctypes.c_int), ctypes.CFUNCTYPE(None)])
def test_a_pointer_is_no_value(kind: Any) -> None:
    with pytest.raises(TypeError, match="a value is a number, a character, a structure or a union"):
        Value(kind)


def test_the_size_of_an_array_is_any_integer_that_it_can_have() -> None:
    for size in (5, np.int64(5), np.uint8(5)):
        assert Array("i", size)[:] == [0] * 5
    assert Array("i", np.array([5]))[:] == [5]
    for code, size in (("i", 2**62), ("b", 2**46), ("d", 2**70)):
        with pytest.raises(ValueError, match="bytes is longer than the maximum of"):
            Array(code, size)
    with pytest.raises(ValueError, match="-1"):
        Array("i", -1)
    with pytest.raises(TypeError):
        Array("i", 1.5)


def test_an_array_without_a_dtype_says_so() -> None:
    with pytest.raises(TypeError, match=r"NumPy has no dtype for <class 'ctypes.c_wchar'>; use indices"):
        Array("u", 3).array  # noqa: B018


class Longer:
    """Its iterator has more elements than its length says, as a sequence or not."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[int]:
        return iter([111] * 40)


class LongerSequence(Longer):
    def __getitem__(self, index: int) -> int:
        return 111


def test_a_slice_is_set_within_its_bounds_and_as_a_whole() -> None:
    array, behind = Array("i", 4), Value("i", 7)
    growing: list[Any] = []
    bad: Any

    class Grows:
        def __index__(self) -> int:
            growing.extend([111] * 40)
            return 111

    class Shrinks:
        def __index__(self) -> int:
            growing.clear()
            return 111

    for wrong in (Longer(), {1, 2}, {1: 1, 2: 2}, iter([1, 2]), 5, None):
        with pytest.raises(TypeError, match="a slice is set to a sequence"):
            array[0:2] = wrong
    array[0:2] = LongerSequence()
    assert array[:] == [111, 111, 0, 0]
    growing[:] = [Grows(), 1]
    array[2:4] = growing
    assert array[:] == [111, 111, 111, 1]
    growing[:] = [Shrinks(), 1]
    with pytest.raises(IndexError):
        array[2:4] = growing
    for bad in ([9, 9, 9, "x"], [9, 9, 9, 1.5], np.array([1.7, 2.7, 3.7, 4.7]), np.array(list("1234"))):
        with pytest.raises(TypeError):
            array[:] = bad
        with pytest.raises(TypeError):
            multiprocessing.Array("i", 4)[:] = bad
    assert array[:] == [111, 111, 111, 1]
    assert behind.value == 7
    assert not array.get_lock().locked()
    assert not behind.get_lock().locked()
    array[:] = np.array([1, 2, 3, 2**32 + 4])
    assert array[:] == [1, 2, 3, 4]
    numbers = Array("d", 4)
    for good in (np.arange(4), np.arange(4, dtype="f4"), range(4), array.array - 1):
        numbers[:] = [9] * 4
        numbers[:] = good
        assert numbers[:] == [0, 1, 2, 3]


def test_an_array_of_characters_has_value_and_raw() -> None:
    ours, standard = Array("c", b"hello"), as_any(multiprocessing.Array("c", b"hello"))
    assert isinstance(ours, SynchronizedString)
    for array in (ours, standard):
        assert (array.value, array.raw, array[1:3], array[0], len(array)) == (b"hello", b"hello", b"el", b"h", 5)
        array.value = b"abc"
        assert (array.value, array.raw) == (b"abc", b"abc\0o")
        array.raw = b"12345"
        assert array[:] == b"12345"
        with pytest.raises(ValueError, match="too long"):
            array.value = b"too long"


def test_without_a_lock_there_is_an_object_of_ctypes() -> None:
    number, array = Value("i", 5, lock=False), Array("d", 3, lock=False)
    assert type(number) is ctypes.c_int
    assert number.value == 5
    assert not hasattr(number, "get_lock")
    assert array[:] == [0.0] * 3
    assert not hasattr(array, "get_obj")
    with pytest.raises(RuntimeError, match="should only be shared between processes through inheritance"):
        ForkingPickler.dumps(number)


def test_a_lock_can_be_given() -> None:
    for lock in (RLock(), multiprocessing.RLock(), multiprocessing.Lock(), threading.RLock(), None, True, 1):
        number, array = Value("i", 5, lock=lock), Array("i", 3, lock=lock)
        if lock not in (None, 1):
            assert number.get_lock() is array.get_lock() is lock
        number.value += 1
        array[1] = 4
        assert (number.value, array[:]) == (6, [0, 4, 0])
        with number:
            pass
        assert number.acquire()
        number.release()
        assert number.acquire(False)
        number.release()
        assert array.acquire(True, timeout=5)
        array.release()
    threads = threading.Lock()
    assert Value("i", lock=threads).acquire(blocking=False)
    assert not Value("i", lock=threads).acquire(blocking=False)
    with pytest.raises(ringipc.Closed, match="this lock was never made"):
        Value("i", lock=RLock.__new__(RLock))
    for wrong in ("lock", 5):
        with pytest.raises(AttributeError, match="has no method 'acquire'"):
            Value("i", 5, lock=wrong)
    with pytest.raises(TypeError):
        Value("i", "text")
    with pytest.raises(TypeError):
        Value("no type")


def test_a_thread_with_the_lock_reads_and_writes_and_others_wait() -> None:
    number = Value("i", 5)
    with number.get_lock(), number:
        number.value += 1
        assert number.value == 6
        assert number.get_lock().locked()
    assert not number.get_lock().locked()
    with pytest.raises(RuntimeError):
        number.release()


# ---- beyond multiprocessing ----


@pytest.mark.parametrize("code", [*INTEGERS, "f", "d"])
def test_numbers_have_atomic_operations(code: str) -> None:
    number = Value(code, 5)
    number.add(2)
    assert number.fetch_add(1) == 7
    assert number.exchange(10) == 8
    assert not number.compare_exchange(9, 1)
    assert number.compare_exchange(10, 11)
    assert number.value == 11
    if code in INTEGERS:
        number.value = -1
        assert number.compare_exchange(number.value, 3)
        assert number.exchange(np.int8(4)) == 3
        for wrong in (2**64, -(2**63) - 1):
            for call in (
                number.exchange,
                lambda x: number.compare_exchange(x, 1),
                lambda x: number.compare_exchange(4, x),
            ):
                with pytest.raises(OverflowError, match="is not a value of"):
                    call(wrong)
        number.value = 2**64 + 4  # as in multiprocessing
        assert number.value == 4


def test_an_addition_does_not_wait_for_the_lock() -> None:
    number = Value("i")
    with number.get_lock():
        before = number.value
        thread = threading.Thread(target=number.add, args=(1,))
        thread.start()
        thread.join(60)
        assert number.value == 1
        number.value = before + 1
    assert number.value == 1


def test_an_array_is_a_numpy_array_too() -> None:
    array = Array("i", range(5))
    view = array.array
    view *= 2
    assert array[:] == [0, 2, 4, 6, 8]
    array[1:3] = np.array([7, 8])
    array[0] = np.int64(9)
    assert view.tolist() == [9, 7, 8, 6, 8]
    del array
    assert view.sum() == 38
    assert view.dtype == np.intc


def test_memory_is_used_again_unless_another_process_may_have_it(start: Start) -> None:
    number = Value("i", 5)
    address = ctypes.addressof(number.get_obj())
    number.acquire()
    del number
    number = Value("i")
    assert ctypes.addressof(number.get_obj()) == address
    assert number.value == 0
    assert not number.get_lock().locked()
    start(pause, number).kill()
    del number
    assert ctypes.addressof(Value("i").get_obj()) != address
    forked = Value("i")
    address = ctypes.addressof(forked.get_obj())
    start(pause, method="fork").kill()
    del forked
    assert ctypes.addressof(Value("i").get_obj()) != address


def pause(*arguments: Any) -> None:
    signal.pause()


def test_a_large_array_has_memory_of_its_own() -> None:
    before = len(os.listdir("/proc/self/fd"))
    array = Array("d", 1_000_000)
    array.array[:] = 1
    assert sum(array[::100_000]) == 10
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    del array
    assert len(os.listdir("/proc/self/fd")) <= before + 1


# ---- several processes ----


def use_all(number: Any, array: Any, text: Any, point: Any, shared: Any, lock: Any) -> None:
    for _ in range(500):
        with number.get_lock():
            number.value += 1
            number.add(1)  # an add of another process between the read and the write above would be lost
        with lock:
            shared.value += 1
    with array:
        array[:] = [-x for x in array]
    text.value = text.value.upper()
    with point:
        point.x *= 2


@pytest.mark.parametrize("method", METHODS)
def test_values_are_passed_to_processes(start: Start, method: str) -> None:
    number, array, text, point = Value("d", 0.5), Array("i", range(5)), Array("c", b"hello"), Value(Point, 1.5, 3)
    lock = RLock()
    shared = Value("i", 0, lock=lock)
    for _ in range(2):
        processes = [start(use_all, number, array, text, point, shared, lock, method=method) for _ in range(2)]
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
    assert (number.value, array[:], text.value, point.x, shared.value) == (
        4000.5,
        [0, 1, 2, 3, 4],
        b"HELLO",
        24.0,
        2000,
    )


def use_many(values: list[Any], raw: Any) -> None:
    assert len(os.listdir("/proc/self/fd")) < 40
    for value in values:
        value.value += 1
    raw.value += 1


@pytest.mark.parametrize("method", METHODS)
def test_thousands_of_values_need_few_file_descriptors(start: Start, method: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    values = [Value("i", i) for i in range(3000)]
    raw = Value("i", 5, lock=False)
    assert len(os.listdir("/proc/self/fd")) - before <= 6
    process = start(use_many, values, raw, method=method)
    process.join(60)
    assert process.exitcode == 0
    assert [value.value for value in values] == list(range(1, 3001))
    assert raw.value == 6


def return_values(received: Any, sent: Any) -> None:
    one, other = received.get(), received.get()
    assert len({os.fstat(int(fd)).st_ino for fd in os.listdir("/proc/self/fd") if is_heap(fd)}) == 1
    assert len([fd for fd in os.listdir("/proc/self/fd") if is_heap(fd)]) <= 2
    one.value += other.value
    sent.put(one)
    received.get()  # until the parent has received it, this process must live


def is_heap(fd: str) -> bool:
    try:
        return "memfd:ringipc" in os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return False


def test_values_go_through_queues_and_a_heap_is_opened_once(start: Start) -> None:
    there, back = SPAWN.Queue(), SPAWN.Queue()
    one, other = Value("i", 5), Value("i", 7)
    there.put(one)
    there.put(other)
    process = start(return_values, there, back)
    got = back.get(timeout=60)
    there.put(None)
    assert got.value == one.value == 12
    got.value = 3
    assert one.value == 3
    process.join(60)


class Passed:
    """A file descriptor that several threads receive at the same time."""

    def __init__(self, fd: int, barrier: threading.Barrier) -> None:
        self.fd, self.barrier = fd, barrier

    def detach(self) -> int:
        fd = os.dup(self.fd)
        self.barrier.wait(60)
        return fd


def test_threads_that_receive_values_at_the_same_time_open_a_heap_once() -> None:
    for _ in range(20):
        array = Array("b", 5_000_000)  # large: it has a heap of its own
        heap = array.__reduce__()[1][1].__reduce__()[1][0]
        fd = os.dup(heap._descriptor())
        del array, heap  # this process has to open the heap again
        passed = Passed(fd, threading.Barrier(4))
        with ThreadPoolExecutor(4) as pool:
            opened = [pool.submit(ringipc._core._open_heap, passed) for _ in range(4)]
            assert len({id(future.result()) for future in opened}) == 1
        os.close(fd)


def hold(number: Any, held: Any) -> None:
    with number.get_lock():
        number.value = 7
        held.set()
        signal.pause()


def test_a_killed_process_releases_the_lock_of_a_value(start: Start) -> None:
    number, held = Value("i", 5), SPAWN.Event()
    process = start(hold, number, held)
    assert held.wait(60)
    assert not number.acquire(block=False)
    process.kill()
    assert number.value == 7  # waits for the lock
    process.join()


def test_the_classes_are_not_called() -> None:
    for cls in (Synchronized, SynchronizedArray, SynchronizedString, type(Value(Point)), type(Value("i"))):
        with pytest.raises(TypeError, match="use Value"):
            cls()
        with pytest.raises(TypeError, match="use Value"):
            as_any(cls).__new__(cls)
    with pytest.raises(ringipc.Closed, match="never opened"):
        SharedArray.__new__(SharedArray).lock  # noqa: B018


def test_an_array_of_our_own_is_no_array_of_the_standard_library() -> None:
    assert not isinstance(Value("i"), SynchronizedBase)
    assert "wrapper for c_int(5)" in repr(Value("i", 5))
    with SharedArray(3, "i4") as shared, pytest.raises(RuntimeError):
        shared.lock.release()
    with pytest.raises(ringipc.Corrupt):
        ringipc._core._open_block(Value("i", 1).__reduce__()[1][1].__reduce__()[1][0], 2**40, 8)
