"""Records: dicts, lists and tuples of scalars, strings, bytes and arrays, without pickle.

All but the arrays is msgpack, written and read by msgspec. What msgpack has no word for is an extension: an array is
the number of its block, its dtype, shape and order; a tuple is the list of its items; a NumPy scalar is an array
without dimensions.
"""

import math
from typing import Any

import msgspec
import numpy as np

from . import codec, parts
from ._core import RECORD
from .errors import Corrupt, UnsafeMessage

_ARRAY, _SCALAR, _TUPLE = 1, 2, 3
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
TYPES = _PLAIN - {bytes} | {dict, list, tuple}  # bytes alone are a message of their own kind

_Blocks = list[np.ndarray[Any, np.dtype[Any]]]


# Reads how an array is described: its block, dtype, shape, and whether the first index runs fastest.
_DESCRIPTIONS = msgspec.msgpack.Decoder(tuple[int, bytes, tuple[int, ...], bool])


def _array(value: object, blocks: _Blocks) -> Any:
    array = codec.plain(value)
    if isinstance(array, memoryview):
        return array.tobytes()
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    described = (len(blocks), codec.encode_dtype(array.dtype), array.shape, fortran)
    blocks.append(array if fortran else np.asarray(array, order="C"))
    msgpack = msgspec.msgpack
    return msgpack.Ext(_SCALAR if isinstance(value, np.generic) else _ARRAY, msgpack.encode(described))


def _write(value: Any, blocks: _Blocks) -> Any:
    """What msgspec is to encode for value; its arrays go to blocks."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        if not _PLAIN.issuperset(map(type, value)):
            raise UnsafeMessage("a key of a dict must be None, a bool, an int, a float, a str or bytes")
        if _PLAIN.issuperset(map(type, value.values())):
            return value
        return {key: _write(item, blocks) for key, item in value.items()}
    if kind is list or kind is tuple:
        if not _PLAIN.issuperset(map(type, value)):
            value = [_write(item, blocks) for item in value]
        return value if kind is list else msgspec.msgpack.Ext(_TUPLE, msgspec.msgpack.encode(value))
    return _array(value, blocks)


def encode(record: object) -> parts.Parts:
    """A record as the producer takes it.

    Raises
    ------
    UnsafeMessage
        Something in it is none of what a record holds; subclasses of dict, list and tuple are not, as they would come
        out as these.
    """
    blocks: _Blocks = []
    try:
        small = msgspec.msgpack.encode(_write(record, blocks))
    except OverflowError:
        raise UnsafeMessage("an int in a record must lie between -2**63 and 2**64 - 1") from None
    except RecursionError:
        raise UnsafeMessage("the record is nested too deeply, or contains itself") from None
    return parts.join(RECORD, small, blocks)


class _Reader:
    """Makes of msgpack's extensions what they stand for. (A closure that calls itself would keep the blocks.)"""

    def __init__(self, blocks: list[memoryview], copy: bool) -> None:
        self.blocks = blocks
        self.copy = copy

    def read(self, data: memoryview) -> Any:
        return msgspec.msgpack.decode(data, ext_hook=self.extension)

    def extension(self, code: int, data: memoryview) -> Any:
        if code == _TUPLE:
            items = self.read(data)
            if isinstance(items, list):
                return tuple(items)
        elif code == _ARRAY:
            return self.array(data)
        elif code == _SCALAR:
            return self.array(data)[()]
        raise ValueError(f"no extension {code} of records")

    def array(self, described: memoryview) -> np.ndarray[Any, np.dtype[Any]]:
        number, code, shape, fortran = _DESCRIPTIONS.decode(described)
        dtype = codec.decode_dtype(code)
        if not 0 <= number < len(self.blocks) or math.prod(shape) * dtype.itemsize != len(self.blocks[number]):
            raise ValueError("an array is no block of its message")
        view: np.ndarray[Any, np.dtype[Any]] = np.ndarray(
            shape, dtype, buffer=self.blocks[number], order="F" if fortran else "C"
        )
        return view.copy(order="K") if self.copy else view


def decode(message: memoryview, copy: bool) -> Any:
    """The record that `encode` wrote. Its arrays are views on message, or copies.

    Raises
    ------
    Corrupt
        It is none.
    """
    small, blocks = parts.split(message)
    try:
        return _Reader(blocks, copy).read(small)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Corrupt(f"a record that no producer wrote: {error}") from error
