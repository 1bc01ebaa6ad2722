"""Arrays in shared memory, used from Python."""

import ctypes
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Start, directory_of

import ringipc
from ringipc import Closed, Corrupt, Incompatible, RLock, SharedArray, SystemRefused, UnsafeMessage
from ringipc._cleanup import names
from ringipc.cli import main

SPAWN = multiprocessing.get_context("spawn")
DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def run(start: Start, target: Callable[..., None], *arguments: Any, method: str = "spawn") -> None:
    """Run a function in a process, to its end."""
    process = start(target, *arguments, method=method)
    process.join(60)
    assert process.exitcode == 0


# ---- one process ----


SHAPES: list[Any] = [(), 3, (2, 3), (0, 4)]


@pytest.mark.parametrize("dtype", [*DTYPES, "?", "c16", "S3", "U2", "M8[ns]", ">i4", [("a", "i4"), ("b", "f8", (2,))]])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_array_has_its_shape_and_dtype_and_is_zero(shape: Any, dtype: Any) -> None:
    with SharedArray(shape, dtype) as shared:
        wanted = np.zeros(shape, dtype)
        for array in (shared.array, np.asarray(shared), shared.snapshot()):
            assert (array.shape, array.dtype, array.tobytes()) == (wanted.shape, wanted.dtype, wanted.tobytes())
            assert array.flags.writeable
        assert (shared.shape, shared.dtype, shared.nbytes) == (wanted.shape, wanted.dtype, wanted.nbytes)


def test_the_dimensions_of_a_subarray_follow_those_of_the_shape() -> None:
    for shape in (3, (3, 4), ()):
        with SharedArray(shape, ("i4", (2, 5))) as shared:
            assert shared.shape == np.zeros(shape, ("i4", (2, 5))).shape == shared.array.shape
            assert shared.dtype == np.int32
    with pytest.raises(ValueError, match="up to 64 integers"):
        SharedArray((1,) * 64, ("i4", (1,)))


def test_all_handles_see_what_one_writes() -> None:
    with SharedArray((2, 3), "f8", name="a") as one, SharedArray(name="a") as other:
        one.array[:] = [[1, 2, 3], [4, 5, 6]]
        assert other.array.tolist() == [[1, 2, 3], [4, 5, 6]]
        other[0, 1] = 9
        assert one[0].tolist() == [1, 9, 3]
        assert len(one) == 2
        assert np.sum(one) == 28
        assert np.asarray(one, dtype="i4").tolist() == [[1, 9, 3], [4, 5, 6]]
        assert repr(one) == "<SharedArray 'a' of shape (2, 3) and dtype float64>"


def test_the_memory_stays_as_long_as_an_array_over_it() -> None:
    shared = SharedArray(1000, "i8")
    array = shared.array[10:]
    shared.close()
    shared.close()
    assert shared.closed
    del shared
    array[:] = 5
    assert array.sum() == 5 * 990


def test_a_closed_array_refuses_calls() -> None:
    shared = SharedArray(3, "i4")
    lock, update = shared.lock, shared.update()
    shared.close()
    for call in (shared.snapshot, shared.flush, lock.acquire, lock.release, update.__enter__):
        with pytest.raises(Closed, match="this shared array is closed"):
            call()
    for name, *numbers in (("add", 1), ("fetch_add", 1), ("exchange", 1), ("compare_exchange", 0, 1)):
        with pytest.raises(Closed, match="this shared array is closed"):
            getattr(shared, name)(0, *numbers)


class NeverOpened(SharedArray):
    def __init__(self) -> None:
        pass


def test_an_array_that_was_never_opened_refuses_calls(tmp_path: Path) -> None:
    malformed = SharedArray.__new__(SharedArray)
    (tmp_path / "table").write_bytes(bytes(100))
    with pytest.raises(Corrupt):
        malformed.__init__(path=tmp_path / "table")  # type: ignore[misc]
    for shared in (SharedArray.__new__(SharedArray), NeverOpened(), malformed):
        calls: list[Callable[[], object]] = [
            shared.snapshot,
            shared.flush,
            shared.update,
            shared.__array__,
            shared.__len__,
            shared.__reduce__,
            partial(shared.add, 0, 1),
            partial(shared.exchange, 0, 1),
            partial(shared.__getitem__, 0),
        ]
        calls += [partial(getattr, shared, name) for name in ("array", "lock", "shape", "dtype")]
        for call in calls:
            with pytest.raises(Closed, match="was never opened"):
                call()
        assert (shared.closed, repr(shared)) == (True, "<SharedArray, never opened>")
        shared.close()


