"""Objects: whatever pickle takes, with the memory of its arrays beside it (protocol 5, PEP 574).

Only where both sides allow it: whoever can write a pickle can make its reader run any code.
"""

import io
import pickle
from typing import Any

import numpy as np

from .._core import OBJECT
from ..errors import Corrupt, UnsafeMessage
from . import dtypes, multipart
from .plain import plain

_Array = np.ndarray[Any, np.dtype[Any]]


def _view(block: Any, dtype: np.dtype[Any] | str, shape: tuple[int, ...], fortran: bool) -> _Array:
    return np.ndarray(shape, dtype, buffer=block, order="F" if fortran else "C")


def _short(dtype: np.dtype[Any]) -> np.dtype[Any] | str:
    """A dtype as text if that says all of it: it is pickled in a fifth of the time."""
    if dtype.names is not None or not dtypes.can_encode(dtype):  # arrays may share one that has names
        return dtype
    return dtype.str


class _Pickler(pickle.Pickler):
    """Lets the memory of all arrays go beside the pickle, of those too that NumPy would write into it.

    In the pickle an empty buffer stands for it; stands_for says what goes in its place. A memoryview, which pickle does
    not take, comes out as bytes, as it does without.
    """

    stands_for: dict[pickle.PickleBuffer, multipart.Block]

    def reducer_override(self, value: object) -> Any:
        if type(value) is memoryview:
            return bytes, (self.beside(plain(value)),)
        if type(value) is not np.ndarray or value.dtype.hasobject or value.dtype.itemsize == 0:
            return NotImplemented
        return _view, (self.beside(value), _short(value.dtype), value.shape, multipart.is_fortran(value))

    def beside(self, block: multipart.Block) -> pickle.PickleBuffer:
        buffer = pickle.PickleBuffer(bytearray())  # one that can be written, so that a copy can be
        self.stands_for[buffer] = block
        return buffer


def _advice(value: object) -> str:
    try:
        plain(value)
    except UnsafeMessage:
        return ""
    return "; put np.asarray() or memoryview() of it"


def encode(value: object) -> multipart.Parts:
    """An object as the producer takes it.

    Raises
    ------
    UnsafeMessage
        It cannot be pickled.
    """
    stands_for: dict[pickle.PickleBuffer, multipart.Block] = {}
    blocks: list[multipart.Block] = []

    def note(buffer: pickle.PickleBuffer) -> None:
        blocks.append(stands_for[buffer] if buffer in stands_for else buffer.raw())

    small = io.BytesIO()
    pickler = _Pickler(small, protocol=5, buffer_callback=note)  # no method of it: that would make a cycle
    pickler.stands_for = stands_for
    try:
        pickler.dump(value)
    except MemoryError:
        raise
    except RecursionError as error:
        raise UnsafeMessage(
            f"{type(value).__name__!r} object is nested too deeply to be pickled: flatten it, put it where fewer calls "
            "are open, or raise the limit (sys.setrecursionlimit)"
        ) from error
    except Exception as error:
        raise UnsafeMessage(f"{type(value).__name__!r} object cannot be pickled: {error}{_advice(value)}") from error
    return multipart.join(OBJECT, small.getvalue(), blocks)


def decode(message: memoryview, copy: bool) -> Any:
    """The object that `encode` wrote. Its arrays are read-only views on message, or writable copies.

    Raises
    ------
    Corrupt
        It is not what `encode` writes. What else unpickling raises is raised as it is.
    """
    small, blocks = multipart.split(message)
    try:
        return pickle.loads(small, buffers=[bytearray(block) for block in blocks] if copy else blocks)
    except pickle.UnpicklingError as error:
        raise Corrupt(f"an object that no producer wrote: {error}") from error
