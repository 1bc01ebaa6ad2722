"""Anonymous pipes as a program holds them, before a handle takes an end over."""

import contextlib
import fcntl
import os
from collections.abc import Callable
from typing import Any, Self

from .. import errors

_SIZE = 1 << 20  # bytes in a pipe, as much as any user may ask for


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
    True
    b'through a pipe'
    """
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise errors.SystemRefused(error.errno, error.strerror) from None
    with contextlib.suppress(OSError):  # it is smaller where many pipes are open
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _SIZE)
    return PipeEnd(writing), PipeEnd(reading)