def test_the_name_ends_with_the_last_handle(base: str) -> None:
    one, other = SharedArray(3, "i4", name="a"), SharedArray(name="a")
    one.array[:] = 7
    one.close()
    assert other.array.tolist() == [7, 7, 7]
    other.close()
    assert not directory_of(base, "a").exists()
    with pytest.raises(SystemRefused, match="shared array 'a' does not exist; give shape and dtype to make it"):
        SharedArray(name="a")
    with SharedArray(3, "i4", name="a") as again:
        assert again.array.tolist() == [0, 0, 0]


def test_shape_and_dtype_of_an_existing_array_must_be_the_same() -> None:
    with SharedArray((2, 3), "i4", name="a"):
        others: list[Any] = [((3, 2), "i4"), ((2, 3), "u4"), (6, "i4"), ((2, 3), ">i4"), ((2, 3, 1), "i4")]
        for shape, dtype in others:
            with pytest.raises(Incompatible, match="shared array 'a' exists with another shape or dtype"):
                SharedArray(shape, dtype, name="a")
        with pytest.raises(Incompatible, match="already used for something else"):
            ringipc.Lock("a")
        SharedArray([2, 3], np.int32, name="a").close()
    with ringipc.Lock("a"), pytest.raises(Incompatible, match="already used for something else"):
        SharedArray(3, "i4", name="a")


WRONG: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ((3,), {}, TypeError, "give both shape and dtype"),
    ((), {}, TypeError, "a new array needs a shape and a dtype"),
    ((3, "i4"), {"name": "a", "path": "/tmp/a"}, TypeError, "a name or a path, not both"),
    ((-1, "i4"), {}, ValueError, "from 0 up, not -1"),
    (((2, -1), "i4"), {}, ValueError, "from 0 up"),
    (((1,) * 65, "i4"), {}, ValueError, "up to 64 integers"),
    ((2.5, "i4"), {}, TypeError, "float"),
    ((2**60, "i4"), {}, ValueError, "longer than the maximum"),
    ((3, "O"), {}, UnsafeMessage, "holds Python objects: share an array of another dtype$"),
    ((3, np.dtype("i4", metadata={"a": 1})), {}, UnsafeMessage, "would be lost: share an array of a dtype without it$"),
    ((3, "i4"), {"name": "a/b"}, ValueError, "a/b"),
    ((3, "i4"), {"wait": "never"}, ValueError, "never"),
    ((3, "i4"), {"path": "/nowhere/a\0b"}, ValueError, "must not have a NUL character"),
]


def test_wrong_arguments_are_refused(base: str) -> None:
    for arguments, options, error, text in WRONG:
        with pytest.raises(error, match=text):
            SharedArray(*arguments, **options)
    assert not directory_of(base, "a").exists()


def test_more_memory_than_there_is_is_refused(base: str) -> None:
    with pytest.raises(SystemRefused, match=f"{2**45} bytes"):
        SharedArray(2**45, "u1")
    with pytest.raises(SystemRefused):
        SharedArray(2**45, "u1", name="a")
    assert not directory_of(base, "a").exists()


# ---- single elements ----


@pytest.mark.parametrize("dtype", DTYPES)
def test_atomic_operations_change_one_element(dtype: str) -> None:
    with SharedArray((2, 3), dtype) as shared:
        shared.add((1, 2), 5)
        assert shared.fetch_add((-1, -1), 2) == 5
        assert shared.exchange((1, 2), 3) == 7
        assert not shared.compare_exchange((1, 2), 4, 9)
        assert shared.compare_exchange((1, 2), 3, 9)
        assert shared.array.tolist() == [[0, 0, 0], [0, 0, 9]]
        assert type(shared.fetch_add((0, 0), np.dtype(dtype).type(1))) is (float if dtype[0] == "f" else int)


