"""Records: dicts, lists and tuples of scalars, strings, bytes, times and arrays, without pickle.

All but the arrays is msgpack, encoded and decoded by msgspec. Types that msgpack does not have are extensions. An array
is the index of its block, its dtype, shape and order; a NumPy scalar is an array without dimensions; a buffer is the
index of its block; a date or time is its type and its text in ISO 8601, a timedelta its three numbers. A tuple is its
index in a table of tuples before the record, in which inner tuples come first; so decoding nests no deeper than lists
and dicts do.
"""

import math
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

import msgspec
import numpy as np
from msgspec.msgpack import Decoder, Encoder, Ext
from msgspec.msgpack import decode as _unpack
from msgspec.msgpack import encode as _pack

from ..errors import Corrupt, UnsafeMessage
from . import dtypes, multipart
from .dtypes import PICKLE
from .plain import plain
from .tensors import to_tensor

KIND = 3  # RIP_RECORD in csrc/ringipc.h
KINDS = (KIND,)
_ARRAY, _SCALAR, _TUPLE, _BUFFER, _TIME, _SPAN = range(1, 7)
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_CONTAINERS = frozenset({dict, list, tuple})
_TIMES = (datetime, date, time)  # a time is sent as an index of this
_TEMPORAL = frozenset({*_TIMES, timedelta})
TYPES = frozenset(_PLAIN - {bytes} | _CONTAINERS | _TEMPORAL)  # bytes alone are a message of another kind
_DEEPEST = 100  # nesting of containers, so that `get` can decode a record even with little stack left
_TABLE = b"\xc1"  # never used by msgpack: a table of tuples and the record follow

_read_array = Decoder(tuple[int, bytes, tuple[int, ...], bool]).decode  # block, dtype, shape, Fortran order
_read_number = Decoder(int).decode
_read_time = Decoder(tuple[int, str]).decode
_read_span = Decoder(tuple[int, int, int]).decode
_read_table = Decoder(list[bytes]).decode

_Array = np.ndarray[Any, np.dtype[Any]]


def _scalar(value: np.generic) -> _Array:
    array = np.asarray(value)
    if array.dtype.type is not type(value):
        raise UnsafeMessage(
            f"{type(value).__name__!r} object would be received as {array.dtype.type.__name__!r}: put one of that type"
        )
    return array


def _temporal(value: Any) -> Ext:
    if type(value) is timedelta:
        return Ext(_SPAN, _pack((value.days, value.seconds, value.microseconds)))
    text = value.isoformat()
    if repr(type(value).fromisoformat(text)) != repr(value):  # equal times can have different zones
        raise UnsafeMessage(
            f"the time zone or fold of {value!r} would be lost: put its .astimezone(datetime.timezone.utc), with the "
            f"name of the zone beside it if you need that, or {PICKLE}"
        )
    return Ext(_TIME, _pack((_TIMES.index(type(value)), text)))


class _Writer:
    """Converts a record to what msgspec encodes; collects its arrays in blocks and its tuples in tuples."""

    def __init__(self) -> None:
        self.blocks: list[multipart.Block] = []
        self.tuples: list[bytes] = []

    def write(self, value: Any, room: int) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is dict:
            if not room or not _PLAIN.issuperset(map(type, value)):
                _check(value, room)
            if _PLAIN.issuperset(map(type, value.values())):
                return value
            return {key: self.write(item, room - 1) for key, item in value.items()}
        if kind is list or kind is tuple:
            if not room:
                _check(value, room)
            if not _PLAIN.issuperset(map(type, value)):
                value = [self.write(item, room - 1) for item in value]
            if kind is list:
                return value
            self.tuples.append(_pack(value))
            return Ext(_TUPLE, _pack(len(self.tuples) - 1))
        return _temporal(value) if kind in _TEMPORAL else self.block(value)

    def block(self, value: object) -> Ext:
        scalar = isinstance(value, np.generic)
        data = _scalar(value) if isinstance(value, np.generic) else plain(value)
        number = len(self.blocks)
        self.blocks.append(data)
        if isinstance(data, memoryview):
            return Ext(_BUFFER, _pack(number))
        described = (number, dtypes.encode_dtype(data.dtype).text, data.shape, multipart.is_fortran(data))
        return Ext(_SCALAR if scalar else _ARRAY, _pack(described))


def _check(value: Any, room: int) -> None:
    """Raise UnsafeMessage if a record cannot hold a value, without regard to what is in that value."""
    kind = type(value)
    if kind in _CONTAINERS:
        if not room:
            raise UnsafeMessage(
                f"dicts, lists and tuples are nested more than {_DEEPEST} deep, or contain themselves: {PICKLE}"
            )
        for key in value if kind is dict else ():
            if type(key) not in _PLAIN:
                raise UnsafeMessage(f"the key {key!r} is not None, bool, int, float, str or bytes: {PICKLE}")
            _check(key, room)
    elif kind is int:
        if not -(1 << 63) <= value < 1 << 64:
            raise UnsafeMessage(f"an int must lie between -2**63 and 2**64 - 1: {PICKLE}")
    elif kind is str or kind is bytes:
        try:
            size = len(value.encode() if kind is str else value)
        except UnicodeEncodeError:
            raise UnsafeMessage(
                f"the str {value[:40]!r} has surrogates, which UTF-8 cannot encode: put os.fsencode(), or {PICKLE}"
            ) from None
        if size >= 1 << 32:
            raise UnsafeMessage(f"{kind.__name__} of 4 GiB or more: put memoryview() of bytes")
    elif kind in _TEMPORAL:
        _temporal(value)
    elif kind not in _PLAIN:
        _Writer().block(value)


