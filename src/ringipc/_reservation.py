"""What `Producer.reserve` returns."""

import errno
import math
import operator
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from . import _failures

if TYPE_CHECKING:
    from ._core import Producer


def shape_of(shape: SupportsIndex | Sequence[SupportsIndex]) -> tuple[int, ...]:
    """The shape of an array, from what a user gives as one.

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
            raise TypeError(f"shape must be an integer or a sequence of integers, not {shape!r}") from None
    if any(size < 0 for size in made):
        raise ValueError(f"shape must have sizes from 0 up, not {made}")
    return made


class Reservation:
    """What `Producer.reserve` returns: the with block's array, and when it is put."""

    __slots__ = ("_array", "_dtype", "_length", "_producer", "_shape", "_timeout", "_type")

    def __init__(
        self, producer: "Producer", shape: tuple[int, ...], dtype: np.dtype[Any], timeout: float | None, type: int
    ) -> None:
        if dtype.subdtype is not None:
            raise ValueError(f"reserve takes no dtype with a shape in it: give the shape {dtype.shape} as the array's")
        if not 0 <= type < 1 << 32:
            raise OverflowError(f"type must be from 0 to 2**32 - 1, not {type}")
        self._producer = producer
        self._shape = shape
        self._dtype = dtype
        self._timeout = timeout
        self._type = type

    def __enter__(self) -> npt.NDArray[Any]:
        most = math.prod(size or 1 for size in self._shape) * max(self._dtype.itemsize, 1)
        if most > sys.maxsize:  # which NumPy does not take, even with a size of 0 among the others
            _failures.fail_producer(self._producer, -errno.EMSGSIZE, most)
        size = math.prod(self._shape) * self._dtype.itemsize
        self._array, self._length = self._producer._begin(self._dtype, self._shape, size, self._timeout)
        return self._array

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        array = self._array
        del self._array
        array.flags.writeable = False  # it belongs to the readers from here on
        if self._length is None:  # refused; this array was never in the ring
            return
        if kind is None:
            self._producer._commit(self._length, self._type)
        else:
            self._producer._abort()
