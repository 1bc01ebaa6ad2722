"""Locks, semaphores, events, conditions and barriers with the interface of `multiprocessing.synchronize`.

Each of them is 8 bytes in shared memory, and barriers and conditions a few more. None has a file descriptor or a name
of its own, so there is nothing that could be left behind. They are passed to other processes in every way in which
objects are passed: as arguments, and also through queues and connections.
"""

import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import synchronize as standard
from multiprocessing.process import current_process
from typing import Any, Self

from .._core import RLock as _WordRLock
from .._core import WordCondition, WordEvent, WordLock, WordSemaphore, shared_block
from ._standard import fall_back

__all__ = ["Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"]


def _owner(lock: "Lock | RLock") -> str:
    """Return the name of the owner of a lock, as far as this process knows it."""
    if lock._is_mine():
        thread = threading.current_thread().name
        return current_process().name + ("" if thread == "MainThread" else f"|{thread}")
    if not lock.locked():
        return "None"
    return "SomeOtherThread" if lock._count() else "SomeOtherProcess"


class _SemLock:
    """What the standard library's executor asks of a lock or semaphore: the semaphore in it."""

    @property
    def _semlock(self) -> Self:
        return self

    def _get_value(self) -> int:
        raise NotImplementedError

    def _is_zero(self) -> bool:
        return self._get_value() == 0


class Lock(_SemLock, WordLock, standard.Lock):
    """A lock, which is not recursive; every process and thread can release it.

    If its owner is killed, the next process gets it within a tenth of a second, and `owner_died` is True for it.
    """

    def __init__(self, *, ctx: Any = None) -> None:
        WordLock.__init__(self)

    def _get_value(self) -> int:
        return int(not self.locked())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(owner={_owner(self)})>"


class RLock(_SemLock, _WordRLock, standard.RLock):
    """A recursive lock. If its owner is killed, the next process gets it, as a `Lock`."""

    def __init__(self, *, ctx: Any = None) -> None:
        _WordRLock.__init__(self)

    def _get_value(self) -> int:
        return int(not self.locked())

    def __repr__(self) -> str:
        count = self._count() if self._is_mine() or not self.locked() else "nonzero"
        return f"<{type(self).__name__}({_owner(self)}, {count})>"


class Semaphore(_SemLock, WordSemaphore, standard.Semaphore):
    """A semaphore. Nobody owns its units; those of a killed process are lost, see `ringipc.Semaphore`."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        WordSemaphore.__init__(self, value)

    def _get_value(self) -> int:
        return self.get_value()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()})>"


class BoundedSemaphore(Semaphore, standard.BoundedSemaphore):
    """A semaphore whose value never exceeds the initial one: then `release` raises ValueError."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        WordSemaphore.__init__(self, value, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}(value={self.get_value()}, maxvalue={self.most})>"


class _Count:
    """One of the numbers of a condition, in the shape in which the standard library has it: a semaphore."""

    def __init__(self, get: Callable[[], int]) -> None:
        self.get_value = get


class Condition(standard.Condition):
    """A condition variable.

    `notify` does not wait for the threads that it notifies. So a process that is killed in `wait` stops nobody: the
    notification that it does not collect is collected by another thread.
    """

    _lock: Any
    _waiters: WordCondition

    def __init__(self, lock: Any = None, *, ctx: Any = None) -> None:
        self.__setstate__((lock or RLock(), WordCondition()))

    def __getstate__(self) -> Any:
        return self._lock, self._waiters

    def __setstate__(self, state: Any) -> None:
        self._lock, self._waiters = state
        vars(self).update(acquire=self._lock.acquire, release=self._lock.release)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._lock}, {sum(self._waiters.counts())})>"

    @property
    def _sleeping_count(self) -> _Count:
        return _Count(lambda: sum(self._waiters.counts()))

    @property
    def _woken_count(self) -> _Count:
        return _Count(lambda: 0)  # a thread that has woken does not count as sleeping any more

    @property
    def _wait_semaphore(self) -> _Count:
        return _Count(lambda: self._waiters.counts()[1])

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait for a notification, and acquire the lock again.

        Parameters
        ----------
        timeout
            Seconds; None waits for ever.

        Returns
        -------
        bool
            False if there was no notification within the timeout.

        Raises
        ------
        AssertionError
            This thread has not acquired the lock.
        """
        owned = self._lock._semlock
        if not owned._is_mine():
            raise AssertionError("must acquire() condition before using wait()")
        waiters = self._waiters
        deadline = None if timeout is None else time.monotonic() + timeout
        depth = range(owned._count())
        turn = arrived = waiters.arrive()
        collected = False
        try:
            while not collected:
                in_time = self._sleep(depth, turn, None if deadline is None else deadline - time.monotonic())
                collected = waiters.collect(arrived)
                if not in_time:
                    break
                turn = waiters.turn()
            return collected
        except BaseException:  # for example Ctrl-C: another thread gets what this one was notified of
            collected = waiters.collect(arrived)
            if collected:
                waiters.notify(1)
            raise
        finally:
            if not collected:
                waiters.leave()

    def _sleep(self, depth: range, turn: int, timeout: float | None) -> bool:
        """Sleep without the lock until the turn is over. Return False if it was not within the timeout."""
        for _ in depth:
            self._lock.release()
        try:
            return self._waiters.sleep(turn, timeout)
        finally:
            for _ in depth:
                self._lock.acquire()

    def notify(self, n: int = 1) -> None:
        """Wake up to n threads that wait.

        Raises
        ------
        AssertionError
            This thread has not acquired the lock.
        """
        if not self._lock._semlock._is_mine():
            raise AssertionError("lock is not owned")
        self._waiters.notify(n)

    def notify_all(self) -> None:
        """Wake all threads that wait."""
        self.notify(sys.maxsize)


class Event(WordEvent, standard.Event):
    """An event. A process that is killed while it waits stops nobody."""

    def __init__(self, *, ctx: Any = None) -> None:
        WordEvent.__init__(self)


class Barrier(standard.Barrier):
    """A barrier; see `ringipc.Barrier` for one that breaks when a party is killed."""

    def __init__(
        self, parties: int, action: Callable[[], Any] | None = None, timeout: float | None = None, *, ctx: Any = None
    ) -> None:
        super().__setstate__((parties, action, timeout, Condition(), shared_block(8)))  # type: ignore[misc]
        self._state = 0
        self._count = 0


__getattr__ = fall_back(__name__)
