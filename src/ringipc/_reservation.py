"""What `Producer.reserve` and `Producer.reserve_bytes` return, and `empty`, the arrays to be filled in a record."""

import math
import operator
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from . import _failures, codecs, errors
from .codecs import dtypes, multipart

if TYPE_CHECKING:
    from ._core import Producer

_BYTES, _ARRAY = 1, 2  # RIP_BYTES and RIP_ARRAY in csrc/ringipc.h
_DEEPEST = 100  # nesting of containers in a record
_CONTAINERS = frozenset({dict, list, tuple})

_Array = npt.NDArray[Any]


def shape_of(shape: SupportsIndex | Sequence[SupportsIndex]) -> tuple[int, ...]:
    """Return the shape of an array, from what a user gives as one.

    >>> shape_of(3), shape_of([np.int64(2), 3])
    ((3,), (2, 3))
    """
    sizes: Any = shape
    try:
        made: tuple[int, ...] = (operator.index(sizes),)
    except TypeError:  # an array of several numbers says so here too
        try:
            made = tuple(map(operator.index, sizes))
        except TypeError:
            raise TypeError(
                "shape must be an integer or a sequence of integers (or a record with ringipc.empty() in it), "
                f"not {shape!r}"
            ) from None
    if any(size < 0 for size in made):
        raise ValueError(f"shape must have sizes from 0 up, not {made}")
    return made


def _dtype_of(dtype: npt.DTypeLike) -> np.dtype[Any]:
    made: np.dtype[Any] = np.dtype(dtype)
    if made.subdtype is not None:
        raise ValueError(f"reserve takes no dtype with a shape in it: give the shape {made.shape} as the array's")
    return made


@dataclass(frozen=True, slots=True)
class EmptyArray:
    """What `empty` returns: the shape and dtype of an array to be filled.

    Attributes
    ----------
    shape : tuple of int
        As `empty` was given it.
    dtype : numpy.dtype
        As `empty` was given it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def empty(shape: SupportsIndex | Sequence[SupportsIndex], dtype: npt.DTypeLike = "u1") -> EmptyArray:
    """Describe an array in a record for `Producer.reserve`, which is to be filled in the lane.

    Parameters
    ----------
    shape, dtype
        As `Producer.reserve` takes them.

    Raises
    ------
    TypeError, ValueError
        shape is no shape, or dtype no dtype.

    Examples
    --------
    >>> import ringipc
    >>> ringipc.empty(3, "f4")
    EmptyArray(shape=(3,), dtype=dtype('float32'))
    """
    return EmptyArray(shape_of(shape), _dtype_of(dtype))


class Reservation(ABC):
    """Memory of a lane that a with block fills: what `Producer.reserve` and `Producer.reserve_bytes` return.

    The message is put when the block ends. It is discarded if the block ends by an exception.

    Attributes
    ----------
    was_put : bool or None
        After the with block: whether the message was put. False if an exception left the block, or if the full lane
        refused the message, as with overflow="drop-new" or "drop-old". None before the end of the first block.
    """

    __slots__ = ("_kind", "_length", "_producer", "_refused", "_timeout", "_type", "was_put")

    def __init__(self, producer: "Producer", timeout: float | None, type: int) -> None:
        if not 0 <= type < 1 << 32:
            raise OverflowError(f"type must be from 0 to 2**32 - 1, not {type}")
        self._producer = producer
        self._timeout = timeout
        self._type = type
        self.was_put: bool | None = None

    @abstractmethod
    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seal()
        self.was_put = False
        if self._refused:  # its memory was never in the lane
            return
        if kind is None:
            self._producer._commit(self._length, self._type, self._kind)
            self.was_put = True
        else:
            self._producer._abort()

    @abstractmethod
    def _seal(self) -> None:
        """Make the memory that the block has filled read-only: from here on it belongs to the consumers."""

    def _check_size(self, size: int) -> None:
        if size > sys.maxsize:  # NumPy and the extension do not take it
            raise _failures.too_large(self._producer.channel, size, sys.maxsize)

    def _begin(self, kind: int, length: int) -> _Array:
        """Return memory for a message of length bytes, aligned to 64 bytes: private memory if the lane refuses it."""
        self._check_size(length)
        self._kind, self._length = kind, length
        memory = self._producer._begin_memory(length, self._timeout)
        self._refused = memory is None
        return _private(length) if memory is None else memory


def _private(length: int) -> _Array:
    memory = np.empty(length + 63, "u1")
    return memory[-memory.ctypes.data % 64 :][:length]


def _check_array(reservation: Reservation, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise MessageTooLarge for an array that NumPy refuses; it counts a size of 0 as 1."""
    reservation._check_size(math.prod(size or 1 for size in shape) * max(dtype.itemsize, 1))


class ArrayReservation(Reservation):
    __slots__ = ("_array", "_dtype", "_shape")

    def __init__(
        self, producer: "Producer", shape: tuple[int, ...], dtype: np.dtype[Any], timeout: float | None, type: int
    ) -> None:
        super().__init__(producer, timeout, type)
        self._shape = shape
        self._dtype = dtype

    def __enter__(self) -> _Array:
        _check_array(self, self._shape, self._dtype)
        size = math.prod(self._shape) * self._dtype.itemsize
        self._kind = _ARRAY
        self._array, length = self._producer._begin(self._dtype, self._shape, size, self._timeout)
        self._refused = length is None
        self._length = length or 0
        return self._array

    def _seal(self) -> None:
        array = self._array
        del self._array
        array.flags.writeable = False


