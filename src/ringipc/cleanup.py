"""Everything of this user's that has a name: what is alive, what was left behind, and removing that."""

import errno
import os
from dataclasses import dataclass
from typing import Literal

from . import _core, _failures, _shortage
from . import errors as _errors
from .channel import Channel

Kind = Literal["channel", "semaphore", "lock", "event", "barrier", "locked", "damaged"]
_REMEDY = "(--messages removes it)"
_KINDS: dict[int, Kind] = {number: kind for kind, number in _core.KINDS.items()}


@dataclass(frozen=True, slots=True)
class Named:
    """Something that has a name.

    Attributes
    ----------
    name
        As given to `Producer`, `Semaphore` and the like.
    kind
        What it is; "locked" when a process has had its tables locked for a second, so that no more can be said;
        "damaged" when its files cannot be read, are another version's, or are not all there.
    pids
        Of the processes that take part, or have it open, one entry for each handle; of what is locked, the one that has
        locked it, where that can be seen. Empty: it was left behind, or its messages or its end wait.
    waiting
        Messages that wait in a channel for some group, or for the first one to come.
    end_waits
        The end of a channel's stream waits, as in `Channel.end_waits`.
    bytes
        That its files take: not their length, as lanes get memory only as it is needed.
    """

    name: str
    kind: Kind
    pids: list[int]
    waiting: int
    end_waits: bool
    bytes: int


def _files(name: str, at: int) -> int:
    """Bytes that its files take; -1: it has gone meanwhile."""
    size = 0
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    except FileNotFoundError:
        return -1
    except OSError:  # it is none of ours
        return 0
    try:
        for entry in os.listdir(fd):
            try:
                size += os.stat(entry, dir_fd=fd, follow_symlinks=False).st_blocks * 512  # a lane is sparse
            except FileNotFoundError:
                continue
    finally:
        os.close(fd)
    return size


def _look(name: str, at: int) -> Named | None:
    code = os.fsencode(name)
    rc, kind, pids = _core.inspect_sync(code)
    size = _files(name, at)  # afterwards: what has no control file now, and is there, does not just come to its end
    if size < 0:
        return None
    if rc == 0 and kind in _KINDS:
        return Named(name, _KINDS[kind], pids, 0, False, size)
    if rc == -errno.EPROTOTYPE:
        try:
            channel = Channel.open(name)
            groups = channel.groups
            waiting = max((group.backlog for group in groups), default=sum(lane.backlog for lane in channel.lanes))
            return Named(name, "channel", channel.pids, waiting, channel.end_waits, size)
        except _errors.ChannelNotFound:
            return None
        except _errors.SystemRefused as error:
            rc = -(error.errno or 0)
        except _errors.RingError:
            pass
    if rc == -errno.EAGAIN:
        pid = _shortage.locked_by(code)
        return Named(name, "locked", [pid] if pid else [], 0, False, size)
    return Named(name, "damaged", _shortage.holders(code), 0, False, size)


def _why_kept(name: str) -> str:
    """Why a channel is kept that nobody had open; or who has come meanwhile."""
    try:
        channel = Channel.open(name)
        pids, groups, lanes, end_waits = channel.pids, channel.groups, channel.lanes, channel.end_waits
    except _errors.RingError as error:
        return str(error)
    if pids:
        return f"process {', '.join(map(str, pids))} has it open"
    for group in groups:
        if group.durable:
            return f"it has a durable group, {group.name!r}, for which {group.backlog} messages wait {_REMEDY}"
    for group in groups:  # declared: the others have gone with their members
        if group.backlog:
            return f"{group.backlog} messages wait for the group {group.name!r} {_REMEDY}"
    waiting = sum(lane.backlog for lane in lanes)
    if waiting:
        return f"{waiting} messages wait for a first consumer {_REMEDY}"
    if end_waits:
        whom = ", ".join(f"the group {group.name!r}" for group in groups) or "a first consumer"
        return f"the end of its stream waits for {whom} {_REMEDY}"
    return "somebody has had it open just now; try again"


def names() -> list[Named]:
    """What there is, sorted by name. It looks for the dead, but removes nothing.

    Raises
    ------
    SystemRefused
        The directory cannot be read.
    """
    _failures.check_base()
    at = _core.directory()
    if at == -errno.ENOENT:
        return []
    if at < 0:
        raise _errors.SystemRefused(-at, f"the directory of all names: {os.strerror(-at)}")
    try:
        found = [_look(name, at) for name in sorted(os.listdir(at))]
    finally:
        os.close(at)
    return [named for named in found if named is not None]


def tidy(named: Named, *, messages: bool = False) -> str | None:
    """Removes something that was left behind: None, or why it stays.

    Parameters
    ----------
    messages
        True: a channel goes even if messages wait in it, or a durable group is there, and so does another version's.
    """
    code = os.fsencode(named.name)
    rc = _core.clean_channel(code)
    if rc == -errno.EPROTOTYPE:
        rc = _core.clean_sync(code)
    elif messages and rc in (0, -errno.EPROTONOSUPPORT):
        rc, _ = _core.remove(code)
        rc = 1 if rc == 0 else rc
    if rc in (1, -errno.ENOENT):
        return None
    if rc == 0 and named.kind == "channel":
        return _why_kept(named.name)
    if rc in (0, -errno.EBUSY):
        return f"process {', '.join(map(str, _shortage.holders(code))) or 'that is not seen from here'} has it open"
    if rc == -errno.EPROTONOSUPPORT:
        return "another version of ringipc has made it, and may find messages in it (--messages)"
    return _failures.system_text(-rc, "it cannot be removed", code, _core.wanted())
