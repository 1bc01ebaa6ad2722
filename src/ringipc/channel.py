"""What names and sizes may be, and what an error code of the core means for a channel."""

import errno
import grp
import math
import operator
import os
import pwd
import re
from typing import Any, NoReturn

from . import errors, shortage
from ._core import ABI, MAX_CHANNEL_NAME, MAX_GROUP_NAME, MAX_GROUPS, MAX_LANES, MAX_MEMBERS, base

_UNITS = {"": 1, "b": 1} | {
    prefix + unit: base**power
    for power, prefix in enumerate("kmgt", start=1)
    for unit, base in (("b", 1000), ("ib", 1024))
}
_DESCRIPTOR = re.compile(r"fd:[0-9]{1,9}")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def size_in_bytes(size: int | str) -> int:
    """A number of bytes, from an int or from text with a unit.

    >>> size_in_bytes("64 MiB"), size_in_bytes("1.5 kB"), size_in_bytes(4096)
    (67108864, 1500, 4096)
    """
    if isinstance(size, bool) or not isinstance(size, (int, str)):
        raise TypeError(f'capacity must be a number of bytes or text such as "64 MiB", not {size!r}')
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if not match or match[2].lower() not in _UNITS:
            raise ValueError(f'capacity must be a number of bytes or text such as "64 MiB" or "2 GB", not {size!r}')
        return size_in_bytes(math.ceil(float(match[1]) * _UNITS[match[2].lower()]))
    if not 1 <= size <= 1 << 46:
        raise ValueError(f"capacity must be from 1 byte to 64 TiB, not {size} bytes")
    return size


def checked_count(count: Any, what: str, things: str, least: int, most: int) -> int:
    """A number of things, which what says, as a user gives it: any integer that is no bool.

    >>> checked_count(4, "slots", "messages", 1, 8)
    4
    """
    text = f"{what} must be a number of {things} from {least} to {most}, not {count!r}"
    if isinstance(count, bool) or not hasattr(count, "__index__"):
        raise TypeError(text)
    if not least <= count <= most:
        raise ValueError(text)
    return operator.index(count)


def checked_name(name: str, what: str = "channel") -> bytes:
    """A name as the core takes it: one part of a path, "~user/name", "fd:7" of a channel; a group's may be anything."""
    if not isinstance(name, str):
        raise TypeError(f"the {what}'s name must be a str, not {name!r}")
    if what == "channel" and _DESCRIPTOR.fullmatch(name):
        return name.encode()
    owner, slash, rest = name.partition("/")
    if what != "group" and owner.startswith("~") and slash:
        return b"~%d/" % _user(owner[1:], name) + _plain_name(rest, name, what)
    return _plain_name(name, name, what)


def _user(user: str, name: str) -> int:
    try:
        return int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ValueError(f"{name!r}: there is no user {user!r}") from None


def _plain_name(part: str, name: str, what: str) -> bytes:
    code = os.fsencode(part)
    most = MAX_GROUP_NAME if what == "group" else MAX_CHANNEL_NAME
    if not code or len(code) > most or b"\0" in code:
        raise ValueError(
            f"the {what}'s name must have 1 to {most} bytes and no NUL, not {name[:80]!r} ({len(code)} bytes)"
        )
    if what != "group" and (code.startswith((b".", b"~", b"fd:")) or b"/" in code):
        raise ValueError(
            f'the {what}\'s name {name!r} must have no "/" and no leading ".", "~" or "fd:", but in "~user/name" (what '
            'another user shares) and "fd:7" (a channel\'s descriptor); RINGIPC_DIR chooses the directory'
        )
    return code


class Mode(int):
    """Permissions of files, shown in octal."""

    def __repr__(self) -> str:
        return f"{self:#o}"


PRIVATE = Mode(0o600)


def access(mode: int, share_with: str | int | None) -> tuple[int, int]:
    """The permissions of files, and the group of users that they are for (-1: this process's)."""
    if share_with is not None and mode == PRIVATE:
        mode = 0o660
    if mode not in (0o600, 0o660, 0o666):
        raise ValueError(f"mode must be 0o600, 0o660 or 0o666, not {mode:#o}: whoever takes part writes to the files")
    if isinstance(share_with, bool):
        raise TypeError(f"share_with must be the name or the number of a group of users, not {share_with!r}")
    if share_with is None or isinstance(share_with, int):
        return mode, -1 if share_with is None else share_with
    try:
        return mode, grp.getgrnam(share_with).gr_gid
    except KeyError:
        raise ValueError(f"share_with: there is no group of users {share_with!r}") from None


