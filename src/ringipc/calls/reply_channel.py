"""Where the replies of a client go: how the client makes the channel, and how a server finds it.

Beside a channel of requests with a name, the channel of replies has a name that is derived from it. Of an anonymous one
it is anonymous too, and a server opens it through the file descriptor that the client has of it, as it opens the pipe
of a pollfd. Both sides then belong to one user and one pid namespace.
"""

import contextlib
import logging
import os
import re
import stat
from collections.abc import Iterator

from .. import _core, _names
from ..channel import Channel

log = logging.getLogger("ringipc")

_TOKEN_BYTES = 8
_NAMED = re.compile(rf"replies-[0-9a-f]{{{2 * _TOKEN_BYTES}}}")
_PASSED = re.compile(r"fd:(\d{1,10}):(\d{1,10}):(\d{1,20})")  # pid, file descriptor, inode


def check_name(service: str) -> None:
    """Check that the name of a service leaves room for those of its channels of replies.

    Raises
    ------
    ValueError
        It is too long, is not a valid name, or is another user's.
    """
    if service.startswith("~"):
        raise ValueError(f"service {service!r}: servers and clients by name belong to one user; use a unix:// socket")
    _names.checked_name(_name(service, b"replies-" + b"0" * 2 * _TOKEN_BYTES))


def _name(service: str, token: bytes) -> str:
    return f"{service}.{token.decode()}"


def create(service: str | Channel) -> tuple[str | Channel, bytes]:
    """Return a new channel of replies, and the label that says where it is. A named one exists once it is joined."""
    if isinstance(service, str):
        token = b"replies-" + os.urandom(_TOKEN_BYTES).hex().encode()
        return _name(service, token), token
    channel = Channel.anonymous()
    return channel, label(channel)


def label(replies: Channel) -> bytes:
    """Return the label that says where an anonymous channel of replies is, while this process has it open."""
    fd = replies.fileno()
    return b"fd:%d:%d:%d" % (os.getpid(), fd, os.fstat(fd).st_ino)


def find(service: str | Channel, label: bytes) -> str | Channel | None:
    """Return the channel of replies that a label names; None if it is gone, or the label is not one of `create`."""
    text = label.decode(errors="replace")
    if isinstance(service, str):
        name = _name(service, label) if _NAMED.fullmatch(text) else ""
        return name if name and _core.inspect_channel(_names.checked_name(name))[0] == 0 else None
    match = _PASSED.fullmatch(text)
    if match is None:
        return None
    path = f"/proc/{match[1]}/fd/{match[2]}"
    try:
        there = os.stat(path)
        if there.st_ino != int(match[3]) or not stat.S_ISREG(there.st_mode):  # the number has been used again
            return None
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            log.warning("%r: a request of pid %s cannot be answered: %s", service, match[1], error)
        return None
    try:
        if os.fstat(fd).st_ino == int(match[3]):
            return Channel.from_fd(fd)
    finally:
        os.close(fd)
    return None


def remove_abandoned(service: str | Channel) -> None:
    """Remove the channels of replies of killed clients beside a named service, with all that waits in them."""
    if isinstance(service, str):
        for name in _names_beside(service):
            _core.remove(_names.checked_name(name))  # those in use stay


def _names_beside(service: str) -> Iterator[str]:
    at = _core.directory()
    if at < 0:
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(at):
                if name.startswith(f"{service}.") and _NAMED.fullmatch(name[len(service) + 1 :]):
                    yield name
    finally:
        os.close(at)
