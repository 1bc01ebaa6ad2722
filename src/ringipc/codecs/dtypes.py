"""Descriptions of dtypes as bytes: those of NumPy, and of the package ml_dtypes (bfloat16, float8_e4m3fn, int4)."""

import json
import re
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from ..errors import Corrupt, UnsafeMessage

_SIMPLE = re.compile(r"[<>|][biufcSUVmM]\d+(\[\w+\])?", re.ASCII)  # dtype.str of plain dtypes without objects
_ML = "ml:"  # before the name of a type in ml_dtypes; short, so that most headers fit into a cache line

STANDS_FOR = "stands for"  # a key in the metadata of a stand-in
_STAND_INS = {
    name: np.dtype(f"V{size}", metadata={STANDS_FOR: name})
    for name, size in {
        "bfloat16": 2,
        "complex32": 4,
        "float8_e4m3fn": 1,
        "float8_e4m3fnuz": 1,
        "float8_e5m2": 1,
        "float8_e5m2fnuz": 1,
        "float8_e8m0fnu": 1,
    }.items()
}

Use = Literal["put", "reserve", "share"]  # of an array: put it, `Producer.reserve` it, or make a `SharedArray`

PICKLE = "say pickle=True on both sides"  # advice that always helps


class _Lost(Exception):
    """What of a dtype cannot be described, and which dtype to use instead, if there is one."""


