"""Why the system said no: how much was wanted, how much there is, where, and what to do about it."""

import errno
import os
import pwd
import resource
import stat
from pathlib import Path

from ._core import base, lock_holder

Wanted = tuple[int, int, bool]  # bytes needed (0: a file) and free, and were they for tables?
NOTHING: Wanted = (0, 0, False)


def path_of(code: bytes) -> str:
    """The directory of a name, as the core takes names: "~1000/name" is another user's."""
    owner, name = _split(code)
    return os.path.join(os.fsdecode(base()), f"ringipc-{owner}", name)


def _split(code: bytes) -> tuple[int, str]:
    if code.startswith(b"~"):
        owner, _, name = code[1:].partition(b"/")
        return int(owner), os.fsdecode(name)
    return os.geteuid(), os.fsdecode(code)


def explain(number: int, code: bytes | None, wanted: Wanted, remedy: str) -> str:
    """What is behind an errno, beside its own text; empty where there is no more to say.

    Parameters
    ----------
    code
        The name, as the core takes it. None: it has none, and lives in memory.
    wanted
        What could not be had.
    remedy
        What would need less, as part of a sentence; may be empty.
    """
    match number:
        case errno.ENOSPC if code is None:
            return _no_memory(*wanted[:2], remedy)
        case errno.ENOSPC:
            return _no_space(os.fsdecode(base()), *wanted[:2], remedy)
        case errno.EFBIG:
            return _file_too_large(wanted[0], remedy)
        case errno.EMFILE:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            return (
                f"this process may have {soft} descriptors open at once; close some, or raise the limit "
                f"(ulimit -n, RLIMIT_NOFILE; up to {_limit(hard)})"
            )
        case errno.ENFILE:
            return "all processes together may have no more open; see /proc/sys/fs/file-max"
        case errno.EPERM if code is not None:
            return _stranger(code)
        case errno.EOPNOTSUPP if code is not None:
            return (
                f"the file system of {os.fsdecode(base())} cannot make files without a name (O_TMPFILE); "
                "choose another directory with RINGIPC_DIR"
            )
        case errno.EAGAIN:
            return locked(code)
        case errno.ENOTEMPTY if code is not None:
            return f"files that are none of ringipc's are in {path_of(code)}; move or delete them first"
        case errno.ESTALE:
            return "its files were deleted while it was in use; close this handle, and make another"
    return ""


def _no_space(where: str, needed: int, free: int, remedy: str) -> str:
    remedies = [remedy] if remedy and needed else []
    if where.startswith("/dev/shm"):
        remedies.append("enlarge it (--shm-size of a container)")
    remedies.append("choose another directory with RINGIPC_DIR")
    if needed:
        return f"{needed} bytes are needed and {free} are free in {where}; {_either(remedies)}"
    return f"there can be no more files in {where}; remove some (ringipc clean), or {_either(remedies)}"


def _no_memory(needed: int, free: int, remedy: str) -> str:
    return f"{needed} bytes of memory are needed and {free} are available" + (f"; {remedy}" if remedy else "")


def _file_too_large(wanted: int, remedy: str) -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft == resource.RLIM_INFINITY:
        return f"a file of {wanted} bytes is more than the file system of {os.fsdecode(base())} takes"
    raised = "raise the limit (ulimit -f, RLIMIT_FSIZE)"
    return (
        f"a file of {wanted} bytes is needed, and this process may make them {soft} bytes long; "
        f"{_either([remedy, raised] if remedy else [raised])}"
    )


def _either(remedies: list[str]) -> str:
    return ", ".join(remedies[:-1]) + " or " + remedies[-1] if len(remedies) > 1 else remedies[0]


def _limit(value: int) -> str:
    return "any number" if value == resource.RLIM_INFINITY else str(value)


def _called(user: int) -> str:
    try:
        return f"user {user} ({pwd.getpwuid(user).pw_name})"
    except KeyError:
        return f"user {user}"


def _stranger(code: bytes) -> str:
    """Why something is not permitted: the first of the directories, and of the files, that are not the owner's."""
    owner, _ = _split(code)
    path = path_of(code)
    shared = -1
    for place in (os.path.dirname(path), path, *_entries(path)):
        try:
            status = os.lstat(place)
        except FileNotFoundError:
            continue
        if status.st_uid != owner and status.st_gid != shared:
            return f"{place} belongs to {_called(status.st_uid)} and not to {_called(owner)}, so it is not trusted"
        if place == path:
            if status.st_mode & stat.S_IWOTH:
                break
            shared = status.st_gid if status.st_mode & stat.S_IWGRP else -1
    return "is this process a member of the group of users that share_with= names?"


def _entries(path: str) -> list[str]:
    try:
        return [os.path.join(path, name) for name in sorted(os.listdir(path))]
    except OSError:
        return []


def locked_by(code: bytes) -> int:
    """The pid of the process that has the tables of a name locked; 0: none, or none that can be seen from here."""
    try:
        fd = os.open(os.path.join(path_of(code), "control"), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return 0
    try:
        return lock_holder(fd)
    finally:
        os.close(fd)


def locked(code: bytes | None) -> str:
    """What is to be said where the tables are locked, and stay so. code: as in `explain`."""
    pid = 0 if code is None else locked_by(code)
    return (
        f"{f'pid {pid}' if pid else 'another process'} has its tables locked and does not go on; it is stopped "
        "(SIGSTOP, a debugger, a paused container): let it go on, or end it"
    )


def holders(code: bytes) -> list[int]:
    """The processes that have the control file of a name open, as far as they can be seen from here."""
    try:
        wanted = os.stat(os.path.join(path_of(code), "control"), follow_symlinks=False)
    except OSError:
        return []
    pids = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found = link.stat()
        except OSError:  # it has gone, or is another user's
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            pids.add(int(link.parts[2]))
    return sorted(pids)
