"""What every link of a handle has: a channel, an I/O loop that moves messages to or from connections, and an end."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from .. import _atexit, errors
from .._core import IoLoop
from ..channel import Channel, core_name_of
from .handshake import Hello, Welcome, boot_id
from .linger import Linger
from .remote_lane import LARGEST_REMOTE_LANE, MOST_REMOTE_SLOTS

log = logging.getLogger("ringipc")


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
        """Listen, connect, or open the pipe. If that fails, nothing is left open."""

    @abstractmethod
    def abandon(self) -> None:
        """Close at once. Connections that are still open break."""

    def forget(self) -> None:
        """Call `abandon` for a finalizer of the handle, which may run in any thread and under any lock."""
        self._in_thread(self.abandon, daemon=True)

    def _in_thread(self, end: Callable[[], object], *, daemon: bool) -> None:
        with contextlib.suppress(RuntimeError):  # the interpreter starts no threads any more: the process ends
            threading.Thread(target=end, name=f"ringipc {self.url}", daemon=daemon).start()

    def _make_lane(self, said: Hello | Welcome, *, two_way: bool, prompt: bool, label: bytes = b"") -> int:
        """Make a lane for a remote producer. Return its id in the I/O loop, or a negative errno.

        The size that the producer claims is checked before memory is allocated.
        """
        if not 0 < said.capacity <= LARGEST_REMOTE_LANE or not 0 < said.slots <= MOST_REMOTE_SLOTS:
            return -errno.EMSGSIZE
        stamped = said.boot == boot_id()
        return self.io_loop.lane(
            core_name_of(self.channel), said.capacity, said.slots, said.pid, stamped, two_way, prompt, label
        )

    def _fail(self, error: errors.RingError) -> None:
        """Note that no peer can connect any more."""
        self.failure = error.with_traceback(None)  # its frames would keep alive what they refer to
        self.failed(error)


class ConsumerLink(Link):
    """A consumer's link.

    Attributes
    ----------
    flags
        The flags (SHARED, ...) with which the consumer joins the link's channel.
    """

    flags: int

    def brings_all(self) -> bool:
        """Return whether all messages come over connections, so that a wait for a message may read from those alone."""
        return self.transport != "ring"

    def close(self) -> None:
        """Notify the producers. Call this after the consumer has left."""
        self.abandon()


class ProducerLink(Link):
    """A producer's link. Messages that nobody has taken yet exist only in this process."""

    _interrupted = False  # `close`, while it waited

    def close(self, linger: float | None, *, at_end: bool) -> str:
        """Wait until all messages are taken. Call this after the producer of the channel has closed.

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
        """Do as `forget`, but do not lose messages with their producer: the end of the program waits for them."""

        def end() -> None:
            lost = self.close(seconds, at_end=True)
            if lost:
                log.error("%s: %s (its producer was deleted without close())", self.url, lost)
                _atexit.fail_at_exit()

        self._in_thread(end, daemon=False)
