"""Pipes, anonymous and named: one producer, one consumer."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from .. import errors
from .._core import DURABLE, LOSSY, SHARED
from .._passing import Passed
from .endpoint import Endpoint, check_path
from .remote_lane import check_remote_lane

if TYPE_CHECKING:
    from ..channel import Channel
    from .link import ConsumerLink, ProducerLink

_SIZE = 1 << 20  # bytes in a pipe, as much as any user may ask for
_LARGEST_FD = (1 << 31) - 1


def fifo(path: str) -> Fifo:
    """Return a named pipe to give to `Producer` and `Consumer` as the channel.

    It is made if it is not there, and stays. One producer at a time writes to it, one consumer reads from it.

    Parameters
    ----------
    path
        Absolute; or a URL.

    Raises
    ------
    ValueError
        The path is relative, or names a directory.

    Examples
    --------
    >>> import ringipc
    >>> str(ringipc.fifo("/run/frames"))
    'fifo:///run/frames'
    """
    return Fifo(path.removeprefix("fifo://") if isinstance(path, str) else path)


def pair() -> tuple[PipeEnd, PipeEnd]:
    """Create an anonymous pipe. Return the end for a `Producer` and the end for a `Consumer`.

    Raises
    ------
    SystemRefused
        There are no file descriptors.

    Examples
    --------
    >>> import ringipc
    >>> writer, reader = ringipc.pair()
    >>> with ringipc.Producer(writer) as producer, ringipc.Consumer(reader) as consumer:
    ...     producer.put(b"through a pipe")
    ...     consumer.get()
    True
    b'through a pipe'
    """
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise errors.SystemRefused(error.errno, error.strerror) from None
    with contextlib.suppress(OSError):  # it stays smaller if this user has many pipes
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _SIZE)
    return PipeEnd(writing), PipeEnd(reading)


class PipeEndpoint(Endpoint):
    """What named and anonymous pipes have in common."""

    __slots__ = ()

    @abstractmethod
    def _open(self, writes: bool) -> int:
        """Return a file descriptor that the caller owns; -1 if it is to write and no consumer has the named pipe open.

        Raises
        ------
        ValueError
            It is the other end of the pipe.
        SystemRefused, OSError
            It is not a pipe, or not this user's.
        """

    # Imported where it is used: a program that uses rings alone does not load what moves messages through pipes.

    def producer_link(
        self, channel: Channel, capacity: int, slots: int, *, timeout: float | None, spin: bool
    ) -> ProducerLink:
        from .pipe_link import PipeProducerLink

        check_remote_lane(str(self), capacity, slots)
        return PipeProducerLink(str(self), self.scheme, self._open, channel, capacity, slots, spin=spin)

    def consumer_link(
        self, channel: Channel, group: str, flags: int, *, timeout: float | None, spin: bool
    ) -> ConsumerLink:
        from .pipe_link import PipeConsumerLink

        if flags & (SHARED | DURABLE | LOSSY):
            raise ValueError(
                f"{str(self)!r} has one consumer: shared=, durable= and overflow= are for rings and sockets"
            )
        return PipeConsumerLink(str(self), self.scheme, self._open, channel, timeout=timeout, spin=spin)


@dataclass(frozen=True, slots=True)
class Fifo(PipeEndpoint):
    """A named pipe."""

    path: str

    scheme = "fifo"
    form = "fifo:///path"

    def __post_init__(self) -> None:
        check_path(self.path)

    @classmethod
    def from_url(cls, url: str) -> Self:
        return cls(url.removeprefix("fifo://"))

    def __str__(self) -> str:
        return f"fifo://{self.path}"

    def _open(self, writes: bool) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self.path, 0o600)
        flags = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self.path, flags | (os.O_WRONLY if writes else os.O_RDONLY))
        except OSError as error:
            if error.errno == errno.ENXIO and stat.S_ISFIFO(os.stat(self.path, follow_symlinks=False).st_mode):
                return -1
            raise
        status = os.fstat(fd)
        if not stat.S_ISFIFO(status.st_mode) or status.st_uid not in (os.geteuid(), 0):
            os.close(fd)
            raise errors.SystemRefused(errno.EPERM, "the path is not a named pipe of this user", self.path)
        return fd


@dataclass(frozen=True, slots=True)
class Pipe(PipeEndpoint):
    """An end of an anonymous pipe that this process has inherited as a file descriptor."""

    fd: int

    scheme = "pipe"
    form = "pipe:fd"

    @classmethod
    def from_url(cls, url: str) -> Self:
        number = url.removeprefix("pipe:").removeprefix("//")
        if not number:
            raise ValueError(f"{url!r} has no descriptor")
        if not (number.isascii() and number.isdecimal() and len(number) <= 10 and int(number) <= _LARGEST_FD):
            raise ValueError(f"{url!r}: the descriptor must be a number from 0 to {_LARGEST_FD}, not {number!r}")
        return cls(int(number))

    def __str__(self) -> str:
        return f"pipe:{self.fd}"

    def _open(self, writes: bool) -> int:
        _check_end(self.fd, str(self), writes=writes)
        fd = os.dup(self.fd)
        os.close(self.fd)
        return fd


class PipeEnd(PipeEndpoint):
    """One end of an anonymous pipe, for a `Producer` or `Consumer`, which takes it over.

    Give it to another process as an argument (`multiprocessing`, with any start method), or its descriptor to a
    `subprocess` (``pass_fds=[end.fileno()]``), which uses it by its URL, ``str(end)``. A process that has given an end
    away closes its own: only then is the death of the other process noticed.
    """

    scheme = "pipe"
    form = "pipe:fd"

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def from_url(cls, url: str) -> Self:
        return cls(Pipe.from_url(url).fd)

    def fileno(self) -> int:
        """Return the file descriptor, which this object still owns."""
        if self._fd < 0:
            raise errors.Closed("this end of a pipe is closed, or in use by a producer or consumer")
        return self._fd

    def detach(self) -> int:
        """Return the file descriptor, which the caller owns from then on."""
        fd = self.fileno()
        self._fd = -1
        return fd

    def _open(self, writes: bool) -> int:
        _check_end(self.fileno(), str(self), writes=writes)
        return self.detach()

    def close(self) -> None:
        """Close this end. Closing again does nothing."""
        if self._fd >= 0:
            os.close(self.detach())

    def __str__(self) -> str:
        return f"pipe:{self.fileno()}"

    def __repr__(self) -> str:
        return f"<PipeEnd {self._fd}>" if self._fd >= 0 else "<PipeEnd, closed>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _received, (Passed(self.fileno()),)

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _received(passed: Passed) -> PipeEnd:
    return PipeEnd(passed.detach())


def _check_end(fd: int, url: str, *, writes: bool) -> None:
    try:
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
        is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError as error:
        raise errors.SystemRefused(error.errno, f"{url}: {error.strerror}", url) from None
    if not is_pipe or mode != (os.O_WRONLY if writes else os.O_RDONLY):
        raise ValueError(f"{url} is not the end of a pipe for {'writing' if writes else 'reading'}")
