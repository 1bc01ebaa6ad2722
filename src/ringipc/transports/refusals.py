"""Refusals of a connection: the text for the side that is refused, and the exception that it raises there."""

import errno
import os
from typing import NoReturn

from .. import errors
from .._failures import full_table
from .handshake import Hello, Welcome
from .remote_lane import LARGEST_REMOTE_LANE, MOST_REMOTE_SLOTS


def lane_refused(said: Hello | Welcome, rc: int) -> str:
    """Return what an error of `Link._make_lane` means."""
    what = f"a lane of {said.capacity} bytes and {said.slots} messages"
    if rc == -errno.EMSGSIZE:
        most = f"{LARGEST_REMOTE_LANE} bytes and {MOST_REMOTE_SLOTS} messages"
        return f"{what} is more than the {most} that one may have: make it smaller"
    return f"{what}: {refused(rc)}"


def refused(rc: int) -> str:
    """Return what an error of the channel means, where a connection was to get its lane or its member."""
    return full_table(-rc) or os.strerror(-rc)


def raise_refusal(url: str, welcome: Welcome) -> NoReturn:
    """Raise what a listener's refusal means."""
    text = f"{url}: {welcome.text}"
    match welcome.error:
        case errno.EBUSY:
            raise errors.GroupBusy(text)
        case errno.EEXIST | errno.EPROTO | errno.EMSGSIZE:
            raise errors.Incompatible(text)
        case errno.EXFULL | errno.ENOSR | errno.EUSERS:
            raise errors.TableFull(text)
    raise errors.SystemRefused(welcome.error, text, url)
