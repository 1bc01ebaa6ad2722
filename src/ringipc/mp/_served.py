"""What a manager's server serves in the place of `threading`: locks that a killed client does not keep.

Each client is served by a thread, which keeps a list of the locks that its client has acquired. If the client ends
without saying so, the thread releases them.
"""

import threading
from collections.abc import Callable
from typing import Any

_of_thread = threading.local()


def _held() -> list["Lock"]:
    """Return the locks that the client of this thread has; one that it has acquired twice is in it twice."""
    try:
        return _of_thread.held  # type: ignore[no-any-return]
    except AttributeError:
        held: list[Lock] = []
        _of_thread.held = held
        return held


def release_all() -> None:
    """Release the locks of the client of this thread, which was killed."""
    for lock in _held().copy():
        lock.release()


class Lock:
    """As `threading.Lock`."""

    _make: Callable[[], Any] = threading.Lock

    def __init__(self) -> None:
        self._lock = type(self)._make()
        self._held: list[Lock] = []  # the list of the client that has it

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire the lock."""
        if not self._lock.acquire(blocking, timeout):
            return False
        self._held = _held()
        self._held.append(self)
        return True

    def release(self) -> None:
        """Release the lock, of this client or another one."""
        held = self._held
        self._lock.release()
        held.remove(self)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return repr(self._lock)


class RLock(Lock):
    """As `threading.RLock`: the client that has acquired it releases it."""

    _make = threading.RLock

    def _is_owned(self) -> bool:
        return self in _held()

    def _release_save(self) -> int:
        """Release the lock, which a condition is going to wait for; return how often it was acquired."""
        count = _held().count(self)
        for _ in range(count):
            self.release()
        return count

    def _acquire_restore(self, count: int) -> None:
        for _ in range(count):
            self.acquire()


def Condition(lock: Any = None) -> threading.Condition:
    """As `threading.Condition`."""
    return threading.Condition(lock or RLock())  # type: ignore[arg-type]  # it has what a condition needs