def check_base() -> None:
    """The directory that RINGIPC_DIR names must be there; without it nobody could ever make a channel."""
    where = os.fsdecode(base())
    if not os.path.isdir(where):
        named = "RINGIPC_DIR" if os.environ.get("RINGIPC_DIR") else "TMPDIR"
        raise errors.SystemRefused(errno.ENOTDIR, f"{named} names no directory", where)


def named(error: errors.RingError, channel: object) -> errors.RingError:
    """The same error, of what knows nothing of channels; its text now begins with this one."""
    error.args = (f"channel {channel!r}: {error}",)
    return error


FULL_TABLES = {
    errno.EXFULL: f"it has {MAX_LANES} lanes, the most that a channel takes; close producers, and let every group read "
    "what those that have closed or died left (once nobody takes part, ringipc clean --messages removes that)",
    errno.ENOSR: f"it has {MAX_GROUPS} groups, the most that a channel takes; close consumers, or end a durable or a "
    "declared group (remove_group)",
    errno.EUSERS: f"it has {MAX_MEMBERS} members, producers and consumers together, the most that a channel takes; "
    "close some",
}  # of a channel; to be followed by what else can be done


def fail(
    code: int, channel: object, detail: str = "", wanted: shortage.Wanted = shortage.NOTHING, remedy: str = ""
) -> NoReturn:
    """Raises what a negative errno of the core means for this channel, which is a name or a `Channel`.

    Parameters
    ----------
    detail
        What it is about: which handle is closed, what is damaged, or for what there was no room.
    wanted
        What there was no room for.
    remedy
        What would need less room, as part of a sentence.
    """
    number = -code
    name = str(channel)
    what = f"channel {channel!r}"
    named = _code_of(channel)
    path = None if named is None else shortage.path_of(named)
    match number:
        case errno.ESHUTDOWN:
            raise errors.Closed(f"{what}: this {detail or 'handle'} is closed")
        case errno.ECHILD:
            raise errors.Closed(
                f"{what}: this {detail or 'handle'} belongs to the parent process; make another after the fork"
            )
        case errno.ENOENT:
            raise errors.ChannelNotFound(number, "no producer has made this channel yet", name)
        case errno.EBADMSG:
            raise errors.Corrupt(
                f"{what}: {detail or 'its files'} cannot be what a producer wrote; close what has it open"
                + (f", remove it (ringipc clean, or ringipc.open({name!r}).remove(); it is {path})" if path else "")
                + ", and start anew"
            )
        case errno.EPROTOTYPE:
            raise errors.Incompatible(
                f"{what}: the name is a semaphore's, a lock's, an event's or a barrier's; choose another"
            )
        case errno.EPROTONOSUPPORT:
            raise errors.Incompatible(
                f"{what} was made by a ringipc with another layout in memory (this one has version {ABI}); "
                "use one version on both sides, or another channel"
                + (f"; if nobody needs what is in it, ringipc.open({name!r}).remove()" if path else "")
            )
        case errno.EAGAIN:
            raise errors.SystemRefused(number, f"{what}: {shortage.locked(named)}", name)
        case errno.EXFULL | errno.ENOSR | errno.EUSERS:
            raise errors.TableFull(f"{what} is full: {FULL_TABLES[number]}, or use another channel")
    if number in (errno.ENOSPC, errno.EFBIG) and wanted[2]:
        detail, remedy = "its tables", ""
    raise errors.SystemRefused(number, system_text(number, what, named, wanted, detail, remedy), name)


def _code_of(channel: object) -> bytes | None:
    """Of a channel that has a name: as the core takes it."""
    if not isinstance(channel, str) or channel.startswith(("fd:", "pipe:")):
        return None
    try:
        return checked_name(channel.removeprefix("shm://"))
    except ValueError:  # a URL of another kind
        return None


def system_text(
    number: int, what: str, code: bytes | None, wanted: shortage.Wanted, detail: str = "", remedy: str = ""
) -> str:
    """What a `SystemRefused` says of something that has a name, or none."""
    text = f"{what}: {detail + ': ' if detail else ''}{os.strerror(number)}"
    why = shortage.explain(number, code, wanted, remedy)
    if why:
        return f"{text}: {why}"
    return text if code is None else f"{text} ({shortage.path_of(code)})"
