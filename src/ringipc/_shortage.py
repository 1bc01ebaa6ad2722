"""Explains why the operating system refused a call: what was needed, what is available and where, and what to do."""

import errno
import os
import pwd
import resource
import stat
from pathlib import Path

from . import _facts
from ._names import path_of, split_owner

Shortage = tuple[int, int, bool]  # bytes needed (0: a file), bytes free, whether they were for the tables
NOTHING: Shortage = (0, 0, False)


def _base() -> str:
    return os.fsdecode(_facts.base())


def explain(number: int, core_name: bytes | None, shortage: Shortage, remedy: str) -> str:
    """Return the reason for an errno, to follow its standard text; empty if no more is known.

    Parameters
    ----------
    core_name
        The name in the form for the C core. None: anonymous, in memory.
    shortage
        What did not fit.
    remedy
        How to need less space, as a part of a sentence; may be empty.
    """
    match number:
        case errno.ENOSPC if core_name is None:
            return _no_memory(*shortage[:2], remedy)
        case errno.ENOMEM if shortage[0]:
            return _no_memory(*shortage[:2], remedy)
        case errno.ENOSPC:
            return _no_space(_base(), *shortage[:2], remedy)
        case errno.EFBIG:
            return _file_too_large(shortage[0], remedy)
        case errno.EMFILE:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            return (
                f"this process may have {soft} file descriptors open; close some, or raise the limit "
                f"(ulimit -n, RLIMIT_NOFILE; up to {_limit(hard)})"
            )
        case errno.ENFILE:
            return "the system has its maximum of open files; see /proc/sys/fs/file-max"
        case errno.EPERM if core_name is not None:
            return _stranger(core_name)
        case errno.EOPNOTSUPP if core_name is not None:
            return f"the file system of {_base()} does not support O_TMPFILE; choose another directory with RINGIPC_DIR"
        case errno.EAGAIN:
            return locked(core_name)
        case errno.ENOTEMPTY if core_name is not None:
            return f"{path_of(core_name)} has files that do not belong to ringipc; move or delete them first"
        case errno.ESTALE:
            return "its files were deleted while it was in use; close this handle and open another one"
    return ""


def _no_space(where: str, needed: int, free: int, remedy: str) -> str:
    remedies = [remedy] if remedy and needed else []
    if where.startswith("/dev/shm"):
        remedies.append("enlarge it (--shm-size of a container)")
    remedies.append("choose another directory with RINGIPC_DIR")
    if needed:
        return f"{needed} bytes are needed and {free} are free in {where}; {_either(remedies)}"
    return f"{where} has its maximum of files; remove some (ringipc clean), or {_either(remedies)}"


def _no_memory(needed: int, free: int, remedy: str) -> str:
    return f"{needed} bytes of memory are needed and {free} are available" + (f"; {remedy}" if remedy else "")


def _file_too_large(needed: int, remedy: str) -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft == resource.RLIM_INFINITY:
        return f"a file of {needed} bytes is longer than the file system of {_base()} allows"
    raised = "raise the limit (ulimit -f, RLIMIT_FSIZE)"
    return (
        f"a file of {needed} bytes is needed, but this process may only create files of {soft} bytes; "
        f"{_either([remedy, raised] if remedy else [raised])}"
    )


def _either(remedies: list[str]) -> str:
    return ", ".join(remedies[:-1]) + " or " + remedies[-1] if len(remedies) > 1 else remedies[0]


def _limit(value: int) -> str:
    return "any number" if value == resource.RLIM_INFINITY else str(value)


def _user(user: int) -> str:
    try:
        return f"user {user} ({pwd.getpwuid(user).pw_name})"
    except KeyError:
        return f"user {user}"


def _stranger(core_name: bytes) -> str:
    """Return why a call is not permitted: the first directory or file that does not belong to the owner."""
    owner, _ = split_owner(core_name)
    path = path_of(core_name)
    shared = -1
    for entry in (os.path.dirname(path), path, *_entries(path)):
        try:
            status = os.lstat(entry)
        except FileNotFoundError:
            continue
        if status.st_uid != owner and status.st_gid != shared:
            return f"{entry} belongs to {_user(status.st_uid)} and not to {_user(owner)}, so it is not trusted"
        if entry == path:
            if status.st_mode & stat.S_IWOTH:
                break
            shared = status.st_gid if status.st_mode & stat.S_IWGRP else -1
    return "is this process a member of the group of users that share_with= names?"


def _entries(path: str) -> list[str]:
    try:
        return [os.path.join(path, name) for name in sorted(os.listdir(path))]
    except OSError:
        return []


def locked_by(core_name: bytes) -> int:
    """Return the pid of the process that has locked the tables of a name; 0 if there is none or it is not visible."""
    try:
        fd = os.open(os.path.join(path_of(core_name), "control"), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return 0
    try:
        return _facts.lock_holder(fd)
    finally:
        os.close(fd)


def locked(core_name: bytes | None) -> str:
    """Return the text for tables that stay locked. `core_name` is as in `explain`."""
    pid = 0 if core_name is None else locked_by(core_name)
    return (
        f"{f'pid {pid}' if pid else 'another process'} has locked its tables and does not run; it is stopped "
        "(SIGSTOP, a debugger, a paused container): continue or kill it"
    )


def holders(core_name: bytes) -> list[int]:
    """Return the pids of the processes that have the control file of a name open, as far as they are visible."""
    try:
        control = os.stat(os.path.join(path_of(core_name), "control"), follow_symlinks=False)
    except OSError:
        return []
    pids = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found = link.stat()
        except OSError:  # the process has ended, or belongs to another user
            continue
        if (found.st_dev, found.st_ino) == (control.st_dev, control.st_ino):
            pids.add(int(link.parts[2]))
    return sorted(pids)
