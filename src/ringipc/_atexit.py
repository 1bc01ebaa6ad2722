"""Closes the handles of a process that exits without closing them, so that its peers see an end and not a death.

Nothing can catch an exception then. So an error is printed to stderr, and the exit status becomes 120, which Python
uses for errors during finalization. An exception in an atexit function does not change the status, and os._exit would
skip the functions of others. But Python itself exits with 120 if it cannot flush a standard stream. So sys.stderr is
replaced by a stream that fails when it is flushed during finalization, and not when it is flushed earlier, for example
by other atexit functions.
"""

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from .errors import RingError


class _Handle(Protocol):
    def _end(self, *, exiting: bool) -> None: ...


_handles: "weakref.WeakSet[_Handle]" = weakref.WeakSet()
_first: list[Callable[[], None]] = []  # called before handles are closed
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


def call_first(function: Callable[[], None]) -> None:
    """Register a function that the thread which ends the interpreter calls before it closes handles."""
    _first.append(function)


def close_at_exit(handle: _Handle) -> None:
    _handles.add(handle)
    _register_with_multiprocessing()


def _close_all() -> None:
    for function in _first:
        function()
    for handle in list(_handles):
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


def _fail_in_child() -> None:
    """Set the exit status of a child of multiprocessing, unless it has failed already."""
    error = sys.exc_info()[1]
    is_child = sys.modules["multiprocessing.process"].parent_process() is not None
    if is_child and _failed == os.getpid() and (error is None or getattr(error, "code", 1) in (0, None)):
        raise SystemExit(_STATUS)


def _join_and_close_all() -> None:
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    _close_all()


def _register_with_multiprocessing() -> None:
    """Register with multiprocessing, which does not run atexit functions in forked children.

    Its main process joins its children before atexit functions run, and they may wait for our end of stream. It calls
    its own functions before the threads of a child have ended, so these are joined first.
    """
    global _registered_in
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _registered_in != os.getpid():
        _registered_in = os.getpid()
        util.Finalize(None, _join_and_close_all, exitpriority=0)
        util.Finalize(None, _fail_in_child, exitpriority=-1000)  # after all others


atexit.register(_close_all)
