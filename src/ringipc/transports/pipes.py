"""Pipes, anonymous and named: one producer, one consumer, and nothing comes back. What is written counts as taken."""

import contextlib
import errno
import fcntl
import os
import select
import stat
import struct
import termios
import threading
import time
from array import array

from .. import errors
from .._core import STEP_END
from ..channel import Channel, code_of
from . import base
from .base import BaseLink, OutgoingLink, Patience
from .forks import own
from .handshake import Hello, boot_id
from .pipe_end import PipeEnd
from .url import Url

_MAGIC = b"ringipc\0"
_VERSION = 1
_GREETING = struct.Struct("<8sII")  # magic, version, bytes of the hello that follows
_LOOK_EVERY = 0.01  # seconds
_PATIENCE = 5.0  # seconds for a greeting that has begun


def _take_over(url: Url, writes: bool) -> int:
    try:
        mode = fcntl.fcntl(url.fd, fcntl.F_GETFL) & os.O_ACCMODE
        fd = os.dup(url.fd) if stat.S_ISFIFO(os.fstat(url.fd).st_mode) else -1
    except OSError as error:
        raise errors.SystemRefused(error.errno, f"{url}: {error.strerror}", str(url)) from None
    if fd < 0 or mode != (os.O_WRONLY if writes else os.O_RDONLY):
        if fd >= 0:
            os.close(fd)
        raise ValueError(f"{url} is not the end of a pipe for {'writing' if writes else 'reading'}")
    os.close(url.fd)
    return fd


def _open_fifo(path: str, writes: bool) -> int:
    """-1: a producer finds no consumer there."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    flags = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | (os.O_WRONLY if writes else os.O_RDONLY))
    except OSError as error:
        if error.errno == errno.ENXIO and stat.S_ISFIFO(os.stat(path, follow_symlinks=False).st_mode):
            return -1
        raise
    status = os.fstat(fd)
    if not stat.S_ISFIFO(status.st_mode) or status.st_uid not in (os.geteuid(), 0):
        os.close(fd)
        raise errors.SystemRefused(errno.EPERM, "there is something that is no named pipe of this user's", path)
    return fd


class _Descriptor:
    """The end of a pipe in use; a forked child closes it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class PipeLink(BaseLink):
    """A pipe between a handle's channel and another process."""

    def __init__(self, url: Url, end: PipeEnd | None, channel: Channel, *, writes: bool, spin: bool) -> None:
        super().__init__(url, channel, spin=spin)
        self._end = own(lambda: _Descriptor(end.detach() if end is not None else -1))
        self._id = -1
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tend, name=f"ringipc {self.url}", daemon=True)
        if self._end.fd < 0 and url.scheme == "pipe":
            self._end.fd = _take_over(url, writes)
        if self._end.fd >= 0:
            os.set_blocking(self._end.fd, False)

    def _tend(self) -> None:
        raise NotImplementedError

    def abandon(self) -> None:
        if self._pid != os.getpid():
            return
        self._closed = True
        self.pump.stop()
        if self._thread.is_alive():
            self._thread.join()
        if self._id >= 0:
            self.pump.remove(self._id)
            self._id = -1
        self._end.close()


def _unread(fd: int) -> int:
    """Bytes in the pipe; 0 where the descriptor is none any more."""
    count = array("i", [0])
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