@pytest.mark.parametrize("dtype", DTYPES[:8])
def test_integers_wrap_around_when_added_and_must_fit_when_set(dtype: str) -> None:
    limits = np.iinfo(dtype)
    with SharedArray(1, dtype) as shared:
        before = 0
        for value in (int(limits.min), int(limits.max), 0):
            assert shared.exchange(0, value) == before
            assert shared.array[0] == value
            before = value
        shared.add(0, -1)
        assert shared.array[0] == (limits.max if limits.min == 0 else -1)
        shared.add(0, 2)
        assert shared.array[0] == 1
        for value in (limits.min - 1, limits.max + 1, 2**80):
            with pytest.raises(OverflowError, match="is not a value of"):
                shared.exchange(0, value)
            with pytest.raises(OverflowError):
                shared.compare_exchange(0, value, 0)
        assert shared.array[0] == 1


def test_floats_are_compared_by_their_bits() -> None:
    with SharedArray(1, "f8") as shared:
        shared.array[0] = np.nan
        assert shared.compare_exchange(0, np.nan, -0.0)
        assert not shared.compare_exchange(0, 0.0, 1.0)
        assert shared.compare_exchange(0, -0.0, 0.1)
        assert shared.fetch_add(0, 0.2) == 0.1
        assert shared.array[0] == 0.1 + 0.2


def test_wrong_elements_are_refused() -> None:
    with SharedArray((2, 3), "i4") as shared, SharedArray(3, ">i4") as swapped, SharedArray(3, "c8") as complex_:
        for index in [(2, 0), (0, 3), (-3, 0), 1, (1,), (1, 2, 3), slice(1)]:
            with pytest.raises(IndexError):
                shared.add(index, 1)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            shared.add((0, 0), 1.5)
        with pytest.raises(TypeError):
            shared.add((0, "a"), 1)  # type: ignore[arg-type]
        for other in (swapped, complex_):
            with pytest.raises(TypeError, match="atomic operations are for integers and for float32 and float64"):
                other.exchange(0, 1)
        assert not shared.array.any()


def add_many(shared: SharedArray, count: int) -> None:
    for _ in range(count):
        shared.add(0, 1)
        shared.fetch_add(1, 0.5)
        while True:
            seen = float(shared.array[2])
            if shared.compare_exchange(2, seen, seen + 1):
                break


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_no_addition_of_several_processes_is_lost(start: Start, method: str) -> None:
    with SharedArray(3, "f8") as shared:
        processes = [start(add_many, shared, 1000, method=method) for _ in range(3)]
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
        assert shared.array.tolist() == [3000, 1500, 3000]


# ---- the whole array ----


def test_an_update_replaces_the_array_at_its_end() -> None:
    with SharedArray(4, "i4", name="a") as shared, SharedArray(name="a") as other:
        with shared.update() as values:
            values[:] = [1, 2, 3, 4]
            assert other.snapshot().tolist() == [0, 0, 0, 0]
            assert not other.lock.acquire(block=False)
        assert other.array.tolist() == other.snapshot().tolist() == [1, 2, 3, 4]
        values[0] = 9  # a copy: it is of no importance any more
        with shared.update() as values:
            assert values.tolist() == [1, 2, 3, 4]
            with pytest.raises(RuntimeError, match="has an update of this array open already"), shared.update():
                pass
            values += 1
        with suppress(KeyError), shared.update() as values:
            values[:] = 0
            raise KeyError
        assert shared.array.tolist() == [2, 3, 4, 5]
        assert not other.lock.locked()


