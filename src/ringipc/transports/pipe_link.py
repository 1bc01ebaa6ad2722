"""Links through pipes. Nothing comes back through a pipe, so what is written counts as taken."""

import contextlib
import errno
import fcntl
import os
import select
import termios
import threading
import time
from abc import abstractmethod
from array import array
from collections.abc import Callable

from .. import _readiness, errors
from .._core import STEP_END
from ..channel import Channel, core_name_of
from .forks import closed_in_children
from .handshake import Hello, boot_id, one_way, receive_one_way
from .linger import Linger
from .link import ConsumerLink, Link, ProducerLink
from .long_wait import LongWait
from .refusals import lane_refused
from .wire import GREETING_SECONDS, Gone, Wire

_POLL_EVERY = 0.01  # seconds
_SLICE = 0.05  # seconds of a wait, until closing is noticed


OpenEnd = Callable[[bool], int]  # whether to write; returns a file descriptor, or -1 if there is no reader yet


class _Descriptor:
    """The end of a pipe in use; a forked child closes it."""

    def __init__(self) -> None:
        self.fd = -1

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class _PipeWire(Wire):
    """The wire of a producer's greeting that is in progress."""

    def __init__(self, fd: int, is_closed: Callable[[], bool]) -> None:
        super().__init__(time.monotonic() + GREETING_SECONDS)
        self._fd = fd
        self._is_closed = is_closed

    def some(self, most: int) -> bytes:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        while not self._is_closed():
            if not poller.poll(min(self.left(), _SLICE) * 1000):
                continue
            with contextlib.suppress(BlockingIOError):  # another reader was quicker
                data = os.read(self._fd, most)
                if not data:
                    raise errors.ProducerDied("the producer died in its greeting")
                return data
        raise Gone("this consumer has closed")


class PipeLink(Link):
    """What the links of producers and consumers have in common."""

    def __init__(self, url: str, transport: str, open_end: OpenEnd, channel: Channel, *, spin: bool) -> None:
        super().__init__(url, transport, channel, spin=spin)
        self._open = open_end
        self._named = transport == "fifo"  # the next producer can open it again
        self._end = closed_in_children(_Descriptor)
        self._id = -1
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ringipc {self.url}", daemon=True)

    def _open_end(self, *, writes: bool) -> None:
        try:
            self._end.fd = self._open(writes)
            if self._end.fd >= 0:
                os.set_blocking(self._end.fd, False)
        except errors.RingError:
            raise
        except OSError as error:
            raise self._system_refused(error) from None

    @abstractmethod
    def _run(self) -> None:
        """Run the I/O loop in its thread."""

    def _system_refused(self, error: OSError) -> errors.SystemRefused:
        return errors.SystemRefused(error.errno, f"{self.url}: {os.strerror(error.errno or 0)}", self.url)

    def abandon(self) -> None:
        if self._pid != os.getpid():
            return
        self._closed = True
        self.io_loop.stop()
        if self._thread.is_alive():
            self._thread.join()
        if self._id >= 0:
            self.io_loop.remove(self._id)
            self._id = -1
        self._end.close()


