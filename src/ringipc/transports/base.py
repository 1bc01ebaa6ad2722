"""What every link of a handle has: a channel, a pump that moves messages between it and connections, and an end."""

import contextlib
import errno
import logging
import math
import os
import threading
import time
from collections.abc import Callable

from .. import _atexit, errors
from .._core import BasePump
from .._failures import FULL_TABLES
from ..channel import Channel, code_of
from .handshake import Hello, Welcome, boot_id
from .options import LARGEST_LANE, MOST_SLOTS
from .url import Url

log = logging.getLogger("ringipc")

_TELL_AFTER = 1.0  # seconds without progress after which a producer that closes says whom it waits for


def lane_refused(said: Hello | Welcome, code: int) -> str:
    """What an error of `_make_lane` means."""
    what = f"a lane of {said.capacity} bytes and {said.slots} messages"
    if code == -errno.EMSGSIZE:
        most = f"{LARGEST_LANE} bytes and {MOST_SLOTS} messages"
        return f"{what} is more than the {most} that one may have: make it smaller"
    return f"{what}: {refused(code)}"


def refused(code: int) -> str:
    """What an error of the channel that a connection is to bring in its lane, or its member, means."""
    return FULL_TABLES.get(-code, os.strerror(-code))


class Patience:
    """How long a producer that closes waits for what it has put to be taken.

    Parameters
    ----------
    url
        Of the link.
    linger
        Seconds after the last progress; None waits for ever.
    interrupted
        It has waited before, and been interrupted: now it does not wait.
    """

    def __init__(self, url: str, linger: float | None, *, interrupted: bool) -> None:
        self._url = url
        self._interrupted = interrupted
        self._linger = math.inf if linger is None else linger
        self._since = time.monotonic()
        self._left: object = None
        self._told = False
        self._over = False

    def lasts(self, left: object, count: int, why: Callable[[], str]) -> bool:
        """Whether to wait on: what is left to be done, of which so many messages, and why it is not done."""
        if self._interrupted:
            return False
        now = time.monotonic()
        if left != self._left:
            self._left, self._since = left, now
        self._over = now - self._since >= self._linger
        if now - self._since >= _TELL_AFTER and not self._told and not self._over:
            self._told = True
            limit = "" if self._linger == math.inf else f", for up to {self._linger:g} s"
            log.warning("%s: close() waits%s (linger=): %s: %s", self._url, limit, _counted(count, "left"), why())
        return not self._over

    def lost(self, count: int, why: Callable[[], str]) -> str:
        """What is to be said of so many messages that were not taken; nothing if there are none."""
        if count <= 0:
            return ""
        after = f" after {self._linger:g} s without progress (linger=)" if self._over else ""
        before = "close() was interrupted: " if self._interrupted else ""
        return f"{before}{_counted(count, 'lost')}{after}: {why()}"


def _counted(count: int, what: str) -> str:
    return f"{count} message{'s are' if count != 1 else ' is'} {what}"


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
        """For a finalizer of the handle, which may run in any thread and under any lock."""
        self._in_thread(self.abandon, daemon=True)

    def _in_thread(self, end: Callable[[], object], *, daemon: bool) -> None:
        with contextlib.suppress(RuntimeError):  # no threads any more: then the process ends
            threading.Thread(target=end, name=f"ringipc {self.url}", daemon=daemon).start()

    def _make_lane(self, said: Hello | Welcome, *, two_way: bool, prompt: bool) -> int:
        """For what the producer who has said so will send: the lane's id in the pump, or a negative errno.

        What it claims is checked before memory is allocated.
        """
        if not 0 < said.capacity <= LARGEST_LANE or not 0 < said.slots <= MOST_SLOTS:
            return -errno.EMSGSIZE
        stamped = said.boot == boot_id()
        return self.pump.lane(code_of(self.channel), said.capacity, said.slots, said.pid, stamped, two_way, prompt)

    def _fail(self, error: errors.RingError) -> None:
        """Nobody will come any more."""
        self.failure = error.with_traceback(None)  # whose frames would keep what they hold
        self.failed(error)


class OutgoingLink(BaseLink):
    """A producer's: what it has put, and nobody has taken yet, is here alone."""

    _interrupted = False  # `close`, while it waited

    def close(self, linger: float | None, *, at_end: bool) -> str:
        """After the channel's producer has closed: waits until all is taken. What is lost, or nothing.

        at_end: nobody can try again, and where a wait has been interrupted before there is none.
        """
        if self._closed or self._pid != os.getpid():
            return ""
        try:
            return self._close(Patience(self.url, linger, interrupted=at_end and self._interrupted))
        except BaseException:
            self._interrupted = True
            raise

    def _close(self, patience: Patience) -> str:
        raise NotImplementedError

    def linger(self, seconds: float | None) -> None:
        """As `forget`, but what was put is not lost with its producer: the end of the program waits for it."""

        def end() -> None:
            lost = self.close(seconds, at_end=True)
            if lost:
                log.error("%s: %s (its producer was let go without close())", self.url, lost)
                _atexit.fail_at_exit()

        self._in_thread(end, daemon=False)