def test_an_update_that_cannot_be_ended_leaves_the_array_as_it_was() -> None:
    with SharedArray(4, "i4") as shared:
        shared.array[:] = 7
        for size in (1, 100):
            with pytest.raises(ValueError, match="must keep its 16 bytes"), shared.update() as values:
                values.resize((size,), refcheck=False)
        update = shared.update()
        for _ in range(2):
            with shared.lock, pytest.raises(RuntimeError, match="is not in the block of this update"):
                update.__exit__(None, None, None)
            with update:
                pass
        with update:
            with ThreadPoolExecutor(1) as pool:
                ended = pool.submit(update.__exit__, None, None, None)
            with pytest.raises(RuntimeError, match="is not in the block of this update"):
                ended.result()
        with pytest.raises(TypeError, match=r"made by SharedArray\.update"):
            type(update)().__enter__()
        assert shared.array.tolist() == [7] * 4
        assert not shared.lock.locked()


def update_once(shared: SharedArray) -> None:
    with shared.lock, shared.update() as values:
        values += 1


def test_a_child_that_is_forked_in_an_update_can_update_afterwards(start: Start) -> None:
    with SharedArray(4, "i4") as shared:
        with shared.update() as values:
            values[:] = 5
            process = start(update_once, shared, method="fork")
        process.join(60)
        assert shared.array.tolist() == [6, 6, 6, 6]


def test_a_snapshot_can_go_into_an_array_of_the_caller() -> None:
    with SharedArray((2, 3), "i4") as shared:
        shared.array[:] = 5
        out = np.zeros((2, 3), "i4")
        assert shared.snapshot(out) is out
        assert out.tolist() == [[5, 5, 5], [5, 5, 5]]
        read_only = out.copy()
        read_only.flags.writeable = False
        for wrong in (np.zeros((3, 2), "i4"), np.zeros((2, 3), "i8"), np.zeros((3, 2), "i4").T, read_only):
            with pytest.raises(ValueError, match="out must be a writable array of shape"):
                shared.snapshot(wrong)


def update_until(shared: SharedArray, stop: Any) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        with shared.update() as values:
            values[:] = number


@pytest.mark.parametrize("length", [100, 200_000])
def test_no_snapshot_is_torn(start: Start, length: int) -> None:
    stop = SPAWN.Event()
    with SharedArray(length, "i8") as shared:
        processes = [start(update_until, shared, stop) for _ in range(2)]
        while shared.snapshot()[0] == 0:
            time.sleep(0.001)
        end, seen = time.monotonic() + 0.5, set()
        while time.monotonic() < end:
            values = shared.snapshot()
            assert (values == values[0]).all()
            seen.add(int(values[0]))
        stop.set()
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
        assert len(seen) > 5
        assert (shared.array == shared.array[0]).all()


def test_processes_killed_in_updates_leave_a_whole_array(start: Start) -> None:
    with SharedArray(50_000, "i8") as shared:
        for delay in (0.0, 0.003, 0.01, 0.03):
            stop = SPAWN.Event()
            before = shared.snapshot()[0]
            process = start(update_until, shared, stop)
            while shared.snapshot()[0] == before:
                time.sleep(0.001)
            time.sleep(delay)
            process.kill()
            process.join()
            values = shared.snapshot()
            assert (values == values[0]).all()
            with shared.lock:
                assert shared.lock.owner_died in (True, False)
                assert (shared.array == values[0]).all()
            with shared.update() as values:
                values[:] = 10**6


def test_close_waits_until_another_thread_has_written_its_update() -> None:
    shared = SharedArray(8_000_000, "i8")
    array, ended = shared.array, []

    def update() -> None:
        with pytest.raises(Closed), shared.update() as values:  # the lock cannot be released any more
            values[:] = 1
        ended.append(True)

    thread = threading.Thread(target=update)
    thread.start()
    ends = array[1000 :: array.size - 2000]
    while not ends.any():
        pass
    shared.close()
    written = ends.tolist()  # had close released the lock before, another process could write at the same time
    thread.join(60)
    assert (written, ended) == ([1, 1], [True])


# ---- the lock ----


def hold(shared: SharedArray, held: Any) -> None:
    with shared.lock, shared.lock:
        held.set()
        signal.pause()