class PipeProducerLink(PipeLink, ProducerLink):
    """A producer's link."""

    def __init__(
        self, url: str, transport: str, open_end: OpenEnd, channel: Channel, capacity: int, slots: int, *, spin: bool
    ) -> None:
        super().__init__(url, transport, open_end, channel, spin=spin)
        self._size = capacity, slots

    def open(self) -> None:
        """Open the pipe. The thread waits for the consumer."""
        self._open_end(writes=True)
        self._id, _ = self.io_loop.join(core_name_of(self.channel), b"default", 0, 0, False)
        if self._id < 0:
            self._end.close()
            raise errors.SystemRefused(-self._id, f"{self.url}: {os.strerror(-self._id)}", self.url)
        self._thread.start()

    def _has_consumer(self) -> bool:
        """Return whether this producer may write. A named pipe takes one producer at a time: the holder of the lock."""
        if not self._named:
            return True
        if self._end.fd < 0:
            self._open_end(writes=True)
        if self._end.fd < 0:
            return False
        try:
            fcntl.flock(self._end.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _greet(self) -> None:
        capacity, slots = self._size
        hello = Hello(producer=True, pid=os.getpid(), session=bytes(16), capacity=capacity, slots=slots, boot=boot_id())
        os.write(self._end.fd, one_way(hello))  # less than PIPE_BUF: all or nothing

    def _run(self) -> None:
        try:
            while not self._closed and not self._has_consumer():
                time.sleep(_POLL_EVERY)
            if self._closed:
                return
            self._greet()
            self.io_loop.connect(self._id, self._end.fd, 0)
        except errors.RingError as error:
            return self._fail(error)
        except OSError as error:
            return self._fail(self._system_refused(error))
        ended = self.io_loop.run()
        if ended is not None and ended[2] != STEP_END:
            text = f"{self.url}: the consumer has gone, and what it had not read is lost with the pipe"
            self._fail(errors.SystemRefused(-ended[2], text, self.url))
        self._done.set()

    def _close(self, linger: Linger) -> str:
        # What is written counts as taken.
        self.io_loop.push()
        put = sum(lane.messages for lane in self.channel.lanes)  # 0 if all is written already
        left = put - self.io_loop.progress(self._id)
        while self.failure is None and not self._done.wait(0.02) and linger.lasts(left, left, self._why_left):
            left = put - self.io_loop.progress(self._id)
        if self.failure is None and self._done.is_set():
            left = 0
            if self._named:  # the consumer must not read the next producer's greeting together with this end
                while (unread := _unread(self._end.fd)) and linger.lasts((unread,), 0, self._why_left):
                    time.sleep(_POLL_EVERY)
        lost = linger.lost(left, self._why_left)
        self.abandon()
        return lost

    def _why_left(self) -> str:
        if self.failure is not None:
            return str(self.failure)
        return "no consumer has opened it" if self._end.fd < 0 else "the consumer did not read all"


def _unread(fd: int) -> int:
    """Return the number of bytes in the pipe; 0 if the file descriptor is closed."""
    count = array("i", [0])
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


class PipeConsumerLink(PipeLink, ConsumerLink):
    """A consumer's link. When a named pipe's producer has ended, the next one may write."""

    flags = 0  # the consumer is alone in its channel

    def __init__(
        self, url: str, transport: str, open_end: OpenEnd, channel: Channel, *, timeout: float | None, spin: bool
    ) -> None:
        super().__init__(url, transport, open_end, channel, spin=spin)
        self._timeout = timeout

    def open(self) -> None:
        """Wait for a producer."""
        try:
            self._open_end(writes=False)
            deadline = None if self._timeout is None else time.monotonic() + self._timeout
            wait = LongWait(lambda: f"waiting for a producer to open {self.url}")
            if not self._receive_greeting(deadline, wait.pause):
                raise errors.ChannelNotFound(errno.ENOENT, "no producer has opened it", self.url)
        except errors.RingError:
            self._end.close()
            raise
        except OSError as error:
            self._end.close()
            raise self._system_refused(error) from None
        self._thread.start()

    def _receive_greeting(self, deadline: float | None, pause: Callable[[float], None]) -> bool:
        """Wait for a producer, and make it a lane. Return False if none has come in time."""
        if not self._wait_for_bytes(deadline, pause):
            return False
        try:
            hello = receive_one_way(_PipeWire(self._end.fd, lambda: self._closed))
        except errors.RingError as error:
            raise type(error)(f"{self.url}: {error}") from None
        self._id = self._make_lane(hello, two_way=False, prompt=False)
        if self._id == -errno.EMSGSIZE:
            raise errors.Incompatible(f"{self.url}: {lane_refused(hello, self._id)}")
        rc = self.io_loop.connect(self._id, self._end.fd, 0) if self._id >= 0 else self._id
        if rc < 0:
            raise errors.SystemRefused(-rc, f"{self.url}: {lane_refused(hello, rc)}", self.url)
        return True

    def _wait_for_bytes(self, deadline: float | None, pause: Callable[[float], None]) -> bool:
        poller = select.poll()
        poller.register(self._end.fd, select.POLLIN)
        while not self._closed:
            left = _SLICE if deadline is None else min(_SLICE, max(deadline - time.monotonic(), 0))
            events = dict(poller.poll(left * 1000)).get(self._end.fd, 0)
            if events & select.POLLIN:
                return True
            if events and not self._named:  # no writer
                raise errors.ProducerDied(f"{self.url}: the producer died before its greeting")
            if deadline is not None and time.monotonic() >= deadline:
                return False
            pause(_POLL_EVERY if events else 0)
        return False

    def _run(self) -> None:
        while self.io_loop.run() is not None:
            self.io_loop.remove(self._id)
            self._id = -1
            if not self._named:
                return self._end.close()
            try:
                if not self._receive_greeting(None, _readiness.pause):
                    return
            except errors.RingError as error:
                return self._fail(error)
            except OSError as error:
                return self._fail(self._system_refused(error))
