"""What every link of a handle has: a channel, an I/O loop that moves messages to or from connections, and an end."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NoReturn

from .. import _atexit, errors
from .._arguments import LARGEST_REMOTE_LANE, MOST_REMOTE_SLOTS
from .._core import IoLoop
from .._failures import full_table
from ..channel import Channel, code_of
from .handshake import Hello, Welcome, boot_id

log = logging.getLogger("ringipc")

_WARN_AFTER = 1.0  # seconds without progress after which a producer that closes logs whom it waits for


def lane_refused(said: Hello | Welcome, code: int) -> str:
    """What an error of `Link._make_lane` means."""
    what = f"a lane of {said.capacity} bytes and {said.slots} messages"
    if code == -errno.EMSGSIZE:
        most = f"{LARGEST_REMOTE_LANE} bytes and {MOST_REMOTE_SLOTS} messages"
        return f"{what} is more than the {most} that one may have: make it smaller"
    return f"{what}: {refused(code)}"


def refused(code: int) -> str:
    """What an error of the channel means, where a connection was to get its lane or its member."""
    return full_table(-code) or os.strerror(-code)


def raise_refusal(url: str, welcome: Welcome) -> NoReturn:
    """Raises what a listener's refusal means."""
    text = f"{url}: {welcome.text}"
    match welcome.error:
        case errno.EBUSY:
            raise errors.GroupBusy(text)
        case errno.EEXIST | errno.EPROTO | errno.EMSGSIZE:
            raise errors.Incompatible(text)
        case errno.EXFULL | errno.ENOSR | errno.EUSERS:
            raise errors.TableFull(text)
    raise errors.SystemRefused(welcome.error, text, url)


class Link(ABC):
    """Joins a handle's channel to other processes.

    Attributes
    ----------
    url
        Of the endpoint; with the port that was found.
    transport
        The transport in use, as in `stats`.
    failure
        Why no peer can connect any more, once that is so.
    failed
        Called with it.
    """

    def __init__(self, url: str, transport: str, channel: Channel, *, spin: bool) -> None:
        self.url = url
        self.transport = transport
        self.channel = channel
        self.failure: errors.RingError | None = None
        self.failed: Callable[[errors.RingError], object] = lambda error: None
        self.io_loop = IoLoop(spin)
        self._pid = os.getpid()
        self._closed = False

    @abstractmethod
    def open(self) -> None:
        """Listens, connects, or opens the pipe. If that fails nothing is left open."""

    @abstractmethod
    def abandon(self) -> None:
        """Closes at once: connections that are still open break."""

    def forget(self) -> None:
        """`abandon` for a finalizer of the handle, which may run in any thread and under any lock."""
        self._in_thread(self.abandon, daemon=True)

    def _in_thread(self, end: Callable[[], object], *, daemon: bool) -> None:
        with contextlib.suppress(RuntimeError):  # the interpreter starts no threads any more: the process ends
            threading.Thread(target=end, name=f"ringipc {self.url}", daemon=daemon).start()

    def _make_lane(self, said: Hello | Welcome, *, two_way: bool, prompt: bool) -> int:
        """A lane for a remote producer: its id in the I/O loop, or a negative errno.

        The size that the producer claims is checked before memory is allocated.
        """
        if not 0 < said.capacity <= LARGEST_REMOTE_LANE or not 0 < said.slots <= MOST_REMOTE_SLOTS:
            return -errno.EMSGSIZE
        stamped = said.boot == boot_id()
        return self.io_loop.lane(code_of(self.channel), said.capacity, said.slots, said.pid, stamped, two_way, prompt)

    def _fail(self, error: errors.RingError) -> None:
        """No peer can connect any more."""
        self.failure = error.with_traceback(None)  # its frames would keep alive what they refer to
        self.failed(error)


class ConsumerLink(Link):
    """A consumer's link.

    Attributes
    ----------
    how
        The flags (SHARED, ...) with which the consumer joins the link's channel.
    """

    how: int

    def close(self) -> None:
        """To be called after the consumer has left: the producers are notified."""
        self.abandon()


class ProducerLink(Link):
    """A producer's link. Messages that nobody has taken yet exist only in this process."""

    _interrupted = False  # `close`, while it waited

    def close(self, linger: float | None, *, at_end: bool) -> str:
        """To be called after the channel's producer has closed: waits until all is taken.

        Parameters
        ----------
        linger
            Seconds to wait after the last progress; None waits for ever.
        at_end
            The process ends, and `close` cannot be called again: a wait that was interrupted before is not resumed.

        Returns
        -------
        What is lost, or nothing.
        """
        if self._closed or self._pid != os.getpid():
            return ""
        try:
            return self._close(Linger(self.url, linger, interrupted=at_end and self._interrupted))
        except BaseException:
            self._interrupted = True
            raise

    @abstractmethod
    def _close(self, linger: Linger) -> str: ...

    def linger(self, seconds: float | None) -> None:
        """As `forget`, but messages are not lost with their producer: the end of the program waits for them."""

        def end() -> None:
            lost = self.close(seconds, at_end=True)
            if lost:
                log.error("%s: %s (its producer was deleted without close())", self.url, lost)
                _atexit.fail_at_exit()

        self._in_thread(end, daemon=False)


class Linger:
    """How long a producer that closes waits for its messages to be taken.

    Parameters
    ----------
    url
        Of the link.
    seconds
        Time after the last progress; None waits for ever.
    interrupted
        The wait was interrupted before: now there is none.
    """

    def __init__(self, url: str, seconds: float | None, *, interrupted: bool) -> None:
        self._url = url
        self._interrupted = interrupted
        self._seconds = math.inf if seconds is None else seconds
        self._since = time.monotonic()  # the last progress
        self._left: object = None
        self._warned = False
        self._over = False

    def lasts(self, left: object, count: int, why: Callable[[], str]) -> bool:
        """Whether to wait on.

        Parameters
        ----------
        left
            The work that is left; if it differs from that of the last call, there was progress.
        count
            The number of messages in it.
        why
            Returns the reason why it is not done.
        """
        if self._interrupted:
            return False
        now = time.monotonic()
        if left != self._left:
            self._left, self._since = left, now
        self._over = now - self._since >= self._seconds
        if now - self._since >= _WARN_AFTER and not self._warned and not self._over:
            self._warned = True
            limit = "" if self._seconds == math.inf else f", for up to {self._seconds:g} s"
            log.warning("%s: close() waits%s (linger=): %s: %s", self._url, limit, _counted(count, "left"), why())
        return not self._over

    def lost(self, count: int, why: Callable[[], str]) -> str:
        """The error for so many messages that were not taken; nothing if there are none."""
        if count <= 0:
            return ""
        after = f" after {self._seconds:g} s without progress (linger=)" if self._over else ""
        before = "close() was interrupted: " if self._interrupted else ""
        return f"{before}{_counted(count, 'lost')}{after}: {why()}"


def _counted(count: int, what: str) -> str:
    return f"{count} message{'s are' if count != 1 else ' is'} {what}"
