"""The values and arrays of `ringipc.mp`; see also test_values.py and, for the standard library's tests, stdlib_mp."""

import ctypes
from typing import Any

import numpy as np
import pytest

import ringipc
from ringipc import mp

SPAWN = mp.get_context("spawn")


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double)]


def fill(value: Any, raw: Any, array: Any, raw_array: Any, point: Any, text: Any) -> None:
    with value.get_lock():
        value.value += 1
    raw.value = 2
    array[:] = [3] * len(array)
    raw_array[1] = 4
    point.x, point.y = 5.0, 6.0
    text.value = b"seven"


def test_a_process_writes_values_and_arrays_of_each_kind() -> None:
    value, raw = mp.Value("i", 0), mp.RawValue("d", 0)
    array, raw_array = mp.Array("l", 4), mp.RawArray("b", [0, 0, 0])
    point, text = mp.Value(Point, 0, 0), mp.Array("c", b"xxxxxxxx")
    process = SPAWN.Process(target=fill, args=(value, raw, array, raw_array, point, text))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert (value.value, raw.value, array[:], raw_array[:]) == (1, 2, [3] * 4, [0, 4, 0])
    assert (point.x, point.y, text.value) == (5.0, 6.0, b"seven")


def test_they_are_values_of_ringipc() -> None:
    value = mp.Value("i", 5)
    assert isinstance(value, ringipc.Synchronized)
    assert isinstance(value, mp.sharedctypes.SynchronizedBase)
    assert value.fetch_add(2) == 5
    np.testing.assert_array_equal(mp.Array("d", [1, 2]).array, [1.0, 2.0])


def test_a_copy_is_in_shared_memory() -> None:
    point = mp.RawValue(Point, 1, 2)
    copied = mp.sharedctypes.copy(point)
    point.x = 3
    assert (copied.x, copied.y) == (1, 2)
    assert mp.sharedctypes.copy(mp.RawArray("i", [1, 2]))[:] == [1, 2]


def test_what_has_no_lock_gets_one() -> None:
    lock = mp.Lock()
    assert mp.sharedctypes.synchronized(mp.RawValue("i", 1), lock).get_lock() is lock
    assert mp.sharedctypes.synchronized(mp.RawArray("i", [1, 2]))[1] == 2
    local = mp.sharedctypes.synchronized(ctypes.c_int(3))  # an object of this process only
    with local:
        assert local.value == 3
    with pytest.raises(AssertionError, match="already synchronized"):
        mp.sharedctypes.synchronized(mp.Value("i"))


def test_a_lock_of_the_module_guards_several_values() -> None:
    lock = mp.Lock()
    first, second = mp.Value("i", lock=lock), mp.Array("i", 2, lock=lock)
    with lock:
        assert not first.get_lock().acquire(block=False)
        assert not second.get_lock().acquire(block=False)
    first.value = 1
    assert not lock.locked()
