"""How messages become bytes and bytes become messages: pure Python, below the extension module.

Bytes and plain arrays are copied by the extension module itself, which also calls msgspec and pickle for messages that
need no more than these. Each other kind of message has a codec: a module of this package with the attributes of
`Codec`, and an entry in `CODECS`.
"""

from typing import Any, Protocol

import numpy as np

from ..errors import Corrupt, UnsafeMessage
from . import multipart, pickled, record
from .dtypes import can_encode
from .multipart import Parts
from .plain import Plain, plain


class Codec(Protocol):
    """A kind of message, or a few that belong together.

    Attributes
    ----------
    KINDS
        The numbers of the kinds that this codec decodes: RIP_BYTES and so on in csrc/ringipc.h. A message's descriptor
        has one of them.
    TYPES
        The types of the objects that this codec encodes.
    """

    @property
    def KINDS(self) -> tuple[int, ...]: ...
    @property
    def TYPES(self) -> frozenset[type]: ...
    def encode(self, message: Any, /) -> Parts: ...
    def decode(self, kind: int, message: memoryview, copy: bool, tensors: bool, /) -> Any: ...


CODECS: tuple[Codec, ...] = (record, pickled)

_BY_KIND = {kind: codec for codec in CODECS for kind in codec.KINDS}
_BY_TYPE = {kind: codec for codec in CODECS for kind in codec.TYPES}


def encode(message: object, pickle: bool) -> Plain | Parts:
    """Return a message as what the extension module copies into the lane.

    Raises
    ------
    UnsafeMessage
        No codec encodes the message without loss.
    """
    codec = _BY_TYPE.get(type(message))
    if codec is not None and not pickle:
        return codec.encode(message)
    if pickle and type(message) is not memoryview:
        if type(message) is np.ndarray and can_encode(message.dtype):
            return message
        return pickled.encode(message)
    if isinstance(message, np.generic):
        return record.encode(message)
    return plain(message)


def decode(kind: int, message: memoryview, copy: bool, pickle: bool, tensors: bool = False) -> Any:
    """Return the message of a kind other than bytes and array. Its arrays are views of the message, or copies.

    Parameters
    ----------
    tensors
        Make torch tensors of the arrays in a record.

    Raises
    ------
    Corrupt
        The message is malformed.
    UnsafeMessage
        The message is a pickle, and pickle is False.
    """
    codec = _BY_KIND.get(kind)
    if codec is None:
        raise Corrupt(f"a message of unknown kind {kind}")
    if codec is pickled and not pickle:
        raise UnsafeMessage(
            "the message is a pickled object; open the consumer with pickle=True if you trust every producer, or the "
            "producer without"
        )
    return codec.decode(kind, message, copy, tensors)


def copy_of(message: object, pickle: bool) -> object:
    """Return what a producer can put later as it would put a message now, whatever happens to its objects meanwhile.

    Raises
    ------
    UnsafeMessage
        As for `encode`.
    """
    if type(message) is bytes:
        return message
    encoded = encode(message, pickle)
    if isinstance(encoded, Parts):
        return encoded if not encoded.blocks else Parts(encoded.kind, bytes(multipart.contents(encoded)), [])
    return encoded.tobytes() if isinstance(encoded, memoryview) else encoded.copy("A")