class PipeOutlet(PipeLink, OutgoingLink):
    """A producer's."""

    def __init__(
        self, url: Url, end: PipeEnd | None, channel: Channel, capacity: int, slots: int, *, spin: bool
    ) -> None:
        super().__init__(url, end, channel, writes=True, spin=spin)
        self._size = capacity, slots

    def begin(self) -> None:
        """A pipe's reader is there; a named pipe's is waited for in the thread."""
        if self._where.scheme == "fifo":
            try:
                self._end.fd = _open_fifo(self._where.path, writes=True)
            except OSError as error:
                raise _refused(self._where, error) from None
        self._id, _ = self.pump.join(code_of(self.channel), b"default", 0, 0, False)
        if self._id < 0:
            self._end.close()
            raise errors.SystemRefused(-self._id, f"{self.url}: {os.strerror(-self._id)}", self.url)
        self._thread.start()

    def _is_ours(self) -> bool:
        """A named pipe takes one producer at a time, for as long as it has locked it."""
        if self._where.scheme == "pipe":
            return True
        if self._end.fd < 0:
            self._end.fd = _open_fifo(self._where.path, writes=True)
        if self._end.fd < 0:
            return False
        try:
            fcntl.flock(self._end.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _greet(self) -> None:
        capacity, slots = self._size
        hello = Hello(
            producer=True, pid=os.getpid(), session=bytes(16), capacity=capacity, slots=slots, boot=boot_id()
        ).encode()
        greeting = _GREETING.pack(_MAGIC, _VERSION, len(hello)) + hello
        os.write(self._end.fd, greeting)  # less than PIPE_BUF: all or nothing

    def _tend(self) -> None:
        try:
            while not self._closed and not self._is_ours():
                time.sleep(_LOOK_EVERY)
            if self._closed:
                return
            self._greet()
            self.pump.connect(self._id, self._end.fd, 0)
        except OSError as error:
            return self._fail(_refused(self._where, error))
        ended = self.pump.run()
        if ended is not None and ended[2] != STEP_END:
            text = f"{self.url}: the consumer has gone, and what it had not read is lost with the pipe"
            self._fail(errors.SystemRefused(-ended[2], text, self.url))
        self._done.set()

    def _close(self, patience: Patience) -> str:
        # What is written counts as taken.
        self.pump.push()
        put = sum(lane.messages for lane in self.channel.lanes)  # 0 where all is written already
        left = put - self.pump.progress(self._id)
        while self.failure is None and not self._done.wait(0.02) and patience.lasts(left, left, self._why_left):
            left = put - self.pump.progress(self._id)
        if self.failure is None and self._done.is_set():
            left = 0
            if self._where.scheme == "fifo":  # the next producer's greeting is not to be read together with our end
                while (unread := _unread(self._end.fd)) and patience.lasts((unread,), 0, self._why_left):
                    time.sleep(_LOOK_EVERY)
        lost = patience.lost(left, self._why_left)
        self.abandon()
        return lost

    def _why_left(self) -> str:
        if self.failure is not None:
            return str(self.failure)
        return "no consumer has opened it" if self._end.fd < 0 else "the consumer did not read all"


class PipeInlet(PipeLink):
    """A consumer's. A named pipe's next producer may come when one has ended."""

    def __init__(self, url: Url, end: PipeEnd | None, channel: Channel, timeout: float | None, *, spin: bool) -> None:
        super().__init__(url, end, channel, writes=False, spin=spin)
        self._timeout = timeout
        self.how = 0  # of the consumer in its channel, which is its own

    def begin(self) -> None:
        """Waits for a producer."""
        try:
            if self._where.scheme == "fifo":
                self._end.fd = _open_fifo(self._where.path, writes=False)
            deadline = None if self._timeout is None else time.monotonic() + self._timeout
            if not self._meet(deadline):
                raise errors.ChannelNotFound(errno.ENOENT, "no producer has come", self.url)
        except OSError as error:
            self._end.close()
            raise error if isinstance(error, errors.RingError) else _refused(self._where, error) from None
        except errors.RingError:
            self._end.close()
            raise
        self._thread.start()

    def _meet(self, deadline: float | None) -> bool:
        """Reads a producer's greeting, and makes it a lane. False: none has come."""
        greeting = self._read(_GREETING.size, deadline)
        if greeting is None:
            return False
        magic, version, length = _GREETING.unpack(greeting)
        if magic != _MAGIC:
            raise errors.Corrupt(f"{self.url}: what comes is not from a producer of ringipc")
        if version != _VERSION:
            raise errors.Incompatible(f"{self.url}: the producer speaks version {version}, this ringipc {_VERSION}")
        encoded = self._read(length, time.monotonic() + _PATIENCE) if length <= 1024 else None
        if encoded is None:
            raise errors.Corrupt(f"{self.url}: the greeting of a producer has no end")
        hello = Hello.decode(encoded)
        self._id = self._make_lane(hello, two_way=False, prompt=False)
        if self._id == -errno.EMSGSIZE:
            raise errors.Incompatible(f"{self.url}: {base.lane_refused(hello, self._id)}")
        code = self.pump.connect(self._id, self._end.fd, 0) if self._id >= 0 else self._id
        if code < 0:
            raise errors.SystemRefused(-code, f"{self.url}: {base.lane_refused(hello, code)}", self.url)
        return True

    def _read(self, size: int, deadline: float | None) -> bytes | None:
        data = b""
        poller = select.poll()
        poller.register(self._end.fd, select.POLLIN)
        while len(data) < size:
            if self._closed or (deadline is not None and time.monotonic() > deadline):
                return None
            poller.poll(50)
            try:
                more = os.read(self._end.fd, size - len(data))
            except BlockingIOError:
                continue
            if not more:
                if data or self._where.scheme == "pipe":
                    raise errors.ProducerDied(f"{self.url}: the producer has gone before it began")
                time.sleep(_LOOK_EVERY)  # no producer has opened it yet
            data += more
        return data

    def _tend(self) -> None:
        while self.pump.run() is not None:
            self.pump.remove(self._id)
            self._id = -1
            if self._where.scheme == "pipe":
                return self._end.close()
            try:
                if not self._meet(None):
                    return
            except errors.RingError as error:
                return self._fail(error)
            except OSError as error:
                return self._fail(_refused(self._where, error))

    def close(self) -> None:
        """After the consumer has left."""
        self.abandon()


def _refused(url: Url, error: OSError) -> errors.SystemRefused:
    return errors.SystemRefused(error.errno, f"{url}: {os.strerror(error.errno or 0)}", str(url))
