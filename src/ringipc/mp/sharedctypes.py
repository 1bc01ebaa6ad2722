"""Values and arrays of ctypes with the interface of `multiprocessing.sharedctypes`; see `ringipc.Value`.

Thousands of them share a few file descriptors. Their locks lie beside them, 8 bytes each.
"""

import ctypes
from multiprocessing import sharedctypes as standard
from typing import Any

from .. import values
from .._core import Block, Synchronized, SynchronizedArray, SynchronizedString, raw_object
from .._core import _Guard as SynchronizedBase
from .._core import synchronized as _synchronized
from ._standard import fall_back
from .synchronize import RLock

__all__ = [
    "Array",
    "RawArray",
    "RawValue",
    "Synchronized",
    "SynchronizedArray",
    "SynchronizedBase",
    "SynchronizedString",
    "Value",
    "copy",
    "synchronized",
]


def RawValue(typecode_or_type: Any, *args: Any) -> Any:
    """Return an object of ctypes in shared memory, without a lock. For its parameters see `ringipc.Value`."""
    return values.Value(typecode_or_type, *args, lock=False)


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:
    """Return an array of ctypes in shared memory, without a lock. For its parameters see `ringipc.Array`."""
    return values.Array(typecode_or_type, size_or_initializer, lock=False)


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:
    """Return an object of ctypes in shared memory, with a lock; see `ringipc.Value`. ctx has no effect."""
    return values.Value(typecode_or_type, *args, lock=lock)


def Array(typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: Any = None) -> Any:
    """Return an array of ctypes in shared memory, with a lock; see `ringipc.Array`. ctx has no effect."""
    return values.Array(typecode_or_type, size_or_initializer, lock=lock)


def copy(obj: Any) -> Any:
    """Return a copy of an object of ctypes, in shared memory and without a lock."""
    copied = raw_object(type(obj), None)
    ctypes.pointer(copied)[0] = obj
    return copied


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """Return an object of ctypes with a lock; every access takes the lock.

    Parameters
    ----------
    obj
        Made by `RawValue`, `RawArray` or `copy`. Any other object of ctypes can be used in this process only.
    lock
        None: a lock of its own.
    ctx
        It has no effect.

    Raises
    ------
    AssertionError
        The object has a lock already.
    """
    if isinstance(obj, SynchronizedBase):
        raise AssertionError("object already synchronized")
    if isinstance(getattr(obj, "_wrapper", None), Block):
        return _synchronized(obj, lock)
    return standard.synchronized(obj, lock or RLock())


__getattr__ = fall_back(__name__)
