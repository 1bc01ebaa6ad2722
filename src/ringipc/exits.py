"""A process that ends without closing its handles closes them here, so that its peers see an end and not a death."""

import atexit
import os
import sys
import threading
import weakref
from typing import Protocol

from .errors import RingError


class _Handle(Protocol):
    def _end(self, *, exiting: bool) -> None: ...


_handles: "weakref.WeakSet[_Handle]" = weakref.WeakSet()
_told_multiprocessing = 0  # the pid of the process that has


def close_at_exit(handle: _Handle) -> None:
    _handles.add(handle)
    _tell_multiprocessing()


def _close_all() -> None:
    failed: RingError | None = None
    for handle in list(_handles):
        try:
            handle._end(exiting=True)
        except RingError as error:  # the others are to be closed all the same
            failed = error
    if failed is not None:
        raise failed


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


atexit.register(_close_all)
