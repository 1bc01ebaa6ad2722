"""The grammar of names: of channels, groups, semaphores, locks, events and barriers."""

import os
import pwd
import re

from ._core import MAX_CHANNEL_NAME, MAX_GROUP_NAME

_DESCRIPTOR = re.compile(r"fd:[0-9]{1,9}")


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