def _fault(record: object) -> str:
    """Return the path of the first value that a record cannot hold, and the reason."""
    left = [("", record, _DEEPEST)]
    while left:
        path, value, room = left.pop()
        try:
            _check(value, room)
        except UnsafeMessage as error:
            where = path if len(path) <= 100 else f"{path[:100]}..."
            return f"at {where}: {error}" if path else str(error)
        if type(value) in _CONTAINERS:
            items = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
            left += [(f"{path}[{key!r}]", item, room - 1) for key, item in items][::-1]
    return ""


def encode(record: object) -> multipart.Parts:
    """Return a record as the parts of a message.

    Raises
    ------
    UnsafeMessage
        The record has a value of a type that records do not have. Subclasses of dict, list and tuple are refused too,
        as they would be decoded as dict, list or tuple.
    """
    writer = _Writer()
    try:
        small = _pack(writer.write(record, _DEEPEST))
        if writer.tuples:
            small = _TABLE + _pack([*writer.tuples, small])
    except RecursionError as error:
        raise UnsafeMessage(
            "the record is nested too deeply for the rest of this thread's stack: flatten it, put it from a function "
            "that is called less deeply, or raise the limit (sys.setrecursionlimit)"
        ) from error
    except (UnsafeMessage, OverflowError, UnicodeEncodeError, msgspec.EncodeError) as error:
        raise UnsafeMessage(_fault(record) or str(error)) from error.__cause__
    return multipart.join(KIND, small, writer.blocks)


class _Reader:
    """Decodes the msgpack extensions. (A recursive closure would keep the blocks alive in a reference cycle.)"""

    def __init__(self, blocks: list[memoryview], copy: bool, tensors: bool) -> None:
        self.blocks = blocks
        self.tuples: list[tuple[Any, ...]] = []
        self.copy = copy
        self.tensors = tensors

    def read(self, data: bytes | memoryview) -> Any:
        return _unpack(data, ext_hook=self.extension)

    def read_table(self, data: memoryview) -> Any:
        *tuples, record = _read_table(data)
        for code in tuples:
            items = self.read(code)
            if not isinstance(items, list):
                raise ValueError("a tuple is not a list of its items")
            self.tuples.append(tuple(items))
        return self.read(record)

    def extension(self, code: int, data: memoryview) -> Any:
        if code == _ARRAY:
            array = self.array(data, self.tensors)
            return to_tensor(array) if self.tensors else array
        if code == _TUPLE:
            return _at(self.tuples, _read_number(data))
        if code == _SCALAR:
            return self.array(data, False)[()]
        if code == _BUFFER:
            return bytes(_at(self.blocks, _read_number(data)))
        if code == _TIME:
            number, text = _read_time(data)
            return _at(_TIMES, number).fromisoformat(text)
        if code == _SPAN:
            return timedelta(*_read_span(data))
        raise ValueError(f"records have no extension {code}")

    def array(self, described: memoryview, tensors: bool) -> _Array:
        number, code, shape, fortran = _read_array(described)
        dtype = dtypes.decode_dtype(code, tensors)
        block = _at(self.blocks, number)
        if math.prod(shape) * dtype.itemsize != len(block):
            raise ValueError("an array does not fit its block")
        view: _Array = np.ndarray(shape, dtype, buffer=block, order="F" if fortran else "C")
        return view.copy(order="K") if self.copy else view


def _at(table: Sequence[Any], number: int) -> Any:
    if not 0 <= number < len(table):
        raise ValueError(f"index {number} is not in a table of {len(table)}")
    return table[number]


# For the extension module: a record of plain values to the small part of a message without blocks and tuples, and back.
pack = Encoder().encode
unpack = Decoder(ext_hook=_Reader([], False, False).extension).decode


def decode(kind: int, message: memoryview, copy: bool, tensors: bool) -> Any:
    """Return the record in a message. Its arrays, or tensors, are views of the message, or copies.

    Raises
    ------
    Corrupt
        The message is malformed.
    UnsafeMessage
        The dtype of an array needs ml_dtypes.
    RecursionError
        The caller's stack is too deep already.
    """
    small, blocks = multipart.split(message)
    reader = _Reader(blocks, copy, tensors)
    try:
        return reader.read_table(small[1:]) if small and small[0] == _TABLE[0] else reader.read(small)
    except UnsafeMessage:
        raise
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError) as error:
        raise Corrupt(f"malformed record: {error}") from error
