"""Semaphores, locks, events and barriers in shared memory, which come right when a process is killed."""

import errno
import os
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from . import _arguments, _atexit, _facts, _failures, _names, errors
from ._arguments import WAITS, Wait
from ._core import (
    BARRIER,
    EVENT,
    LOCK,
    MUST_BE,
    SEMAPHORE,
    BaseBarrier,
    BaseEvent,
    BaseLock,
    BaseSemaphore,
    BaseSync,
    own_methods,
    wanted,
)


class _Shared(BaseSync):
    """What the four have in common: a name or none, and how they come to other processes."""

    _kind: int
    _what: str
    name: str | None

    def _begin(
        self, name: str | None, value: int | None, undo: bool, wait: Wait, *, fd: int = -1, passed: bool = False
    ) -> None:
        if wait not in WAITS:
            raise ValueError(f'wait must be "spin", "adaptive" or "block", not {wait!r}')
        if name is not None:
            _failures.check_base()
        self._code = None if name is None else _names.checked_name(name, self._what)
        self.name = name
        self._options = (value, undo, wait)
        rc = self._open(self._code, fd, self._kind, MUST_BE if passed else value, undo, WAITS[wait])
        if passed and rc == -errno.ENOENT:
            raise errors.Closed(
                f"{self._called()} ended before this process had opened it: keep the handle that was passed open until "
                "then, or pass one without a name"
            )
        if rc == -errno.ENOENT:
            raise errors.SystemRefused(errno.ENOENT, f"{self._called()}: only its owner can make it, and has not", name)
        if rc < 0:
            self._fail(rc)
        _atexit.close_at_exit(self)

    def _called(self) -> str:
        return f"{self._what} {self.name!r}" if self.name is not None else f"this {self._what}"

    def _fail(self, code: int) -> NoReturn:
        _failures.fail_sync(code, self._what, self.name, self._options[0], wanted())

    def close(self) -> None:
        """Lets it go. What has a name goes with the last one that has it open. Closing again does nothing.

        If a signal's handler raises meanwhile (Ctrl-C), every other call finds it closed, but what it holds has not
        come back yet: close it again, or let it be closed at exit.
        """
        self._end(exiting=False)

    def _end(self, *, exiting: bool) -> None:
        code = self._close(exiting)
        if code < 0:
            self._fail(code)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """To another process: by name, or where there is none as a descriptor that `multiprocessing` passes on."""
        if self.name is not None:
            return _open_named, (type(self), self.name, self._options)
        from multiprocessing.reduction import DupFd

        return _open_passed, (type(self), DupFd(self._descriptor()), self._options)

    def __repr__(self) -> str:
        name = getattr(self, "name", None)
        return f"<{type(self).__name__}{'' if name is None else f' {name!r}'}{', closed' if self.closed else ''}>"


class _Passed(Protocol):
    def detach(self) -> int: ...


def _open_named(cls: type[_Shared], name: str, options: tuple[int | None, bool, Wait]) -> _Shared:
    made = cls.__new__(cls)
    made._begin(name, *options, passed=True)
    return made


def _open_passed(cls: type[_Shared], passed: _Passed, options: tuple[int | None, bool, Wait]) -> _Shared:
    fd = passed.detach()
    try:
        made = cls.__new__(cls)
        made._begin(None, *options, fd=fd, passed=True)
    finally:
        os.close(fd)
    return made


