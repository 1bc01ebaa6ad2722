"""Everything of this user's that has a name: what is alive, what was left behind, and removing that."""

import errno
import os
from dataclasses import dataclass
from typing import Literal

from . import _sync
from . import channel as _channel
from . import errors as _errors
from ._core import directory
from ._core import tidy as _tidy_channel
from .look import Channel

Kind = Literal["channel", "semaphore", "lock", "event", "barrier", "damaged"]
_KINDS: dict[int, Kind] = {
    _sync.SEMAPHORE: "semaphore",
    _sync.LOCK: "lock",
    _sync.EVENT: "event",
    _sync.BARRIER: "barrier",
}


@dataclass(frozen=True, slots=True)
class Named:
    """Something that has a name.

    Attributes
    ----------
    name
        As given to `Producer`, `Semaphore` and the like.
    kind
        What it is; "damaged" when its files cannot be read, or are another version's.
    pids
        Of the processes that take part, or have it open, one entry for each handle. Empty: it was left behind, or its
        messages wait.
    waiting
        Messages that wait in a channel for some group, or for the first one to come.
    bytes
        That its files take.
    """

    name: str
    kind: Kind
    pids: list[int]
    waiting: int
    bytes: int


def _files(name: str, at: int) -> int:
    size = 0
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    except OSError:  # it has gone meanwhile, or is none of ours
        return 0
    try:
        for entry in os.listdir(fd):
            try:
                size += os.stat(entry, dir_fd=fd, follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
    finally:
        os.close(fd)
    return size


def _look(name: str, size: int) -> Named | None:
    code = os.fsencode(name)
    rc, kind, pids = _sync.look(code)
    if rc == 0:
        return Named(name, _KINDS.get(kind, "damaged"), pids, 0, size)
    if rc == -errno.ENOENT:
        return Named(name, "damaged", [], 0, size) if size == 0 else None
    if rc != -errno.EPROTOTYPE:
        return Named(name, "damaged", [], 0, size)
    try:
        channel = Channel(name)
        groups = channel.groups
        waiting = max((group.backlog for group in groups), default=sum(lane.backlog for lane in channel.lanes))
        return Named(name, "channel", channel.pids, waiting, size)
    except _errors.ChannelNotFound:
        return None
    except _errors.RingError:
        return Named(name, "damaged", [], 0, size)


def names() -> list[Named]:
    """What there is, sorted by name. It looks for the dead, but removes nothing.

    Raises
    ------
    SystemRefused
        The directory cannot be read.
    """
    _channel.check_base()
    at = directory()
    if at == -errno.ENOENT:
        return []
    if at < 0:
        raise _errors.SystemRefused(-at, f"the directory of all names: {os.strerror(-at)}")
    try:
        found = [_look(name, _files(name, at)) for name in sorted(os.listdir(at))]
    finally:
        os.close(at)
    return [named for named in found if named is not None]


def _remove_empty(name: str) -> bool:
    """A directory whose maker was killed before it made anything in it; who uses it just now makes it anew."""
    at = directory()
    if at < 0:
        return False
    try:
        os.rmdir(name, dir_fd=at)
    except OSError:  # it is not empty any more
        return False
    finally:
        os.close(at)
    return True


def tidy(named: Named, *, messages: bool = False) -> bool:
    """Removes something that was left behind: True, or False when it stays because it is alive, wanted, or damaged.

    Parameters
    ----------
    messages
        True: a channel goes even if messages wait in it, or a durable group is there.
    """
    code = os.fsencode(named.name)
    if named.kind == "damaged":
        return named.bytes == 0 and _remove_empty(named.name)
    rc = _tidy_channel(code) if named.kind == "channel" else _sync.tidy(code)
    if rc == 0 and messages and named.kind == "channel":
        try:
            Channel(named.name).remove()
        except _errors.ChannelBusy:
            return False
        except _errors.ChannelNotFound:
            return True
        return True
    return rc == 1
