"""What a message is made of: dtypes as bytes and back, and what `put` makes of things that are no plain arrays."""

import json
import re
from functools import lru_cache
from typing import Any

import numpy as np

from .errors import Corrupt, UnsafeMessage

_SIMPLE = re.compile(r"[<>|][biufcSUVmM]\d+(\[\w+\])?", re.ASCII)  # what dtype.str says of types without objects

Plain = np.ndarray[Any, np.dtype[Any]] | memoryview


def _describe(dtype: np.dtype[Any]) -> Any:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_describe(base), list(shape)]
    if dtype.names is None:
        return dtype.str
    assert dtype.fields is not None
    fields = [dtype.fields[name] for name in dtype.names]
    return {
        "names": list(dtype.names),
        "formats": [_describe(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "titles": [field[2] if len(field) > 2 else None for field in fields],
        "itemsize": dtype.itemsize,
        "align": dtype.isalignedstruct,
    }


def _build(description: Any) -> Any:
    match description:
        case str() if _SIMPLE.fullmatch(description):
            return np.dtype(description)
        case [base, list(shape)]:
            return np.dtype((_build(base), tuple(shape)))
        case {
            "names": names,
            "formats": formats,
            "offsets": offsets,
            "titles": titles,
            "itemsize": size,
            "align": align,
        }:
            fields: Any = {
                "names": names,
                "formats": [_build(f) for f in formats],
                "offsets": offsets,
                "itemsize": size,
            }
            if any(title is not None for title in titles):
                fields["titles"] = titles
            return np.dtype(fields, align=align)
    raise ValueError("no description of a dtype")


@lru_cache(maxsize=1000)
def encode_dtype(dtype: np.dtype[Any]) -> bytes:
    """A dtype as bytes: its `str` if it is simple ("<f4"), JSON with every field's offset if it is structured.

    Raises
    ------
    UnsafeMessage
        The dtype holds Python objects, or means something that its description does not say (a user-defined dtype).
    """
    if dtype.hasobject:
        raise UnsafeMessage(f"an array of dtype {dtype} holds Python objects, which other processes cannot read")
    description = _describe(dtype)
    code = (description if isinstance(description, str) else json.dumps(description, separators=(",", ":"))).encode()
    if dtype.metadata is None and decode_dtype(code) != dtype:
        raise UnsafeMessage(f"dtype {dtype} cannot be described to other processes: put array.view() of a plain dtype")
    return code


@lru_cache(maxsize=1000)
def decode_dtype(code: bytes) -> np.dtype[Any]:
    """The dtype that `encode_dtype` wrote.

    Raises
    ------
    Corrupt
        It is none, or one that holds Python objects: then it did not come from `encode_dtype`.
    """
    try:
        text = code.decode()
        dtype: np.dtype[Any] = _build(json.loads(text) if text[:1] in ("{", "[") else text)
    except (ValueError, TypeError, SyntaxError, KeyError, RecursionError, OverflowError) as error:
        raise Corrupt(f"no dtype in the header of an array: {code[:80]!r}") from error
    if dtype.hasobject or dtype.subdtype is not None:
        raise Corrupt(f"the header of an array claims the dtype {dtype}, which no producer sends")
    return dtype


def _from_dlpack(tensor: Any) -> np.ndarray[Any, np.dtype[Any]]:
    try:
        return np.from_dlpack(tensor)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        kind = type(tensor).__name__
        raise UnsafeMessage(f"a {kind} that DLPack does not make an array in CPU memory of: {error}") from error


def plain(message: object) -> Plain:
    """An ndarray, or a memoryview of bytes, that holds the whole of message.

    Raises
    ------
    UnsafeMessage
        message is no array, has neither DLPack nor a buffer, or something of it would be lost on the way.
    """
    if isinstance(message, np.ma.MaskedArray):
        raise UnsafeMessage("the mask of a masked array would be lost: put its .filled(), or .data and .mask")
    if isinstance(message, (np.ndarray, np.generic)):
        array = np.asarray(message)
        encode_dtype(array.dtype)  # raises where it cannot
        return array
    if hasattr(message, "__dlpack__"):  # before its buffer, if it has one too: that says nothing about the shape
        return _from_dlpack(message)
    try:
        view = memoryview(message)  # type: ignore[arg-type]  # whatever has a buffer
    except TypeError:
        kind = type(message).__name__
        raise UnsafeMessage(
            f"a {kind} is neither bytes-like, nor an array, nor a record, and cannot cross without pickle=True"
        ) from None
    if "O" in view.format or "&" in view.format or "P" in view.format:
        raise UnsafeMessage(f"a buffer of format {view.format!r} holds pointers, which mean nothing in other processes")
    return view
