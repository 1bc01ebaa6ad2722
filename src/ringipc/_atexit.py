"""Closes the handles of a process that exits without closing them, so that its peers see an end and not a death.

Nothing can catch an exception then. So an error is printed to stderr, and the exit status becomes 120, which Python
uses for errors during finalization. An exception in an atexit function does not change the status, and os._exit would
skip the functions of others. But Python itself exits with 120 if it cannot flush a standard stream. So sys.stderr is
replaced by a stream that fails when it is flushed during finalization, and not when it is flushed earlier, for example
by other atexit functions.

There are two moments. Most handles are closed before multiprocessing joins the children of this process, because a
child may wait for the end of a stream, or for a lock. Handles that finalizers of multiprocessing use (queues flush at
priority -5, after that) are closed after all of these: `close_last`.

::

    in a program                     in a child of multiprocessing
    atexit: _close_first             finalizer of priority 0: _join_threads_and_close_first
    atexit of multiprocessing:       children are joined
      children are joined            finalizers of priority < 0
      finalizers of priority < 0     the last finalizer: _close_rest
      the last finalizer: _close_rest

A program may run the finalizers of multiprocessing earlier, as its tests do. So the last one is registered late.
"""

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from multiprocessing import util  # before `atexit.register` below: what is registered first is called last
from multiprocessing.process import current_process, parent_process
from typing import Any, Protocol

from .errors import RingError


class _Handle(Protocol):
    def _end(self, *, exiting: bool) -> None: ...


_handles: "weakref.WeakSet[_Handle]" = weakref.WeakSet()
_last: "weakref.WeakSet[_Handle]" = weakref.WeakSet()  # those that are closed after the others
_before: list[Callable[[bool], None]] = []  # called before handles are closed
_registered_in = 0  # pid of the process that has registered with multiprocessing
_failed = 0  # pid of the process that is to exit with _STATUS
_STATUS = 120


class _Failed:
    """Replaces sys.stderr: does the same, and makes the exit status 120."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()
        if sys.is_finalizing():
            raise ValueError("ringipc could not close all handles")  # Python does not print a traceback of this


def call_before(function: Callable[[bool], None]) -> None:
    """Register a function that the thread which ends the interpreter calls before it closes handles.

    It is called with True if these are all handles, with False if it is called again later.
    """
    _before.append(function)


def close_at_exit(handle: _Handle) -> None:
    _handles.add(handle)
    _register_with_multiprocessing()


def close_last(handle: _Handle) -> None:
    """Close a handle at exit after the others: when the finalizers of multiprocessing, which may use it, have run."""
    close_at_exit(handle)
    _last.add(handle)


def _close_first() -> None:
    util.Finalize(None, _close_rest, exitpriority=-sys.maxsize)  # after all others
    _close([handle for handle in _handles if handle not in _last], rest=not _last)


def _close_rest() -> None:
    _close(list(_handles), rest=True)
    if parent_process() is not None and _failed == os.getpid():
        _fail_child()


def _fail_child() -> None:
    """Set the exit status of a child of multiprocessing, unless it has failed already. Nothing else is left to be done.

    Until Python 3.12 its finalizers were called before its status was known. From 3.13 on they are atexit functions;
    forked children then end without a flush of sys.stderr, and do not look at an exception.
    """
    if sys.version_info < (3, 13):
        error = sys.exc_info()[1]
        if error is None or getattr(error, "code", 1) in (0, None):
            raise SystemExit(_STATUS)
    elif current_process()._start_method != "spawn":  # type: ignore[attr-defined,unused-ignore]
        if sys.stdout is not None:
            sys.stdout.flush()
        os._exit(_STATUS)


def _close(handles: Iterable[_Handle], *, rest: bool) -> None:
    for function in _before:
        function(rest)
    for handle in handles:
        _handles.discard(handle)  # multiprocessing and atexit both call this
        try:
            _end(handle)
        except RingError as error:  # the other handles are still to be closed
            _report(str(error))
    if _failed == os.getpid() and not isinstance(sys.stderr, _Failed):
        sys.stderr = _Failed(sys.stderr)


def _end(handle: _Handle) -> None:
    while True:
        try:
            return handle._end(exiting=True)
        except KeyboardInterrupt:  # again: it does not wait any more, and reports what is lost
            continue


def fail_at_exit() -> None:
    """Exit with status 120, because messages are lost; the caller has reported that."""
    global _failed
    _failed = os.getpid()


def _report(text: str) -> None:
    fail_at_exit()
    if sys.stderr is not None:
        print(f"ringipc: at exit: {text}", file=sys.stderr)


def _join_threads_and_close_first() -> None:
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    _close_first()


def _register_with_multiprocessing() -> None:
    """Register with multiprocessing in its children: forked ones do not run the atexit functions of their parent.

    It calls its finalizers before the threads of a child have ended, so these are joined first.
    """
    global _registered_in
    if _registered_in != os.getpid() and parent_process() is not None:
        _registered_in = os.getpid()
        util.Finalize(None, _join_threads_and_close_first, exitpriority=0)


atexit.register(_close_first)
