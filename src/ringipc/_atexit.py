"""A process that ends without closing its handles closes them here, so that its peers see an end and not a death.

What fails then must not be missed, though nobody is there any more to catch an exception: it is told on stderr, and the
process ends with status 120, which is Python's for an error while it finalizes. An exception in an atexit function does
not change the status, and os._exit would skip what others have to do at the end. But Python itself makes the status 120
where a standard stream cannot be flushed; so sys.stderr is replaced by one that fails when it is flushed there, and not
when it is flushed earlier, by other functions of atexit for example.
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
_told_multiprocessing = 0  # the pid of the process that has
_failed = 0  # the pid of the process whose exit status is to say so
_STATUS = 120


class _Failed:
    """In the place of sys.stderr: does what that does, and makes the exit status 120."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()
        if sys.is_finalizing():
            raise ValueError("ringipc could not close all handles")  # the interpreter shows no traceback of it


def call_first(function: Callable[[], None]) -> None:
    """Registers a function that the thread which ends the interpreter calls before it closes handles."""
    _first.append(function)


def close_at_exit(handle: _Handle) -> None:
    _handles.add(handle)
    _tell_multiprocessing()


def _close_all() -> None:
    for function in _first:
        function()
    for handle in list(_handles):
        _handles.discard(handle)  # multiprocessing and atexit both come here
        try:
            _end(handle)
        except RingError as error:  # the others are to be closed all the same
            _tell(str(error))
    if _failed == os.getpid() and not isinstance(sys.stderr, _Failed):
        sys.stderr = _Failed(sys.stderr)


def _end(handle: _Handle) -> None:
    while True:
        try:
            return handle._end(exiting=True)
        except KeyboardInterrupt:  # once more: what was interrupted does not wait again, and says what is lost
            continue


def fail_at_exit() -> None:
    """Something is lost that was to outlive this process, and it has been told: now the exit status is to say so."""
    global _failed
    _failed = os.getpid()


def _tell(text: str) -> None:
    fail_at_exit()
    if sys.stderr is not None:
        print(f"ringipc: at exit: {text}", file=sys.stderr)


def _fail_in_child() -> None:
    """A child of multiprocessing takes its status from here, unless it has failed already."""
    error = sys.exc_info()[1]
    is_child = sys.modules["multiprocessing.process"].parent_process() is not None
    if is_child and _failed == os.getpid() and (error is None or getattr(error, "code", 1) in (0, None)):
        raise SystemExit(_STATUS)


def _join_and_close_all() -> None:
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    _close_all()


def _tell_multiprocessing() -> None:
    """Its forked children skip atexit, its main process joins its children first, who may wait for our end of stream.

    It calls us before the threads of a child have ended, so we wait for them.
    """
    global _told_multiprocessing
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _told_multiprocessing != os.getpid():
        _told_multiprocessing = os.getpid()
        util.Finalize(None, _join_and_close_all, exitpriority=0)
        util.Finalize(None, _fail_in_child, exitpriority=-1000)  # the last of all


atexit.register(_close_all)
