"""The grammar of names: of channels and groups, services, semaphores, locks, events, barriers, latest values, arrays.

A name is one part of a path. "~user/name" is a channel, semaphore, ... that another user has made and shares. "fd:7" is
the anonymous channel of file descriptor 7. In the form for the C core a user is a uid: "~1000/name".
"""

import os
import pwd
import re

from . import _facts

REQUESTS = b".requests"  # the channel of requests of a service has the name of the service, and this
SERVERS = "servers"  # the group of the servers, in the channel of requests
_DESCRIPTOR = re.compile(r"fd:[0-9]{1,9}")


def checked_name(name: str, what: str = "channel") -> bytes:
    """Return a name in the form for the C core.

    Parameters
    ----------
    what
        "channel", "group", "semaphore", ... The name of a group may have any character but NUL.

    Raises
    ------
    TypeError, ValueError
        name is not a valid name.
    """
    if not isinstance(name, str):
        raise TypeError(f"the {what}'s name must be a str, not {name!r}")
    if what == "channel" and _DESCRIPTOR.fullmatch(name):
        return name.encode()
    owner, slash, rest = name.partition("/")
    if what != "group" and owner.startswith("~") and slash:
        return b"~%d/" % _uid(owner[1:], name) + _checked_part(rest, name, what)
    return _checked_part(name, name, what)


def _uid(user: str, name: str) -> int:
    try:
        return int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ValueError(f"{name!r}: there is no user {user!r}") from None


def _checked_part(part: str, name: str, what: str) -> bytes:
    core_name = os.fsencode(part)
    longest = _facts.MAX_GROUP_NAME if what == "group" else _facts.MAX_CHANNEL_NAME
    if not core_name or len(core_name) > longest or b"\0" in core_name:
        raise ValueError(
            f"the {what}'s name must have 1 to {longest} bytes and no NUL, not {name[:80]!r} ({len(core_name)} bytes)"
        )
    if what != "group" and (core_name.startswith((b".", b"~", b"fd:")) or b"/" in core_name):
        raise ValueError(
            f'the {what}\'s name {name!r} must not contain "/" or begin with ".", "~" or "fd:", except "~user/name" '
            '(shared by another user) and "fd:7" (the file descriptor of a channel); RINGIPC_DIR sets the directory'
        )
    return core_name


def path_of(core_name: bytes) -> str:
    """Return the path of the directory of a name, which is in the form for the C core."""
    owner, name = split_owner(core_name)
    return os.path.join(os.fsdecode(_facts.base()), f"ringipc-{owner}", name)


def split_owner(core_name: bytes) -> tuple[int, str]:
    """Return the uid of the owner, and the name in the owner's directory."""
    if core_name.startswith(b"~"):
        owner, _, name = core_name[1:].partition(b"/")
        return int(owner), os.fsdecode(name)
    return os.geteuid(), os.fsdecode(core_name)