class BytesReservation(Reservation):
    """What `Producer.reserve_bytes` returns: memory for a message whose length is known at the end.

    Attributes
    ----------
    buffer
        The memory, writable until the end of the block, which releases it. Slices and other views of it are not
        released: writing through one that is kept changes a message that others read.
    """

    __slots__ = ("_size", "buffer")

    buffer: memoryview

    def __init__(self, producer: "Producer", size: SupportsIndex, timeout: float | None, type: int) -> None:
        super().__init__(producer, timeout, type)
        self._size = operator.index(size)
        if self._size < 0:
            raise ValueError(f"size must be from 0 up, not {size}")

    def __enter__(self) -> Self:
        self.buffer = self._begin(_BYTES, self._size).data
        return self

    @property
    def length(self) -> int:
        """The number of bytes of the buffer that are the message: all of them, until it is set.

        Raises
        ------
        ValueError
            It is set to less than 0, or to more than the buffer has.
        """
        return self._length

    @length.setter
    def length(self, length: SupportsIndex) -> None:
        written = operator.index(length)
        if not 0 <= written <= self._size:
            raise ValueError(f"length must be from 0 to {self._size}, the size that was reserved, not {written}")
        self._length = written

    def _seal(self) -> None:
        with suppress(BufferError):  # a view of it (numpy.frombuffer) is alive, and keeps the memory alive
            self.buffer.release()


class RecordReservation(Reservation):
    __slots__ = ("_arrays", "_record")

    def __init__(self, producer: "Producer", record: Any, timeout: float | None, type: int) -> None:
        super().__init__(producer, timeout, type)
        self._record = record

    def __enter__(self) -> Any:
        record, stand_ins, parts = self._encode()
        filled = {id(array): array for array in stand_ins}  # an array of 0 bytes may have no block, and stays as it is
        offsets, length = multipart.offsets(parts)
        memory = self._begin(parts.kind, length)
        self._arrays = [memory]
        try:
            memory[: len(parts.head)] = np.frombuffer(parts.head, "u1")
            for block, at in zip(parts.blocks, offsets, strict=True):
                if isinstance(block, memoryview):
                    memory[at : at + block.nbytes] = np.frombuffer(block.tobytes(), "u1")
                    continue
                fortran = multipart.is_fortran(block)
                array: _Array = np.ndarray(block.shape, block.dtype, memory, at, order="F" if fortran else "C")
                if id(block) in filled:
                    filled[id(block)] = array
                    self._arrays.append(array)
                else:
                    array[...] = block
            return _replaced(record, lambda value: filled.get(id(value), value), _DEEPEST, sealed=True)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def _encode(self) -> tuple[Any, list[_Array], multipart.Parts]:
        """Return the record with a stand-in for each array to be filled, the stand-ins, and the parts of its message.

        A stand-in has the shape and dtype of the array, but no memory.
        """
        stand_ins: list[_Array] = []

        def stand_in(value: object) -> object:
            if type(value) is not EmptyArray:
                return value
            shape, dtype = value.shape, value.dtype
            _check_array(self, shape, dtype)
            dtypes.encode_dtype(dtype, "reserve")
            stand_ins.append(np.ndarray(shape, dtype, bytes(dtype.itemsize or 4), strides=(0,) * len(shape)))
            return stand_ins[-1]

        try:
            record = _replaced(self._record, stand_in, _DEEPEST, sealed=False)
            parts = codecs.encode(record, self._producer._pickle)
        except errors.UnsafeMessage as error:
            raise _failures.named(error, self._producer.channel) from error.__cause__
        assert isinstance(parts, multipart.Parts)  # as a record here is a container
        return record, stand_ins, parts

    def _seal(self) -> None:
        for array in self._arrays:
            array.flags.writeable = False
        del self._arrays


def _has_empty(value: object) -> bool:
    """Return whether a dict, list or tuple, or one that is nested in it, has an `EmptyArray`."""
    left = [(value, _DEEPEST)]
    while left:
        container, room = left.pop()
        items = container.values() if isinstance(container, dict) else container
        for item in items:  # type: ignore[attr-defined]  # it is a container
            if type(item) is EmptyArray:
                return True
            if type(item) in _CONTAINERS and room:
                left.append((item, room - 1))
    return False


def _replaced(value: Any, replace: Callable[[Any], Any], room: int, *, sealed: bool) -> Any:
    """Return a copy of a record with each value that is not a container replaced. sealed: containers are read-only."""
    kind = type(value)
    if kind not in _CONTAINERS:
        return replace(value)
    if not room:
        raise errors.UnsafeMessage(
            f"dicts, lists and tuples are nested more than {_DEEPEST} deep, or contain themselves: flatten the record"
        )
    if kind is dict:
        items = {key: _replaced(item, replace, room - 1, sealed=sealed) for key, item in value.items()}
        return MappingProxyType(items) if sealed else items
    copied = [_replaced(item, replace, room - 1, sealed=sealed) for item in value]
    return tuple(copied) if sealed or kind is tuple else copied


def reservation(
    producer: "Producer", shape: Any, dtype: npt.DTypeLike, timeout: float | None, type_: int
) -> Reservation:
    """Check the arguments of `Producer.reserve` and return its result."""
    if type(shape) not in _CONTAINERS or not _has_empty(shape):
        return ArrayReservation(producer, shape_of(shape), _dtype_of(dtype), timeout, type_)
    if np.dtype(dtype) != np.uint8:
        raise TypeError("reserve takes no dtype for a record: give ringipc.empty() the dtype of each array")
    return RecordReservation(producer, shape, timeout, type_)
