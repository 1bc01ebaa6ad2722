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
from collections.abc import Callable
from typing import Any, Self

from .. import errors
from .._pump import STEP_END, BasePump
from ..look import Channel
from . import outlet
from .forks import own
from .handshake import Hello, boot_id
from .url import Url

_MAGIC = b"ringipc\0"
_VERSION = 1
_GREETING = struct.Struct("<8sII")  # magic, version, bytes of the hello that follows
_SIZE = 1 << 20  # bytes in a pipe, as much as any user may ask for
_LOOK_EVERY = 0.01  # seconds
_PATIENCE = 5.0  # seconds for a greeting that has begun


class PipeEnd:
    """One end of an anonymous pipe, for `Producer` or `Consumer`, which take it over.

    Give it to another process as an argument (`multiprocessing`, with any start method), or its descriptor to a
    `subprocess` (``pass_fds=[end.fileno()]``), which takes it by its URL, ``str(end)``. A process that has given an end
    away closes its own: only then is the death of the other process seen.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        if self._fd < 0:
            raise errors.Closed("this end of a pipe is closed, or in use by a producer or consumer")
        return self._fd

    def detach(self) -> int:
        """The descriptor, which is the caller's from then on."""
        fd = self.fileno()
        self._fd = -1
        return fd

    def close(self) -> None:
        """Closes it. Closing again does nothing."""
        if self._fd >= 0:
            os.close(self.detach())

    def __str__(self) -> str:
        return f"pipe:{self.fileno()}"

    def __repr__(self) -> str:
        return f"<PipeEnd {self._fd}>" if self._fd >= 0 else "<PipeEnd, closed>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        from multiprocessing.reduction import DupFd

        return _take_passed, (DupFd(self.fileno()),)

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _take_passed(passed: Any) -> PipeEnd:
    return PipeEnd(passed.detach())


def pair() -> tuple[PipeEnd, PipeEnd]:
    """An anonymous pipe: the end for a `Producer`, and the end for a `Consumer`.

    Raises
    ------
    SystemRefused
        There are no descriptors.

    Examples
    --------
    >>> import ringipc
    >>> to, of = ringipc.pair()
    >>> with ringipc.Producer(to) as producer, ringipc.Consumer(of) as consumer:
    ...     producer.put(b"through a pipe")
    ...     consumer.get()
    b'through a pipe'
    """
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise errors.SystemRefused(error.errno, error.strerror) from None
    with contextlib.suppress(OSError):  # it is smaller where many pipes are open
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _SIZE)
    return PipeEnd(writing), PipeEnd(reading)


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


class PipeLink:
    """A pipe between a handle's channel and another process."""

    def __init__(self, url: Url, end: PipeEnd | None, channel: Channel, *, writes: bool, spin: bool) -> None:
        self.url = str(url)
        self.transport: str = url.scheme
        self.channel = channel
        self.failure: errors.RingError | None = None
        self.failed: Callable[[errors.RingError], object] = lambda error: None  # called with it
        self.pump = BasePump(spin)
        self._where = url
        self._code = b"fd:%d" % channel.fileno()
        self._pid = os.getpid()
        self._closed = False
        self._end = own(lambda: _Descriptor(end.detach() if end is not None else -1))
        self._writes = writes
        self._id = -1
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tend, name=f"ringipc {self.url}", daemon=True)
        if self._end.fd < 0 and url.scheme == "pipe":
            self._end.fd = _take_over(url, writes)
        if self._end.fd >= 0:
            os.set_blocking(self._end.fd, False)

    def _tend(self) -> None:
        raise NotImplementedError

    def forget(self) -> None:
        """For a finalizer, which may run in any thread and under any lock."""
        with contextlib.suppress(RuntimeError):  # no threads any more: then the process ends
            threading.Thread(target=self.abandon, name=f"ringipc {self.url}", daemon=True).start()

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

    def _fail(self, error: errors.RingError) -> None:
        """Nobody will come any more."""
        self.failure = error
        self.failed(error)


def _unread(fd: int) -> int:
    """Bytes in the pipe; 0 where the descriptor is none any more."""
    count = array("i", [0])
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


class PipeOutlet(PipeLink):
    """A producer's."""

    def __init__(
        self, url: Url, end: PipeEnd | None, channel: Channel, capacity: int, slots: int, *, spin: bool = False
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
        self._id, _ = self.pump.join(self._code, b"default", 0, 0, False)
        if self._id < 0:
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
            producer=True,
            pid=os.getpid(),
            session=bytes(16),
            next=0,
            group="",
            shared=False,
            durable=False,
            newest=False,
            maps=False,
            capacity=capacity,
            slots=slots,
            boot=boot_id(),
        ).encode()
        os.write(
            self._end.fd, _GREETING.pack(_MAGIC, _VERSION, len(hello)) + hello
        )  # less than PIPE_BUF: all or nothing

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

    def close(self) -> int:
        """After the channel's producer has closed: waits until all is written. How many messages are not."""
        if self._closed or self._pid != os.getpid():
            return 0
        self.pump.push()
        written, waited = self.pump.progress(self._id), time.monotonic()
        while self.failure is None and not self._done.wait(0.02) and time.monotonic() - waited < outlet.LINGER:
            now = self.pump.progress(self._id)
            if now != written:
                written, waited = now, time.monotonic()
        left = sum(lane.messages for lane in self.channel.lanes) - self.pump.progress(self._id)
        while self._where.scheme == "fifo" and self.failure is None and time.monotonic() - waited < outlet.LINGER:
            if _unread(self._end.fd) == 0:  # the next producer's greeting is not to be read together with our end
                break
            time.sleep(_LOOK_EVERY)
        self.abandon()
        return max(left, 0) if not self._done.is_set() or self.failure is not None else 0


class PipeInlet(PipeLink):
    """A consumer's. A named pipe's next producer may come when one has ended."""

    def __init__(
        self, url: Url, end: PipeEnd | None, channel: Channel, timeout: float | None, *, spin: bool = False
    ) -> None:
        super().__init__(url, end, channel, writes=False, spin=spin)
        self._timeout = timeout
        self.how = 0

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
        if not 0 < hello.capacity <= 1 << 32 or not 0 < hello.slots <= 1 << 26:
            raise errors.Incompatible(f"{self.url}: a lane of {hello.capacity} bytes is too large")
        id = self.pump.lane(self._code, hello.capacity, hello.slots, hello.pid, hello.boot == boot_id(), False, False)
        code = self.pump.connect(id, self._end.fd, 0) if id >= 0 else id
        if code < 0:
            raise errors.SystemRefused(-code, f"{self.url}: {os.strerror(-code)}", self.url)
        self._id = id
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

    def close(self) -> None:
        """After the consumer has left."""
        self.abandon()


def _refused(url: Url, error: OSError) -> errors.SystemRefused:
    return errors.SystemRefused(error.errno, f"{url}: {os.strerror(error.errno or 0)}", str(url))