def test_the_next_owner_of_the_lock_sees_the_death(start: Start) -> None:
    with SharedArray(1, "i4", name="a") as shared:
        held = SPAWN.Event()
        process = start(hold, shared, held)
        assert held.wait(60)
        assert shared.lock.locked()
        assert not shared.lock.acquire(timeout=0.12)
        assert not shared.lock.acquire(False)
        with pytest.raises(RuntimeError, match="this thread has not acquired it"):
            shared.lock.release()
        process.kill()
        died = []
        for _ in range(2):
            with shared.lock as got:
                assert got
                died.append(shared.lock.owner_died)
            died.append(shared.lock.owner_died)
        assert died == [True, False, False, False]
        process.join()


def test_an_array_is_opened_once(tmp_path: Path) -> None:
    with SharedArray(3, "i4") as shared:
        with pytest.raises(RuntimeError, match="open already"):
            shared.__init__(3, "i4", path=tmp_path / "a")  # type: ignore[misc]
        assert shared.path is None
        assert pickle.loads(ForkingPickler.dumps(shared)).shape == (3,)
    with pytest.raises(Closed, match="this SharedArray was never opened"):
        SharedArray.__new__(SharedArray).flush()


def test_a_lock_takes_the_timeouts_of_multiprocessing() -> None:
    lock = RLock()
    for timeout in (None, 0, 1, 0.5, -1, np.float32(1), float("inf"), float("nan")):
        assert lock.acquire(timeout=timeout)  # type: ignore[arg-type]
    for wrong in ("1", [1]):
        with pytest.raises(TypeError, match="timeout must be None or a number of seconds"):
            lock.acquire(timeout=wrong)  # type: ignore[arg-type]


def test_a_lock_belongs_to_a_thread() -> None:
    lock = RLock()
    with lock, lock:
        got: list[bool] = []
        thread = threading.Thread(target=lambda: got.append(lock.acquire(timeout=0.01)))
        thread.start()
        thread.join()
        assert got == [False]
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    thread.join()
    assert not lock.acquire(block=False)


def test_a_thread_that_waits_lets_others_run() -> None:
    lock = RLock()
    order = []

    def other() -> None:
        with lock:
            order.append("other")

    lock.acquire()
    thread = threading.Thread(target=other)
    thread.start()
    time.sleep(0.05)  # whether the thread waits by then or not, it gets the lock after this one
    order.append("this")
    lock.release()
    thread.join(20)
    assert order == ["this", "other"]


