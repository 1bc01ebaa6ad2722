"""Everything of this user that has a name: listing it, and removing what was left behind."""

import errno
import os
from dataclasses import dataclass
from typing import Literal

from . import _core, _failures, _shortage
from . import errors as _errors
from .channel import Channel

Kind = Literal["channel", "semaphore", "lock", "event", "barrier", "latest value", "shared array", "locked", "damaged"]
_REMEDY = "(--messages removes it)"
_KINDS: dict[int, Kind] = {number: kind for kind, number in _core.KINDS.items()}


@dataclass(frozen=True, slots=True)
class Named:
    """A channel, semaphore, lock, event, barrier, latest value or shared array with a name.

    Attributes
    ----------
    name
        As given to `Producer`, `Semaphore` and so on.
    kind
        "locked" if a process has had its tables locked for a second, so that it cannot be read. "damaged" if its files
        are malformed, incomplete, or of another version.
    pids
        Of the processes that have it open, one entry for each handle; of a latest value or shared array one for each
        process. If it is locked: of the process that has locked it, if that is visible. Empty: it was left behind, or
        keeps messages or the end of a stream.
    backlog
        Number of messages in a channel that wait for some group, or for the first group.
    end_waits
        As `Channel.end_waits`.
    bytes
        Size of its files on disk or in memory. Their lengths are greater, as memory for lanes is allocated on demand.
    """

    name: str
    kind: Kind
    pids: list[int]
    backlog: int
    end_waits: bool
    bytes: int


def _files(name: str, at: int) -> int:
    """Return the size of the files of a name in bytes; -1: it has been removed."""
    size = 0
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    except FileNotFoundError:
        return -1
    except OSError:  # not a directory of ringipc
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
    core_name = os.fsencode(name)
    rc, kind, pids = _core.inspect_sync(core_name)
    size = _files(name, at)  # after inspect_sync: then what exists without a control file is not being removed
    if size < 0:
        return None
    if rc == 0 and kind in _KINDS:
        if _KINDS[kind] in ("latest value", "shared array"):  # readers have no entry
            pids = _shortage.holders(core_name)
        return Named(name, _KINDS[kind], pids, 0, False, size)
    if rc == -errno.EPROTOTYPE:
        try:
            channel = Channel.open(name)
            groups = channel.groups
            backlog = max((group.backlog for group in groups), default=sum(lane.backlog for lane in channel.lanes))
            return Named(name, "channel", channel.pids, backlog, channel.end_waits, size)
        except _errors.ChannelNotFound:
            return None
        except _errors.SystemRefused as error:
            rc = -(error.errno or 0)
        except _errors.RingError:
            pass
    if rc == -errno.EAGAIN:
        pid = _shortage.locked_by(core_name)
        return Named(name, "locked", [pid] if pid else [], 0, False, size)
    return Named(name, "damaged", _shortage.holders(core_name), 0, False, size)


def _why_kept(name: str) -> str:
    """Return why a channel without members is kept, or which process has opened it meanwhile."""
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
    for group in groups:  # declared: other groups end with their members
        if group.backlog:
            return f"{group.backlog} messages wait for the group {group.name!r} {_REMEDY}"
    waiting = sum(lane.backlog for lane in lanes)
    if waiting:
        return f"{waiting} messages wait for a consumer {_REMEDY}"
    if end_waits:
        whom = ", ".join(f"the group {group.name!r}" for group in groups) or "a first consumer"
        return f"the end of its stream waits for {whom} {_REMEDY}"
    return "it was open just now; try again"


def names() -> list[Named]:
    """Return everything that has a name, sorted by name. Nothing is removed.

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
        raise _errors.SystemRefused(-at, f"the directory of names cannot be read: {os.strerror(-at)}")
    try:
        found = [_look(name, at) for name in sorted(os.listdir(at))]
    finally:
        os.close(at)
    return [named for named in found if named is not None]


def remove(named: Named, *, messages: bool = False) -> str | None:
    """Remove something that was left behind.

    Parameters
    ----------
    messages
        Remove a channel even if it keeps messages or a durable group, or is of another version.

    Returns
    -------
    str or None
        Why it has not been removed; None: it has been.
    """
    core_name = os.fsencode(named.name)
    rc = _core.clean_channel(core_name)
    if rc == -errno.EPROTOTYPE:
        rc = _core.clean_sync(core_name)
    elif messages and rc in (0, -errno.EPROTONOSUPPORT):
        rc, _ = _core.remove(core_name)
        rc = 1 if rc == 0 else rc
    if rc in (1, -errno.ENOENT):
        return None
    if rc == 0 and named.kind == "channel":
        return _why_kept(named.name)
    if rc in (0, -errno.EBUSY):
        pids = ", ".join(map(str, _shortage.holders(core_name)))
        return f"process {pids or 'that is not visible from here'} has it open"
    if rc == -errno.EPROTONOSUPPORT:
        return "another version of ringipc created it, and it may keep messages (--messages)"
    return _failures.system_text(-rc, "it cannot be removed", core_name, _core.last_shortage())
