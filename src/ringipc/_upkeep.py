"""Bring the pollfds of this process up to date from time to time.

A pollfd becomes readable because another process makes it so. A process that is killed does not, so somebody has to
look for the dead. This is a thread, and not the program that waits for the pollfd: that is woken only if there is
something to get.
"""

import os
import signal
import threading
import weakref
from typing import Protocol

_EVERY = 0.6  # seconds; a little more than the interval in which a member looks for the dead


class Pollable(Protocol):
    """A handle that has a pollfd."""

    def _update_pollfd(self) -> None: ...


class _Upkeep:
    """The handles of this process that have a pollfd, and the thread that keeps it up to date."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._handles: weakref.WeakSet[Pollable] = weakref.WeakSet()
        self._thread: threading.Thread | None = None

    def begin(self, handle: Pollable) -> None:
        with self._changed:
            self._handles.add(handle)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ringipc pollfds", daemon=True)
                self._thread.start()

    def end(self, handle: Pollable) -> None:
        with self._changed:
            if handle in self._handles:
                self._handles.discard(handle)
                self._changed.notify()

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the threads of the program
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._handles, _EVERY)
                handles = list(self._handles)
                if not handles:
                    self._thread = None
                    return
            while handles:
                handles.pop()._update_pollfd()


_upkeep = _Upkeep()


def begin(handle: Pollable) -> None:
    """Keep the pollfd of a handle up to date until `end`, or until the handle is gone."""
    _upkeep.begin(handle)


def end(handle: Pollable) -> None:
    """The handle is being closed."""
    _upkeep.end(handle)


def _forget() -> None:
    """In a forked child: its handles are those of its parent, and it has no thread."""
    global _upkeep
    _upkeep = _Upkeep()


os.register_at_fork(after_in_child=_forget)