@own_methods
class Semaphore(BaseSemaphore, _Shared):
    """A number of units that processes take and give back; `P` and `V` are other names of `acquire` and `release`.

    Threads may share it. It can be inherited by a forked process, and passed to another one as an argument.

    Parameters
    ----------
    name
        For processes that are not related: one name space with channels. It ends with the last one that has it open.
        None: it has no name and is passed as an argument. It exists until every process that has it, or is about to
        receive it, has closed it or ended.
    value
        Units at the start, 0 to 2**31 - 1. None: take it as it is, and if it is not there, make it with 1.
    undo
        What this handle has taken and not given back comes back when it is closed, or its process is killed: then
        within a second, as soon as somebody waits. Each handle counts its own.
    wait
        How `acquire` waits; as in `Producer`.

    Raises
    ------
    Incompatible
        Something else has this name, or it began with another value.
    TableFull
        255 handles have it open already.
    SystemRefused
        There is no space, or it is another user's: an `OSError`, whose `errno` says what.

    Examples
    --------
    >>> import ringipc
    >>> gpus = ringipc.Semaphore(value=4, undo=True)
    >>> gpus.acquire(3), gpus.acquire(2, timeout=0), gpus.value
    (True, False, 1)
    >>> gpus.release(3)
    >>> with gpus:
    ...     gpus.value
    3
    >>> gpus.close()
    """

    _kind = SEMAPHORE
    _what = "semaphore"

    def __init__(
        self, name: str | None = None, value: int | None = None, *, undo: bool = False, wait: Wait = "adaptive"
    ) -> None:
        if value is not None:
            value = _arguments.checked_count(value, "value", "units", 0, _facts.MAX_UNITS)
        self._begin(name, value, undo, wait)

    P = BaseSemaphore.acquire
    V = BaseSemaphore.release

    @property
    def value(self) -> int:
        """Units that are there now."""
        return self._value()


@own_methods
class Lock(BaseLock, _Shared):
    """One owner at a time; when that is killed, the next one gets it, and is told.

    Threads may share the handle, and are kept apart like processes; it is the handle that owns the lock, so another
    thread can release it. It cannot be taken twice.

    Parameters
    ----------
    name, wait
        As in `Semaphore`.

    Raises
    ------
    Incompatible, TableFull, SystemRefused
        As in `Semaphore`.

    Examples
    --------
    >>> import ringipc
    >>> with ringipc.Lock() as lock:
    ...     if lock.owner_died:
    ...         pass  # what it guards may be half-done: mend that
    >>> lock.close()
    """

    _kind = LOCK
    _what = "lock"

    def __init__(self, name: str | None = None, *, wait: Wait = "adaptive") -> None:
        self._begin(name, None, True, wait)


@own_methods
class Event(BaseEvent, _Shared):
    """A flag that processes wait for. It begins unset.

    Parameters
    ----------
    name, wait
        As in `Semaphore`.

    Raises
    ------
    Incompatible, TableFull, SystemRefused
        As in `Semaphore`.

    Examples
    --------
    >>> import ringipc
    >>> ready = ringipc.Event()
    >>> ready.wait(timeout=0.01)
    False
    >>> ready.set()
    >>> ready.wait()
    True
    >>> ready.close()
    """

    _kind = EVENT
    _what = "event"

    def __init__(self, name: str | None = None, *, wait: Wait = "adaptive") -> None:
        self._begin(name, 0, False, wait)


@own_methods
class Barrier(BaseBarrier, _Shared):
    """A place where a number of processes wait until all of them have come; then the next round begins.

    A process that is killed with the barrier open breaks it, within a second while somebody waits: the others get
    `BrokenBarrier` and do not wait for ever.

    Parameters
    ----------
    name, wait
        As in `Semaphore`.
    parties
        How many it waits for, 1 to 255. None: as it was made.

    Raises
    ------
    Incompatible, TableFull, SystemRefused
        As in `Semaphore`; another number of parties, too.

    Examples
    --------
    >>> import ringipc, threading
    >>> barrier = ringipc.Barrier(parties=2)
    >>> other = threading.Thread(target=barrier.wait)
    >>> other.start()
    >>> barrier.wait() in (0, 1)
    True
    >>> other.join()
    >>> barrier.close()
    """

    _kind = BARRIER
    _what = "barrier"

    def __init__(self, name: str | None = None, parties: int | None = None, *, wait: Wait = "adaptive") -> None:
        if parties is not None:
            parties = _arguments.checked_count(parties, "parties", "handles", 1, _facts.MAX_PARTIES)
        self._begin(name, parties, False, wait)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the others: our place in this round, 0 for who came first.

        Parameters
        ----------
        timeout
            Seconds; None waits for ever.

        Raises
        ------
        BrokenBarrier
            Not all came within timeout seconds, and the barrier is broken now; or it has been broken by another.
        Closed
            This handle is closed, or another thread closes it meanwhile.
        """
        place = self._wait(timeout)
        if place == -errno.ETIMEDOUT:
            raise errors.BrokenBarrier(
                f"{self._called()}: not all of {self.parties} came within {timeout} s; reset it to go on"
            )
        if place < 0:
            self._fail(place)
        return place
