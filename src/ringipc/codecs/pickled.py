"""Objects: whatever pickle accepts, with the memory of arrays out of band (protocol 5, PEP 574).

Only if both sides allow it, as unpickling can run arbitrary code.
"""

import io
import pickle
from typing import Any

import numpy as np

from ..errors import Corrupt, UnsafeMessage
from . import dtypes, multipart
from .plain import plain

KIND = 4  # RIP_OBJECT in csrc/ringipc.h
TYPES: frozenset[type] = frozenset()  # only with pickle=True

_Array = np.ndarray[Any, np.dtype[Any]]


def _view(block: Any, dtype: np.dtype[Any] | str, shape: tuple[int, ...], fortran: bool) -> _Array:
    return np.ndarray(shape, dtype, buffer=block, order="F" if fortran else "C")


def _short(dtype: np.dtype[Any]) -> np.dtype[Any] | str:
    """Return a dtype as text if that describes it completely: text is pickled five times as fast."""
    if dtype.names is None and dtype.type.__module__ == "numpy" and dtypes.can_encode(dtype):
        return dtype.str
    return dtype  # arrays can share a structured dtype


class _Pickler(pickle.Pickler):
    """Moves the memory of all arrays out of band, also of those that NumPy would write into the pickle.

    In the pickle an empty buffer stands for the memory; stands_for maps that buffer to the memory. A memoryview, which
    pickle does not accept, is decoded as bytes.
    """

    stands_for: dict[pickle.PickleBuffer, multipart.Block]

    def reducer_override(self, value: object) -> Any:
        if type(value) is memoryview:
            return bytes, (self.beside(plain(value)),)
        if type(value) is not np.ndarray or value.dtype.hasobject or value.dtype.itemsize == 0:
            return NotImplemented
        return _view, (self.beside(value), _short(value.dtype), value.shape, multipart.is_fortran(value))

    def beside(self, block: multipart.Block) -> pickle.PickleBuffer:
        buffer = pickle.PickleBuffer(bytearray())  # writable, so that copies are writable
        self.stands_for[buffer] = block
        return buffer


def _advice(value: object) -> str:
    try:
        plain(value)
    except UnsafeMessage:
        return ""
    return "; put np.asarray() or memoryview() of it"


def encode(value: object) -> multipart.Parts:
    """Return an object as the parts of a message.

    Raises
    ------
    UnsafeMessage
        The object cannot be pickled.
    """
    stands_for: dict[pickle.PickleBuffer, multipart.Block] = {}
    blocks: list[multipart.Block] = []

    def note(buffer: pickle.PickleBuffer) -> None:
        blocks.append(stands_for[buffer] if buffer in stands_for else buffer.raw())

    small = io.BytesIO()
    pickler = _Pickler(small, protocol=5, buffer_callback=note)  # a bound method would make a reference cycle
    pickler.stands_for = stands_for
    try:
        pickler.dump(value)
    except MemoryError:
        raise
    except RecursionError as error:
        raise UnsafeMessage(
            f"{type(value).__name__!r} object is nested too deeply to be pickled: flatten it, put it from a "
            "function that is called less deeply, or raise the limit (sys.setrecursionlimit)"
        ) from error
    except Exception as error:
        raise UnsafeMessage(f"{type(value).__name__!r} object cannot be pickled: {error}{_advice(value)}") from error
    return multipart.join(KIND, small.getvalue(), blocks)


def decode(message: memoryview, copy: bool, tensors: bool) -> Any:
    """Return the object in a message. Its arrays are read-only views of the message, or writable copies.

    An object keeps all its types, so tensors is ignored: arrays stay arrays.

    Raises
    ------
    Corrupt
        The message is malformed. Other exceptions of unpickling are raised as they are.
    """
    small, blocks = multipart.split(message)
    try:
        return pickle.loads(small, buffers=[bytearray(block) for block in blocks] if copy else blocks)
    except pickle.UnpicklingError as error:
        raise Corrupt(f"malformed object: {error}") from error
