"""Objects: whatever pickle accepts, with the memory of arrays out of band (protocol 5, PEP 574).

Only if both sides allow it, as unpickling can run arbitrary code. A message is the pickle and nothing else; if memory
is out of band it is a message of several parts, and the pickle is the small part.
"""

import copyreg
import pickle
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import numpy as np

from ..errors import Corrupt, UnsafeMessage
from . import dtypes, multipart
from .plain import plain

KIND = 4  # RIP_OBJECT in csrc/ringipc.h: a pickle
KIND_OF_PARTS = 5  # RIP_OBJECT_PARTS: a pickle, and the memory of its arrays
KINDS = (KIND, KIND_OF_PARTS)
TYPES: frozenset[type] = frozenset()  # only with pickle=True

_Array = np.ndarray[Any, np.dtype[Any]]
_Reducer = Callable[[Any], Any]


def _view(block: Any, dtype: np.dtype[Any] | str, shape: tuple[int, ...], fortran: bool) -> _Array:
    return np.ndarray(shape, dtype, buffer=block, order="F" if fortran else "C")


def _short(dtype: np.dtype[Any]) -> np.dtype[Any] | str:
    """Return a dtype as text if that describes it completely: text is pickled five times as fast."""
    if dtype.names is None and dtype.type.__module__ == "numpy" and dtypes.can_encode(dtype):
        return dtype.str
    return dtype  # arrays can share a structured dtype


def reducer_of(kind: type) -> _Reducer:
    """Return how objects of a type are pickled, as programs have registered it with multiprocessing or copyreg.

    Raises
    ------
    KeyError
        Nothing is registered for this type.
    """
    reducers: dict[type, _Reducer] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    return reducers[kind] if kind in reducers else copyreg.dispatch_table[kind]


class _Output:
    """Where a pickler writes, and its dispatch table: how it pickles the types that the C code of pickle does not know.

    The memory of all arrays goes out of band, also of those that NumPy would write into the pickle. In the pickle an
    empty buffer stands for the memory; stands_for maps that buffer to the memory. A memoryview, which pickle does not
    accept, is decoded as bytes. All other types are pickled as multiprocessing does: connections, sockets, and what
    programs have registered with its `ForkingPickler`, or with `copyreg`, until now.
    """

    def __init__(self) -> None:
        self.chunks: list[bytes] = []  # of the pickle; those that are not bytes can change
        self.blocks: list[multipart.Block] = []
        self.write = self.chunks.append
        self._stands_for: dict[pickle.PickleBuffer, multipart.Block] = {}

    def note(self, buffer: pickle.PickleBuffer) -> None:
        self.blocks.append(self._stands_for.pop(buffer) if buffer in self._stands_for else buffer.raw())

    def __getitem__(self, kind: type) -> _Reducer:
        if kind is np.ndarray:
            return self._reduce_array
        if kind is memoryview:
            return self._reduce_memory
        return reducer_of(kind)

    def _reduce_array(self, array: _Array) -> Any:
        if array.dtype.hasobject or array.dtype.itemsize == 0:
            return array.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return _view, (self._beside(array), _short(array.dtype), array.shape, multipart.is_fortran(array))

    def _reduce_memory(self, memory: memoryview) -> Any:
        return bytes, (self._beside(plain(memory)),)

    def _beside(self, block: multipart.Block) -> pickle.PickleBuffer:
        buffer = pickle.PickleBuffer(bytearray())  # writable, so that copies are writable
        self._stands_for[buffer] = block
        return buffer


class Pickler(NamedTuple):
    """A pickler that can be used again after `clear_memo`, once chunks and blocks are empty, unless dump has raised.

    dump appends the pickle of an object to chunks, and the memory of its arrays to blocks.
    """

    dump: Callable[[Any], None]
    clear_memo: Callable[[], None]
    chunks: list[bytes]
    blocks: list[multipart.Block]


def new_pickler() -> Pickler:
    output = _Output()
    pickler = pickle.Pickler(output, protocol=5, buffer_callback=output.note)
    pickler.dispatch_table = output  # type: ignore[assignment]  # any mapping
    return Pickler(pickler.dump, pickler.clear_memo, output.chunks, output.blocks)


def refusal(value: object, error: Exception) -> UnsafeMessage:
    """Return the exception to raise for one of the pickler."""
    what = f"{type(value).__name__!r} object"
    if isinstance(error, RecursionError):
        return UnsafeMessage(
            f"{what} is nested too deeply to be pickled: flatten it, put it from a function that is called less "
            "deeply, or raise the limit (sys.setrecursionlimit)"
        )
    try:
        plain(value)
        advice = "; put np.asarray() or memoryview() of it"
    except UnsafeMessage:
        advice = ""
    return UnsafeMessage(f"{what} cannot be pickled: {error}{advice}")


def parts(pickled: bytes, blocks: list[multipart.Block]) -> multipart.Parts:
    """Return the message of a pickle and the memory that is out of band."""
    return multipart.join(KIND_OF_PARTS, pickled, blocks) if blocks else multipart.Parts(KIND, pickled, ())


def encode(value: object) -> multipart.Parts:
    """Return an object as the parts of a message.

    Raises
    ------
    UnsafeMessage
        The object cannot be pickled.
    """
    pickler = new_pickler()
    try:
        pickler.dump(value)
    except MemoryError:
        raise
    except Exception as error:
        raise refusal(value, error) from error
    return parts(b"".join(pickler.chunks), pickler.blocks)


def malformed(error: pickle.UnpicklingError) -> Corrupt:
    return Corrupt(f"malformed object: {error}")


def decode(kind: int, message: memoryview, copy: bool, tensors: bool) -> Any:
    """Return the object in a message. Its arrays are read-only views of the message, or writable copies.

    An object keeps all its types, so tensors is ignored: arrays stay arrays.

    Raises
    ------
    Corrupt
        The message is malformed. Other exceptions of unpickling are raised as they are.
    """
    pickled, blocks = (message, []) if kind == KIND else multipart.split(message)
    try:
        return pickle.loads(pickled, buffers=[bytearray(block) for block in blocks] if copy else blocks)
    except pickle.UnpicklingError as error:
        raise malformed(error) from error
