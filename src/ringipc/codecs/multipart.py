"""The layout of a message of several parts: a small part that describes it, and blocks of memory.

::

    uint64 length of the small part, uint64 number of blocks, uint64 length of each block    little-endian
    the small part
    each block, at the next multiple of 64 bytes from the message's start
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import Corrupt

_ALIGN = 64
_COUNTS = struct.Struct("<QQ")

Block = np.ndarray[Any, np.dtype[Any]] | memoryview


class Parts(NamedTuple):
    """A message of several parts: its kind, the bytes before the first block, and the blocks.

    A block is an array or a memoryview. In the lane it is contiguous: in Fortran order if it was so before, else in C
    order.
    """

    kind: int
    head: bytes
    blocks: Sequence[Block]


def is_fortran(array: np.ndarray[Any, np.dtype[Any]]) -> bool:
    """Return whether an array is copied in Fortran order: the first index varies fastest."""
    return array.flags.f_contiguous and not array.flags.c_contiguous


def join(kind: int, small: bytes, blocks: Sequence[Block]) -> Parts:
    """Return the message of a small part and blocks. Nothing is copied here: `put` copies the blocks."""
    head = _COUNTS.pack(len(small), len(blocks))
    if blocks:
        head += struct.pack(f"<{len(blocks)}Q", *[block.nbytes for block in blocks])
    return Parts(kind, head + small, blocks)


def offsets(parts: Parts) -> tuple[list[int], int]:
    """Return where each block of a message starts, and the length of the message."""
    at = len(parts.head)
    begins = []
    for block in parts.blocks:
        at += -at % _ALIGN
        begins.append(at)
        at += block.nbytes
    return begins, at


def contents(parts: Parts) -> bytearray:
    """Return a message of several parts as it is in the lane."""
    begins, length = offsets(parts)
    message = bytearray(length)
    message[: len(parts.head)] = parts.head
    for begin, block in zip(begins, parts.blocks, strict=True):
        message[begin : begin + block.nbytes] = block.tobytes("A")
    return message


def split(message: memoryview) -> tuple[memoryview, list[memoryview]]:
    """Return the small part and the blocks of a message that `join` has made.

    Raises
    ------
    Corrupt
        The message is malformed.
    """
    if len(message) < _COUNTS.size:
        raise Corrupt(f"a message of {len(message)} bytes is too short for several parts")
    small, count = _COUNTS.unpack_from(message)
    at = _COUNTS.size + 8 * count
    if at > len(message) or small > len(message) - at:
        raise Corrupt(f"a message of {len(message)} bytes claims {count} blocks and {small} bytes that describe them")
    described = message[at : at + small]
    at += small
    blocks = []
    for size in struct.unpack_from(f"<{count}Q", message, _COUNTS.size) if count else ():
        at += -at % _ALIGN
        if size > len(message) - at:
            raise Corrupt(f"a message of {len(message)} bytes claims a block of {size} at {at}")
        blocks.append(message[at : at + size])
        at += size
    if at != len(message):
        raise Corrupt(f"a message of {len(message)} bytes has only {at} in its parts")
    return described, blocks
