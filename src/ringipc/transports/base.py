"""What every link of a handle has: a channel, a pump that moves messages between it and connections, and an end."""

import contextlib
import errno
import os
import threading
from collections.abc import Callable

from .. import errors
from .._pump import BasePump
from ..look import Channel, code_of
from .handshake import Hello, Welcome, boot_id
from .url import Url

LINGER = 30.0  # seconds without progress after which a producer that closes gives up what nobody has taken
_LARGEST = 1 << 30  # bytes of memory for the lane of another process
_MOST_SLOTS = 1 << 20


def lane_refused(said: Hello | Welcome, code: int) -> str:
    """What an error of `_make_lane` means."""
    what = f"a lane of {said.capacity} bytes and {said.slots} messages"
    if code == -errno.EMSGSIZE:
        return f"{what} is more than the {_LARGEST} bytes and {_MOST_SLOTS} messages that one may have: make it smaller"
    return f"{what}: {os.strerror(-code)}"


class BaseLink:
    """What joins a handle's channel to other processes.

    Attributes
    ----------
    url
        Where; with the port that was found.
    transport
        The way that was chosen, as in `stats`.
    failure
        Why nobody will come any more, once that is so.
    failed
        Called with it.
    """

    def __init__(self, url: Url, channel: Channel, *, spin: bool) -> None:
        self.url = str(url)
        self.transport: str = url.scheme
        self.channel = channel
        self.failure: errors.RingError | None = None
        self.failed: Callable[[errors.RingError], object] = lambda error: None
        self.pump = BasePump(spin)
        self._where = url
        self._pid = os.getpid()
        self._closed = False

    def begin(self) -> None:
        """Listens, connects, or opens."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Without ceremony: connections that are still there break off."""
        raise NotImplementedError

    def forget(self) -> None:
        """For a finalizer, which may run in any thread and under any lock."""
        with contextlib.suppress(RuntimeError):  # no threads any more: then the process ends
            threading.Thread(target=self.abandon, name=f"ringipc {self.url}", daemon=True).start()

    def _make_lane(self, said: Hello | Welcome, *, two_way: bool, prompt: bool) -> int:
        """For what the producer who has said so will send: the lane's id in the pump, or a negative errno.

        What it claims is checked before memory is allocated.
        """
        if not 0 < said.capacity <= _LARGEST or not 0 < said.slots <= _MOST_SLOTS:
            return -errno.EMSGSIZE
        stamped = said.boot == boot_id()
        return self.pump.lane(code_of(self.channel), said.capacity, said.slots, said.pid, stamped, two_way, prompt)

    def _fail(self, error: errors.RingError) -> None:
        """Nobody will come any more."""
        self.failure = error.with_traceback(None)  # whose frames would keep what they hold
        self.failed(error)
