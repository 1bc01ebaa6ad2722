"""The exception for an error code of the core."""

import errno
import os
from typing import NoReturn

from . import _shortage, errors
from ._core import ABI, MAX_GROUPS, MAX_LANES, MAX_MEMBERS, base
from ._names import checked_name


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
    code: int, channel: object, detail: str = "", wanted: _shortage.Wanted = _shortage.NOTHING, remedy: str = ""
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
    path = None if named is None else _shortage.path_of(named)
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
                + (f", remove it (ringipc clean, or Channel.open({name!r}).remove(); it is {path})" if path else "")
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
                + (f"; if nobody needs what is in it, Channel.open({name!r}).remove()" if path else "")
            )
        case errno.EAGAIN:
            raise errors.SystemRefused(number, f"{what}: {_shortage.locked(named)}", name)
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
    number: int, what: str, code: bytes | None, wanted: _shortage.Wanted, detail: str = "", remedy: str = ""
) -> str:
    """What a `SystemRefused` says of something that has a name, or none."""
    text = f"{what}: {detail + ': ' if detail else ''}{os.strerror(number)}"
    why = _shortage.explain(number, code, wanted, remedy)
    if why:
        return f"{text}: {why}"
    return text if code is None else f"{text} ({_shortage.path_of(code)})"
