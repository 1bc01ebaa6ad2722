"""Plain arrays and buffers: messages that are copied as one block of memory."""

import ctypes
import dataclasses
import re
import weakref
from datetime import date, time
from enum import Enum
from os import PathLike
from typing import Any

import msgspec
import numpy as np

from ..errors import UnsafeMessage
from .dtypes import PICKLE
from .tensors import is_tensor, to_array

_FIELD_NAME = re.compile(r":[^:]*:")  # in the format of a buffer (PEP 3118)
_POINTER = re.compile(r"[&OPXz:]|Z(?![fdg])")  # a colon that is left over: the format cannot be parsed
_CData: Any = ctypes.c_int.__mro__[2]  # the base class of all ctypes objects

Plain = np.ndarray[Any, np.dtype[Any]] | memoryview


def _from_dlpack(tensor: Any) -> np.ndarray[Any, np.dtype[Any]]:
    try:
        return to_array(tensor) if is_tensor(tensor) else np.from_dlpack(tensor)
    except Exception as error:
        raise UnsafeMessage(
            f"this {type(tensor).__name__!r} object does not give an array in CPU memory: {error}; move it to the CPU, "
            f"detach it, or view it as a dtype that NumPy has, or {PICKLE}"
        ) from error


_with_pointers: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()  # for types of ctypes


def _is_refused_by_pickle(kind: Any) -> bool:
    """Return whether a ctypes type has pointers: pickle refuses these."""
    while issubclass(kind, ctypes.Array):
        kind = kind._type_
    try:
        _CData.__reduce__(kind.__new__(kind))
    except ValueError:
        return True
    return False


def _has_pointers(view: memoryview) -> bool:
    if isinstance(view.obj, _CData):  # the format does not show the pointers of a union or a packed structure
        kind = type(view.obj)
        known = _with_pointers.get(kind)
        if known is None:
            known = _with_pointers[kind] = _is_refused_by_pickle(kind)
        return known
    return _POINTER.search(_FIELD_NAME.sub("", view.format)) is not None


def _conversion(value: object) -> str:
    """What to put instead of an object that cannot be sent; empty if there is no general answer."""
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return "np.asarray() of it"
    if dataclasses.is_dataclass(value):
        return "dataclasses.asdict() of it"
    if isinstance(value, msgspec.Struct):
        return "msgspec.structs.asdict() of it"
    if isinstance(value, (date, time)):
        return "its .isoformat()"
    if isinstance(value, Enum):
        return "its .value"
    if isinstance(value, PathLike):
        return "os.fspath() of it"
    if isinstance(value, complex):
        return "np.complex128() of it"
    if isinstance(value, (set, frozenset)):
        return "a list of it"
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return "its ._asdict(), or tuple() of it"
    for base in (dict, list, tuple, str, int, float):
        if isinstance(value, base):
            return f"{base.__name__}() of it"
    return ""


def plain(message: object) -> Plain:
    """Return the message as an ndarray (not of a subclass) or a memoryview.

    Raises
    ------
    UnsafeMessage
        The message is not an array and supports neither DLPack nor the buffer protocol, or a part of it would be lost.
    """
    kind = type(message)
    if isinstance(message, np.ndarray):
        if kind is np.ndarray:
            return message
        if isinstance(message, np.ma.MaskedArray):
            raise UnsafeMessage(
                f"the mask of a masked array would be lost: put its .filled(), or .data and .mask, or {PICKLE}"
            )
        raise UnsafeMessage(
            f"{kind.__name__!r} object would be received as a plain ndarray: put np.asarray() of it, or {PICKLE}"
        )
    if hasattr(message, "__dlpack__"):  # before the buffer protocol, which need not show the shape
        return _from_dlpack(message)
    try:
        view = memoryview(message)  # type: ignore[arg-type]  # anything with a buffer
    except TypeError:
        advice = _conversion(message)
        raise UnsafeMessage(
            f"{kind.__name__!r} object cannot be sent as it is: {f'put {advice}, or ' if advice else ''}{PICKLE}"
        ) from None
    if _has_pointers(view):
        raise UnsafeMessage(
            f"{kind.__name__!r} object of format {view.format!r} has pointers, which are not valid in other processes"
        )
    return view
