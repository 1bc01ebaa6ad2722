"""Check and convert arguments of constructors: sizes, counts, permissions."""

import grp
import math
import operator
import re
from typing import Any, Literal

Wait = Literal["spin", "adaptive", "block"]

_UNITS = {"": 1, "b": 1} | {
    prefix + unit: base**power
    for power, prefix in enumerate("kmgt", start=1)
    for unit, base in (("b", 1000), ("ib", 1024))
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def size_in_bytes(size: int | str, what: str = "capacity") -> int:
    """Return a number of bytes, from an int or a text with a unit. what: the argument, in errors.

    >>> size_in_bytes("64 MiB"), size_in_bytes("1.5 kB"), size_in_bytes(4096)
    (67108864, 1500, 4096)
    """
    if isinstance(size, bool) or not isinstance(size, (int, str)):
        raise TypeError(f'{what} must be a number of bytes or text such as "64 MiB", not {size!r}')
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if not match or match[2].lower() not in _UNITS:
            raise ValueError(f'{what} must be a number of bytes or text such as "64 MiB" or "2 GB", not {size!r}')
        return size_in_bytes(math.ceil(float(match[1]) * _UNITS[match[2].lower()]), what)
    if not 1 <= size <= 1 << 46:
        raise ValueError(f"{what} must be from 1 byte to 64 TiB, not {size} bytes")
    return size


def checked_count(count: Any, what: str, things: str, least: int, most: int) -> int:
    """Return a count, from any integer except a bool. what and things name the argument and the unit in errors.

    >>> checked_count(4, "slots", "messages", 1, 8)
    4
    """
    text = f"{what} must be a number of {things} from {least} to {most}, not {count!r}"
    if isinstance(count, bool) or not hasattr(count, "__index__"):
        raise TypeError(text)
    if not least <= count <= most:
        raise ValueError(text)
    return operator.index(count)


def checked_choice(what: str, value: Any, table: dict[str, int]) -> int:
    """The number of one of several words in the C core.

    >>> checked_choice("wait", "block", {"spin": 0, "adaptive": 1, "block": 2})
    2
    """
    if not isinstance(value, str) or value not in table:
        *words, last = (f'"{word}"' for word in table)
        raise ValueError(f"{what} must be {', '.join(words)} or {last}, not {value!r}")
    return table[value]


def checked_bool(what: str, value: Any) -> bool:
    """A bool. Truthiness would make True of a text such as "no".

    >>> checked_bool("shared", True)
    True
    """
    if not isinstance(value, bool):
        raise TypeError(f"{what} must be True or False, not {value!r}")
    return value


def checked_callable(what: str, value: Any) -> Any:
    """A function, or another object that can be called.

    >>> checked_callable("handler", len)
    <built-in function len>
    """
    if not callable(value):
        raise TypeError(f"{what} must be a function, not {value!r}")
    return value


class Mode(int):
    """File permissions, displayed in octal."""

    def __repr__(self) -> str:
        return f"{self:#o}"


PRIVATE = Mode(0o600)


def access(mode: int, share_with: str | int | None) -> tuple[int, int]:
    """Return the file permissions, and the gid of the files (-1: that of this process)."""
    if share_with is not None and mode == PRIVATE:
        mode = 0o660
    if mode not in (0o600, 0o660, 0o666):
        raise ValueError(f"mode must be 0o600, 0o660 or 0o666, not {mode:#o}: every member writes to the files")
    if isinstance(share_with, bool):
        raise TypeError(f"share_with must be the name or gid of a group of users, not {share_with!r}")
    if share_with is None or isinstance(share_with, int):
        return mode, -1 if share_with is None else share_with
    try:
        return mode, grp.getgrnam(share_with).gr_gid
    except KeyError:
        raise ValueError(f"share_with: there is no group of users {share_with!r}") from None
