"""Let tasks of an event loop (asyncio, uvloop, trio, and so anyio) wait for the pollfd of a handle, without threads.

Opening a handle, and closing one that has connections, can block for other reasons: a thread does that for a task.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import RingError

if TYPE_CHECKING:
    import asyncio

_T = TypeVar("_T")


_numbers: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()  # of tasks; a number is never used again
_count = itertools.count(1 << 63)  # outside the range of thread idents


def task_number() -> int:
    """Return the number of the task that runs in this thread, or 0."""
    task: object = None
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio")
    try:  # another thread may import these modules at this moment
        if asyncio is not None and (loop := asyncio._get_running_loop()) is not None:
            task = asyncio.current_task(loop)
        if task is None and trio is not None:
            task = trio.lowlevel.current_task()
    except (AttributeError, RuntimeError):  # trio does not run in this thread
        return 0
    if task is None:
        return 0
    return _numbers.get(task) or _numbers.setdefault(task, next(_count))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the asyncio loop that runs in this thread; None in trio."""
    loop: asyncio.AbstractEventLoop | None = None
    if "asyncio" in sys.modules:
        loop = sys.modules["asyncio"]._get_running_loop()
    return loop


class _Loop:
    """The waiting tasks of one asyncio loop, in the order in which they started to wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.fd = fd
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.picky: set[asyncio.Future[None]] = set()  # of tasks that select messages: all are woken each time
        loop.add_reader(fd, self.wake)

    def call(self, what: Callable[[], None]) -> None:
        """Call the function in the thread of the loop, if the loop still runs."""
        if self.loop.is_closed():
            return
        if self.thread == threading.get_ident():
            what()
        else:
            with suppress(RuntimeError):  # the loop has been closed
                self.loop.call_soon_threadsafe(what)

    def wake(self) -> None:
        """Wake the task that has waited longest, and all that select messages."""
        for future in (*self.picky, *[f for f in self.waiting if not f.done()][:1]):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        """Wake all tasks, and stop watching the pollfd, which is about to be closed."""
        self.loop.remove_reader(self.fd)
        for future in (*self.picky, *self.waiting):
            if not future.done():
                future.set_result(None)


class Readiness:
    """Waits of tasks until the pollfd of a handle is readable. Each task then polls, and may have to wait again.

    A task takes no message while it waits, so a task that is cancelled loses none.
    """

    def __init__(self) -> None:
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}
        self._closing = False
        self.wakes = 0  # calls of `wake_others`
        # so that `closing` and `wake_others` wake a task, or the task finds that they have been called
        self._start_lock = threading.Lock()
        self._trio_event: Any = None  # one trio task waits for the pollfd, the others for this event
        self._notify: Any = None  # wakes the task that waits for the pollfd
        self._trio_token: Any = None
        self._trio_thread = 0

    async def wait(self, fd: int, picky: bool = False, since: int | None = None) -> None:
        """Wait until fd is readable, or the handle is closed.

        Parameters
        ----------
        picky
            Wake the task at each message, with the others.
        since
            What `wakes` was before the task polled: return at once if `wake_others` has been called since.
        """
        loop = _running_loop()
        if loop is None:
            await self._wait_in_trio(fd, since)
        else:
            await self._wait_in_asyncio(loop, fd, picky, since)

    def _is_over(self, since: int | None) -> bool:
        return self._closing or (since is not None and since != self.wakes)

    async def _wait_in_asyncio(self, loop: asyncio.AbstractEventLoop, fd: int, picky: bool, since: int | None) -> None:
        with self._start_lock:
            if self._is_over(since):
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
                tasks.wake()  # another task can have the message that this one was woken for
            raise
        finally:
            (tasks.picky if picky else tasks.waiting).remove(future)
            if not tasks.picky and not tasks.waiting and self._loops.get(loop) is tasks:
                del self._loops[loop]
                loop.remove_reader(tasks.fd)

    async def _wait_in_trio(self, fd: int, since: int | None) -> None:
        import trio

        if self._trio_event is not None:
            await self._trio_event.wait()
            return
        with self._start_lock:
            if self._is_over(since):
                return
            self._trio_event = trio.Event()
            self._notify = partial(trio.lowlevel.notify_closing, fd)
            self._trio_token = trio.lowlevel.current_trio_token()
            self._trio_thread = threading.get_ident()
        try:
            await trio.lowlevel.wait_readable(fd)
        except trio.ClosedResourceError:  # raised by _wake_trio: the task polls again
            await trio.lowlevel.checkpoint()
        except OSError:  # the pollfd was closed just before
            if not self._closing:
                raise
        finally:
            event, self._trio_event = self._trio_event, None
            event.set()

    def _wake_trio(self) -> None:
        if self._trio_event is None:
            return
        if self._trio_thread == threading.get_ident():
            self._notify()
        else:
            with suppress(sys.modules["trio"].RunFinishedError):
                self._trio_token.run_sync_soon(self._notify)

    def wake_others(self) -> None:
        """Wake other tasks if a call has reset the pollfd and leaves a message for them. Callable from any thread."""
        with self._start_lock:
            self.wakes += 1
        for tasks in list(self._loops.values()):
            tasks.call(tasks.wake)
        self._wake_trio()

    def closing(self) -> None:
        """Wake all tasks, which then find the handle closed. From now on no task waits.

        Call this when the handle refuses calls, before its pollfd is closed. Callable from any thread.
        """
        with self._start_lock:
            self._closing = True
        for loop, tasks in list(self._loops.items()):
            self._loops.pop(loop, None)
            tasks.call(tasks.wake_all)
        self._wake_trio()


class Abandoned(RingError):
    """The task for which a handle is being opened has been cancelled. Users never see this error."""


_opening = threading.local()  # abandoned: an Event, in a thread that opens a handle for a task


def pause(seconds: float) -> None:
    """Sleep, in a loop that waits for a peer while a handle is opened.

    Raises
    ------
    Abandoned
        The handle is opened for a task that has been cancelled.
    """
    abandoned: threading.Event | None = getattr(_opening, "abandoned", None)
    if abandoned is None:
        time.sleep(seconds)
    elif abandoned.wait(seconds):
        raise Abandoned


async def open_in_thread(cls: type[_T], channel: object, options: dict[str, Any]) -> _T:
    """Return cls(channel, **options) without blocking the event loop. A cancelled task leaves no handle."""
    abandoned = threading.Event()

    def open_handle() -> Any:
        _opening.abandoned = abandoned
        return cls(channel, **options)  # type: ignore[call-arg]

    opened: Future[Any] = Future()
    try:
        await _run_in_thread(open_handle, opened, abandoned.set)
    except BaseException:
        if opened.done() and opened.exception() is None:  # the task was cancelled at the last moment
            opened.result().close()
        raise
    try:
        return opened.result()  # type: ignore[no-any-return]
    finally:
        del opened  # else an error keeps this frame, and this frame the error


async def leave(handle: Any, *error: Any) -> None:
    """End the `async with` block of a handle. Connections may have to wait for their peers, up to `linger`."""
    if handle._link is None:
        handle.__exit__(*error)
        return
    closed: Future[None] = Future()
    await _run_in_thread(partial(handle.__exit__, *error), closed, lambda: None)
    try:
        closed.result()
    finally:
        del closed  # as above


async def _run_in_thread(call: Callable[[], _T], result: Future[_T], abandon: Callable[[], object]) -> None:
    """Make a call in a thread and wait until it has returned. If the task is cancelled, call abandon first.

    Each call has a thread of its own: calls that wait for each other could fill a pool.
    """
    loop = _running_loop()
    done: Any
    report: Callable[[], object]
    if loop is not None:
        done = sys.modules["asyncio"].Event()
        report = partial(loop.call_soon_threadsafe, done.set)
    else:
        import trio

        done = trio.Event()
        report = partial(trio.lowlevel.current_trio_token().run_sync_soon, done.set)

    arguments = (call, result, report)
    thread = threading.Thread(target=_call_in_thread, args=arguments, name="ringipc open or close", daemon=True)
    thread.start()
    try:
        await done.wait()
    except GeneratorExit:  # nobody runs the task any more: it cannot wait
        abandon()
        raise
    except BaseException:  # cancelled
        abandon()
        await _wait_uncancelled(done, loop)
        thread.join()
        raise
    thread.join()  # it has nothing more to do


def _call_in_thread(call: Callable[[], _T], result: Future[_T], report: Callable[[], object]) -> None:
    try:
        result.set_result(call())
    except BaseException as error:  # noqa: BLE001  it is raised in the task
        result.set_exception(error)
        del result  # else the error keeps this frame, and this frame the error
    with suppress(RuntimeError):  # the loop has been closed
        report()


async def _wait_uncancelled(done: Any, loop: asyncio.AbstractEventLoop | None) -> None:
    if loop is None:
        import trio

        with trio.CancelScope(shield=True):
            await done.wait()
        return
    while not done.is_set():
        with suppress(sys.modules["asyncio"].CancelledError):
            await done.wait()
