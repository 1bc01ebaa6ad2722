"""Objects: whatever pickle takes, with the memory of its arrays beside it (protocol 5, PEP 574).

Only where both sides allow it: whoever can write a pickle can make its reader run any code.
"""

import pickle
from typing import Any

from . import parts
from ._core import OBJECT
from .errors import Corrupt, UnsafeMessage


def encode(value: object) -> parts.Parts:
    """An object as the producer takes it.

    Raises
    ------
    UnsafeMessage
        It cannot be pickled.
    """
    buffers: list[pickle.PickleBuffer] = []
    try:
        small = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise UnsafeMessage(f"a {type(value).__name__} that cannot be pickled: {error}") from error
    return parts.join(OBJECT, small, [buffer.raw() for buffer in buffers])


def decode(message: memoryview, copy: bool) -> Any:
    """The object that `encode` wrote. Its arrays are read-only views on message, or writable copies.

    Raises
    ------
    Corrupt
        It is not what `encode` writes. What else unpickling raises is raised as it is.
    """
    small, blocks = parts.split(message)
    try:
        return pickle.loads(small, buffers=[bytearray(block) for block in blocks] if copy else blocks)
    except pickle.UnpicklingError as error:
        raise Corrupt(f"an object that no producer wrote: {error}") from error
