"""dtypes as bytes, and back."""

import json
import re
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .._core import copy_dtype, is_same_dtype
from ..errors import Corrupt, UnsafeMessage

_SIMPLE = re.compile(r"[<>|][biufcSUVmM]\d+(\[\w+\])?", re.ASCII)  # what dtype.str says of types without objects

PICKLE = "say pickle=True on both sides"  # the advice that always helps


class _Lost(Exception):
    """What of a dtype cannot be described, and which dtype would do instead, if one would."""


def _describe(dtype: np.dtype[Any]) -> Any:
    if dtype.metadata:
        raise _Lost(f"the metadata of dtype {dtype} would be lost", "a dtype without it")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_describe(base), list(shape)]
    if dtype.names is None:
        return dtype.str
    assert dtype.fields is not None
    fields = [dtype.fields[name] for name in dtype.names]
    titles = [field[2] if len(field) > 2 else None for field in fields]
    if not all(title is None or type(title) is str for title in titles):  # JSON would make something else of it
        raise _Lost(f"the titles of dtype {dtype} are not all str", "a dtype without them")
    if dtype.type is not np.void:
        raise _Lost(f"an array of {dtype.type.__name__!r} elements would come out as one of 'void'", "a plain dtype")
    return {
        "names": list(dtype.names),
        "formats": [_describe(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "titles": titles if any(titles) else None,
        "itemsize": dtype.itemsize,
        "align": dtype.isalignedstruct,
    }


@lru_cache(maxsize=1000)
def _simple(text: str) -> np.dtype[Any]:
    if not _SIMPLE.fullmatch(text):
        raise ValueError(f"no dtype without fields: {text!r}")
    return np.dtype(text)


def _build(description: Any) -> Any:
    match description:
        case str():
            return _simple(description)
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
            if titles is not None:
                fields["titles"] = titles
            return np.dtype(fields, align=align)
    raise ValueError("no description of a dtype")


@lru_cache(maxsize=1000)
def _read(code: bytes) -> np.dtype[Any]:
    text = code.decode()
    dtype: np.dtype[Any] = _build(json.loads(text) if text[:1] in ("{", "[") else text)
    return dtype


class Code(NamedTuple):
    """How a dtype is written.

    Attributes
    ----------
    dtype
        That was written, or a copy that nobody else has if it is structured: the fields of the other may be renamed.
    text
        Its `str` if it is simple ("<f4"), JSON with every field's offset if it is structured.
    """

    dtype: np.dtype[Any]
    text: bytes


_codes: dict[int, Code] = {}  # by the id of the dtype, or of its names, which its copies share; `Code` keeps both


def _write(dtype: np.dtype[Any]) -> bytes:
    if dtype.hasobject:
        raise _Lost(f"an array of dtype {dtype} holds Python objects")
    description = _describe(dtype)
    try:
        if isinstance(description, str):
            same = _simple(description)
            if type(same) is type(dtype) or same == dtype:
                return description.encode()
        else:
            text = json.dumps(description, separators=(",", ":")).encode()
            if _read(text) == dtype:
                return text
    except (ValueError, TypeError):
        pass  # there is no such dtype without its package
    raise _Lost(f"dtype {dtype} cannot be described to other processes", f"a plain dtype, such as 'V{dtype.itemsize}'")


def _advise(reserving: bool, reason: str, instead: str = "") -> str:
    if reserving:
        other = f"reserve an array of {instead}, or " if instead else ""
        return f"{reason}: {other}put an array of your own, with pickle=True on both sides"
    return f"{reason}: {f'put array.view() of {instead}, or ' if instead else ''}{PICKLE}"


def encode_dtype(dtype: np.dtype[Any], reserving: bool = False) -> Code:
    """How a dtype is written; reserving says what a refusal is to advise.

    Raises
    ------
    UnsafeMessage
        The dtype holds Python objects, or something that its description does not say (a user-defined dtype, metadata).
    """
    names = dtype.names
    key = id(dtype if names is None else names)
    code = _codes.get(key)
    if code is not None and is_same_dtype(dtype, code.dtype):
        return code
    try:
        text = _write(dtype)
    except RecursionError:
        raise UnsafeMessage(_advise(reserving, "the dtype of an array is nested too deeply")) from None
    except _Lost as lost:
        raise UnsafeMessage(_advise(reserving, *lost.args)) from None
    kept = copy_dtype(dtype)  # now, as it is not nested too deeply
    if _read(text) != kept:  # another thread has renamed fields meanwhile
        return encode_dtype(dtype, reserving)
    if len(_codes) >= 1000:
        _codes.clear()
    code = _codes[key] = Code(kept, text)
    return code


def can_encode(dtype: np.dtype[Any]) -> bool:
    """Whether `encode_dtype` takes it."""
    try:
        encode_dtype(dtype)
    except UnsafeMessage:
        return False
    return True


def decode_dtype(code: bytes) -> np.dtype[Any]:
    """The dtype that `encode_dtype` wrote; a new one if it has fields, as who gets it may rename them in place.

    Raises
    ------
    Corrupt
        It is none, or one that holds Python objects: then it did not come from `encode_dtype`.
    """
    try:
        dtype = _read(code)
    except (ValueError, TypeError, SyntaxError, KeyError, OverflowError) as error:
        raise Corrupt(f"no dtype in the header of an array: {code[:80]!r}") from error
    if dtype.hasobject or dtype.subdtype is not None:
        raise Corrupt(f"the header of an array claims the dtype {dtype}, which no producer sends")
    return copy_dtype(dtype)
