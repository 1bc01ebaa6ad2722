"""Tasks of an event loop (asyncio, uvloop, trio, and so anyio) that wait for a handle's descriptor. No threads."""

from __future__ import annotations

import itertools
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


_numbers: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()  # of tasks; none is used again
_count = itertools.count(1 << 63)  # far from the numbers of threads


def task_number() -> int:
    """Of the task that is running in this thread, or 0."""
    task: object = None
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio")
    try:  # another thread may be importing them at this moment
        if asyncio is not None and (loop := asyncio._get_running_loop()) is not None:
            task = asyncio.current_task(loop)
        if task is None and trio is not None:
            task = trio.lowlevel.current_task()
    except (AttributeError, RuntimeError):  # trio does not run in this thread
        return 0
    if task is None:
        return 0
    return _numbers.get(task) or _numbers.setdefault(task, next(_count))


class _Loop:
    """The tasks of one asyncio loop that wait, in the order in which they came."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.fd = fd
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.picky: set[asyncio.Future[None]] = set()  # they wait for some messages only, so each is woken each time
        loop.add_reader(fd, self.wake)

    def call(self, what: Callable[[], None]) -> None:
        """Calls it in the loop's own thread, if the loop still runs."""
        if self.loop.is_closed():
            return
        if self.thread == threading.get_ident():
            what()
        else:
            with suppress(RuntimeError):  # it has been closed
                self.loop.call_soon_threadsafe(what)

    def wake(self) -> None:
        for future in (*self.picky, *[f for f in self.waiting if not f.done()][:1]):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        self.loop.remove_reader(self.fd)
        for future in (*self.picky, *self.waiting):
            if not future.done():
                future.set_result(None)


class Readiness:
    """Lets tasks wait until a handle's descriptor is readable; each then looks for itself, and may have to wait again.

    Nothing is taken while a task waits, so a task that is cancelled loses nothing.
    """

    def __init__(self) -> None:
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}
        self._closing = False
        self._beginning = threading.Lock()  # a task is seen by `closing`, or sees that it has been called
        self._trio_woken: Any = None  # trio: set when the one task that waits for the descriptor wakes
        self._notify: Any = None  # how to wake that task
        self._trio_token: Any = None
        self._trio_thread = 0

    async def wait(self, fd: int, picky: bool = False) -> None:
        loop = sys.modules["asyncio"]._get_running_loop() if "asyncio" in sys.modules else None
        if loop is None:
            await self._wait_in_trio(fd)
        else:
            await self._wait_in_asyncio(loop, fd, picky)

    async def _wait_in_asyncio(self, loop: asyncio.AbstractEventLoop, fd: int, picky: bool) -> None:
        with self._beginning:
            if self._closing:
                return
            tasks = self._loops.get(loop)
            if tasks is None:
                tasks = self._loops[loop] = _Loop(loop, fd)
            future = loop.create_future()
            waiting = tasks.picky.add if picky else tasks.waiting.append
            waiting(future)
        try:
            await future
        except BaseException:  # cancelled
            if future.done() and not future.cancelled():
                tasks.wake()  # we were woken for something that another can have
            raise
        finally:
            (tasks.picky if picky else tasks.waiting).remove(future)
            if not tasks.picky and not tasks.waiting and self._loops.get(loop) is tasks:
                del self._loops[loop]
                loop.remove_reader(tasks.fd)

    async def _wait_in_trio(self, fd: int) -> None:
        import trio

        if self._trio_woken is not None:
            await self._trio_woken.wait()
            return
        with self._beginning:
            if self._closing:
                return
            self._trio_woken = trio.Event()
            self._notify = partial(trio.lowlevel.notify_closing, fd)
            self._trio_token = trio.lowlevel.current_trio_token()
            self._trio_thread = threading.get_ident()
        try:
            await trio.lowlevel.wait_readable(fd)
        except trio.ClosedResourceError:  # sent by _wake_trio: the task is to look for itself
            await trio.lowlevel.checkpoint()
        except OSError:  # the descriptor was closed just before
            if not self._closing:
                raise
        finally:
            woken, self._trio_woken = self._trio_woken, None
            woken.set()

    def _wake_trio(self) -> None:
        if self._trio_woken is None:
            return
        if self._trio_thread == threading.get_ident():
            self._notify()
        else:
            with suppress(sys.modules["trio"].RunFinishedError):
                self._trio_token.run_sync_soon(self._notify)

    def wake_others(self) -> None:
        """For one that has looked, silenced the descriptor, and leaves something there. From any thread."""
        for tasks in list(self._loops.values()):
            tasks.call(tasks.wake)
        self._wake_trio()

    def closing(self) -> None:
        """All tasks go on, and find the handle closed, which refuses calls by now; none waits from here on.

        To be called before the descriptor is closed. From any thread.
        """
        with self._beginning:
            self._closing = True
        for loop, tasks in list(self._loops.items()):
            self._loops.pop(loop, None)
            tasks.call(tasks.wake_all)
        self._wake_trio()
