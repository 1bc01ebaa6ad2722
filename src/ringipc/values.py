"""Values and arrays of ctypes in shared memory, with the interface of `multiprocessing`."""

from operator import index
from typing import Any

from ._core import Synchronized, SynchronizedArray, ctype_of, raw_object, synchronized


def Value(typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
    """Make a number, a character or a structure of ctypes in shared memory.

    It does what `multiprocessing.Value` does, and is passed to other processes in the same ways; but thousands of
    values share a few file descriptors, and a killed process releases the lock.

    Parameters
    ----------
    typecode_or_type
        A type of ctypes, or a typecode as in the module array: "i" is a C int, "d" a double.
    *args
        For the type: the initial value, or those of the fields of a structure.
    lock
        True: the value has a lock of its own, an `RLock`. False: none; the result is the object of ctypes. Else a lock,
        for example one that several values share.

    Returns
    -------
    Synchronized
        With `value`, the atomic operations `add`, `fetch_add`, `exchange` and `compare_exchange`, `get_lock` and
        `get_obj`. A structure has its fields instead of those. With lock=False an object of ctypes.

    Raises
    ------
    TypeError, ValueError
        As for ctypes: the type does not take these arguments. It is the type of a pointer.
    AttributeError
        lock is neither a bool nor a lock.
    SystemRefused
        There is no memory, or no file descriptor for a new piece of shared memory.

    Examples
    --------
    >>> import ringipc
    >>> counter = ringipc.Value("i", 5)
    >>> with counter.get_lock():
    ...     counter.value += 1
    >>> counter.fetch_add(10), counter.value
    (6, 16)
    """
    type_ = ctype_of(typecode_or_type)
    obj = raw_object(type_, None)
    obj.__init__(*args)
    return _guarded(obj, lock)


def Array(typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
    """Make an array of ctypes in shared memory, as `multiprocessing.Array` does.

    For NumPy arrays see also `SharedArray`.

    Parameters
    ----------
    typecode_or_type, lock
        As for `Value`. "c" makes an array of bytes, which also has `value` and `raw`.
    size_or_initializer
        The number of elements, which are 0: an int, or an integer of NumPy. Or a sequence of the elements.

    Returns
    -------
    SynchronizedArray
        With indices and slices (lists), `array` (a NumPy array over the same memory), `get_lock` and `get_obj`.

    Raises
    ------
    TypeError, ValueError, AttributeError, SystemRefused
        As for `Value`; ValueError also if the size is negative, or larger than 64 TiB in all.

    Examples
    --------
    >>> import ringipc
    >>> squares = ringipc.Array("i", [0, 1, 4, 9])
    >>> squares[1:], len(squares)
    ([1, 4, 9], 4)
    >>> with squares.get_lock():
    ...     squares.array[:] *= 2
    >>> squares[3]
    18
    """
    type_ = ctype_of(typecode_or_type)
    if hasattr(size_or_initializer, "__index__") and not hasattr(size_or_initializer, "__len__"):
        obj = raw_object(type_, index(size_or_initializer))
    else:
        obj = raw_object(type_, len(size_or_initializer))
        obj.__init__(*size_or_initializer)
    return _guarded(obj, lock)


def _guarded(obj: Any, lock: Any) -> "Synchronized | SynchronizedArray | Any":
    if lock is False:
        return obj
    if lock in (None, True):
        return synchronized(obj, None)
    if not hasattr(lock, "acquire"):
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return synchronized(obj, lock)