INTERRUPTED = """
import os, signal, threading, time, ringipc
lock = ringipc.RLock()
threading.Thread(target=lock.acquire, daemon=True).start()
while not lock.locked():
    time.sleep(0.001)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    lock.acquire()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_ends_a_wait() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def take_all(locks: list[RLock], counts: SharedArray, most: int) -> None:
    assert len(os.listdir("/proc/self/fd")) < most
    for i, lock in enumerate(locks):
        with lock:
            counts.array[i] += 1


def test_thousands_of_locks_need_one_file_descriptor_for_many(start: Start) -> None:
    before = len(os.listdir("/proc/self/fd"))
    locks = [RLock() for _ in range(5000)]
    assert len(os.listdir("/proc/self/fd")) - before <= 6
    with SharedArray(5000, "i4") as counts:
        run(start, take_all, locks, counts, 40)
        run(start, take_all, locks, counts, 40 + before, method="fork")  # it inherits those of this process
        assert (counts.array == 2).all()


# ---- other processes ----


def negate(shared: SharedArray, name: str | None) -> None:
    assert shared.name == name
    shared.array[:] *= -1


@pytest.mark.parametrize("method", ["spawn", "fork", pytest.param("forkserver", marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ["a", None])
def test_an_array_is_passed_to_another_process(start: Start, name: str | None, method: str) -> None:
    with SharedArray(3, "i4", name=name) as shared:
        shared.array[:] = [1, 2, 3]
        run(start, negate, shared, name, method=method)
        assert shared.array.tolist() == [-1, -2, -3]


def write_and_wait(ready: Any) -> None:
    shared = SharedArray((2,), "i4", name="a")
    shared.array[:] = [3, 4]
    ready.set()
    signal.pause()


def test_unrelated_processes_find_an_array_by_its_name(start: Start, base: str) -> None:
    ready = SPAWN.Event()
    process = start(write_and_wait, ready)
    assert ready.wait(60)
    with SharedArray(name="a") as shared:
        assert shared.array.tolist() == [3, 4]
        process.kill()
        process.join()
        assert shared.array.tolist() == [3, 4]
    assert not directory_of(base, "a").exists()


def test_what_killed_processes_left_is_listed_and_removed(start: Start) -> None:
    ready = SPAWN.Event()
    process = start(write_and_wait, ready)
    assert ready.wait(60)
    [named] = names()
    assert (named.name, named.kind, named.pids) == ("a", "shared array", [process.pid])
    assert main(["clean"]) == 0
    assert [named.pids for named in names()] == [[process.pid]]
    process.kill()
    process.join()
    assert [(named.name, named.pids) for named in names()] == [("a", [])]
    assert main(["clean"]) == 0
    assert names() == []


def leave_open() -> None:
    shared = SharedArray((2,), "i4", name="a")
    shared.add(0, 1)


def test_a_process_that_exits_closes_its_arrays(start: Start) -> None:
    run(start, leave_open)
    assert names() == []


def test_a_pickle_of_an_array_with_a_name_is_the_name() -> None:
    with SharedArray(3, "i4", name="a") as shared:
        with pickle.loads(pickle.dumps(shared)) as other:
            other.array[:] = 4
        assert shared.array.tolist() == [4, 4, 4]
        text = pickle.dumps(shared)
    with pytest.raises(SystemRefused, match="does not exist"):
        pickle.loads(text)


# ---- files ----


def fill(path: Path) -> None:
    shared = SharedArray((2, 2), "f4", path=path)
    shared.array[:] = [[1, 2], [3, 4]]


def test_an_array_in_a_file_can_be_opened_again(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "table"
    with pytest.raises(SystemRefused, match="does not exist; give shape and dtype to make it"):
        SharedArray(path=path)
    run(start, fill, path)
    with SharedArray(path=path) as shared, SharedArray((2, 2), "f4", path=str(path)) as other:
        assert shared.array.tolist() == [[1, 2], [3, 4]]
        assert shared.path == str(path)
        with other.update() as values:
            values *= 2
        shared.flush()
        run(start, negate, shared, None)
        assert other.snapshot().tolist() == [[-2, -4], [-6, -8]]
    with SharedArray(path=path) as shared:
        assert shared.array.tolist() == [[-2, -4], [-6, -8]]
        assert not shared.lock.locked()
    for shape, dtype in [((2, 2), "f8"), ((4,), "f4")]:
        with pytest.raises(Incompatible, match="exists with another shape or dtype"):
            SharedArray(shape, dtype, path=path)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()
    assert os.listdir(tmp_path) == ["table"]


def close_without_a_page(path: Path) -> None:
    shared = SharedArray(4096, "u1", path=path)
    draft = shared.array.ctypes.data + 4096
    assert ctypes.CDLL(None).munmap(ctypes.c_void_p(draft), ctypes.c_size_t(4096)) == 0  # now msync fails
    with pytest.raises(SystemRefused, match="Cannot allocate memory"):
        shared.close()
    assert shared.closed
    shared.close()
    with SharedArray(path=path) as other:
        assert other.lock.acquire(block=False)


def test_a_file_that_cannot_be_written_to_the_disk_is_closed(start: Start, tmp_path: Path) -> None:
    run(start, close_without_a_page, tmp_path / "table")


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_that_is_not_of_an_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table"
    for content in (b"", b"text", bytes(100_000)):
        path.write_bytes(content)
        with pytest.raises(Corrupt, match="the file is not one of a shared array"):
            SharedArray(3, "i4", path=path)
        assert path.read_bytes() == content
    path.unlink()
    fill(path)
    os.truncate(path, path.stat().st_size - 4096)
    with pytest.raises(Corrupt, match="the file is not one of a shared array"):
        SharedArray(path=path)
    with pytest.raises(SystemRefused, match="No such file"):
        SharedArray(3, "i4", path=tmp_path / "no" / "table")
    with pytest.raises(SystemRefused, match="directory"):
        SharedArray(3, "i4", path=tmp_path)