def _describe(dtype: np.dtype[Any]) -> Any:
    if dtype.metadata:
        raise _Lost(f"the metadata of dtype {dtype} would be lost", "a dtype without it")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_describe(base), list(shape)]
    if dtype.type.__module__ == "ml_dtypes":
        return _ML + dtype.type.__name__
    if dtype.names is None:
        return dtype.str
    assert dtype.fields is not None
    fields = [dtype.fields[name] for name in dtype.names]
    titles = [field[2] if len(field) > 2 else None for field in fields]
    if not all(title is None or type(title) is str for title in titles):  # JSON would make something else of it
        raise _Lost(f"the titles of dtype {dtype} are not all str", "a dtype without them")
    if dtype.type is not np.void:
        raise _Lost(f"an array of {dtype.type.__name__!r} elements would be received as one of 'void'", "a plain dtype")
    return {
        "names": list(dtype.names),
        "formats": [_describe(field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "titles": titles if any(titles) else None,
        "itemsize": dtype.itemsize,
        "align": dtype.isalignedstruct,
    }


def stand_in(name: str) -> np.dtype[Any] | None:
    """Return the dtype that stands for one of ml_dtypes that torch has too; None if there is no such dtype.

    It is that of an array between a message and a tensor, where ml_dtypes need not be installed.
    """
    return _STAND_INS.get(name)


def _ml_dtype(name: str) -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ImportError:
        raise UnsafeMessage(
            f"the dtype {name[:40]} of an array is not one of NumPy's: the consumer needs the package ml_dtypes "
            '(pip install ml_dtypes), or the producer must put array.view() of an integer dtype, such as "u2"'
        ) from None
    kind = vars(ml_dtypes).get(name)
    if not (isinstance(kind, type) and issubclass(kind, np.generic)):
        raise UnsafeMessage(
            f"the dtype {name[:40]} of an array is not in the installed ml_dtypes {ml_dtypes.__version__}: install the "
            "producer's version"
        )
    return np.dtype(kind)


@lru_cache(maxsize=1000)
def _simple(text: str) -> np.dtype[Any]:
    if text.startswith(_ML):
        return _ml_dtype(text.removeprefix(_ML))
    if not _SIMPLE.fullmatch(text):
        raise ValueError(f"not a plain dtype: {text!r}")
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
    raise ValueError("not the description of a dtype")


@lru_cache(maxsize=1000)
def _read(code: bytes) -> np.dtype[Any]:
    text = code.decode()
    dtype: np.dtype[Any] = _build(json.loads(text) if text[:1] in ("{", "[") else text)
    return dtype


class Code(NamedTuple):
    """A dtype and its description.

    Attributes
    ----------
    dtype
        What is described; a private copy if it is structured, as the fields of the original can be renamed.
    text
        `dtype.str` if it is plain ("<f4"), "ml:" and its name if it is one of ml_dtypes ("ml:bfloat16"), JSON with the
        offset of each field if it is structured.
    """

    dtype: np.dtype[Any]
    text: bytes


_codes: dict[int, Code] = {}  # by id of the dtype, or of its names, which copies share; `Code` keeps both alive


def _write(dtype: np.dtype[Any]) -> bytes:
    if dtype.hasobject:
        raise _Lost(f"an array of dtype {dtype} holds Python objects")
    for name, standing_in in _STAND_INS.items():
        if dtype is standing_in:
            return f"{_ML}{name}".encode()
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
        pass  # a dtype that only its own package defines
    raise _Lost(f"dtype {dtype} cannot be described to other processes", f"a plain dtype, such as 'V{dtype.itemsize}'")


def _copy(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a deep copy of a structured dtype, whose fields can be renamed in place; any other dtype itself.

    The copy has the same tuples of names and the same plain dtypes: `_is_same` compares these by identity.
    """
    if dtype.base.names is None:
        return dtype
    if dtype.subdtype is not None:
        return np.dtype((_copy(dtype.base), dtype.shape))
    fields: dict[str, Any] = {}
    for name in dtype.names or ():
        field: Any = dtype.fields[name]  # type: ignore[index]  # it has names
        if field[0].base.names is not None:
            field = (_copy(field[0]), *field[1:])
        fields[name] = field
        if len(field) > 2 and isinstance(field[2], str):
            fields[field[2]] = field  # a field can be found by its title too
    copy = np.dtype(dtype.str, copy=True)
    state = (3, "|", None, dtype.names, fields, dtype.itemsize, dtype.alignment, dtype.flags)  # as in a pickle
    copy.__setstate__(state)  # type: ignore[attr-defined]
    return copy


def _is_same(dtype: np.dtype[Any], kept: np.dtype[Any]) -> bool:
    """Return whether dtype still equals kept, which `_copy` made. False may be wrong.

    NumPy's equality ignores metadata, alignment and the difference between equal units of time.
    """
    if dtype is kept:
        return True
    if (
        dtype.type is not kept.type
        or dtype.itemsize != kept.itemsize
        or dtype.flags != kept.flags
        or dtype.metadata is not None
    ):
        return False
    if dtype.subdtype is not None or kept.subdtype is not None:
        return dtype.shape == kept.shape and _is_same(dtype.base, kept.base)
    fields, kept_fields = dtype.fields, kept.fields
    if fields is None or kept_fields is None or dtype.names is not kept.names:
        return False
    for name in dtype.names or ():
        field, kept_field = fields[name], kept_fields[name]
        if field is not kept_field and (field[1:] != kept_field[1:] or not _is_same(field[0], kept_field[0])):
            return False
    return True


def _advise(use: Use, reason: str, instead: str = "") -> str:
    match use:
        case "put":
            return f"{reason}: {f'put array.view() of {instead}, or ' if instead else ''}{PICKLE}"
        case "reserve":
            other = f"reserve an array of {instead}, or " if instead else ""
            return f"{reason}: {other}put an array of your own, with pickle=True on both sides"
        case "share":
            return f"{reason}: share an array of {instead or 'another dtype'}"


def encode_dtype(dtype: np.dtype[Any], use: Use = "put") -> Code:
    """Return the description of a dtype.

    Parameters
    ----------
    use
        What the array is for; errors give advice for that.

    Raises
    ------
    UnsafeMessage
        The dtype holds Python objects, or something that cannot be described (a user-defined dtype, metadata).
    """
    names = dtype.names
    key = id(dtype if names is None else names)
    code = _codes.get(key)
    if code is not None and _is_same(dtype, code.dtype):
        return code
    try:
        text = _write(dtype)
    except RecursionError:
        raise UnsafeMessage(_advise(use, "the dtype of an array is nested too deeply")) from None
    except _Lost as lost:
        raise UnsafeMessage(_advise(use, *lost.args)) from None
    kept = _copy(dtype)  # after _write, which refuses what is nested too deeply
    if kept is not dtype and _read(text) != kept:  # another thread has just renamed fields
        return encode_dtype(dtype, use)
    if len(_codes) >= 1000:
        _codes.clear()
    code = _codes[key] = Code(kept, text)
    return code


def can_encode(dtype: np.dtype[Any]) -> bool:
    """Return whether `encode_dtype` accepts the dtype."""
    try:
        encode_dtype(dtype)
    except UnsafeMessage:
        return False
    return True


def decode_dtype(code: bytes, tensors: bool = False) -> np.dtype[Any]:
    """Return the dtype of a description: a new one if it is structured, because users can rename its fields in place.

    Parameters
    ----------
    tensors
        Return a stand-in for a dtype that torch has and NumPy lacks.

    Raises
    ------
    Corrupt
        The description is malformed, or of a dtype that `encode_dtype` refuses.
    UnsafeMessage
        The dtype is one of ml_dtypes, which is not installed, or in a version without it.
    """
    try:
        if tensors and code.startswith(_ML.encode()):
            standing_in = stand_in(code.decode().removeprefix(_ML))
            if standing_in is not None:
                return standing_in
        dtype = _read(code)
    except UnsafeMessage:
        raise
    except (ValueError, TypeError, SyntaxError, KeyError, OverflowError) as error:
        raise Corrupt(f"malformed dtype in the header of an array: {code[:80]!r}") from error
    if dtype.hasobject or dtype.subdtype is not None:
        raise Corrupt(f"the header of an array has the dtype {dtype}, which no producer sends")
    return _copy(dtype)
