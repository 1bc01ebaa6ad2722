"""Tasks of an event loop (asyncio, uvloop, trio, and so anyio) that wait for a handle's descriptor. No threads."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class _Loop:
    """The tasks of one asyncio loop that wait, in the order in which they came."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.fd = fd
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.picky: set[asyncio.Future[None]] = set()  # they wait for some messages only, so each is woken each time
        loop.add_reader(fd, self.wake)

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
        self._pump: Any = None  # trio: what the tasks wait for that do not wait for the descriptor themselves
        self._trio_fd = -1

    async def wait(self, fd: int, picky: bool = False) -> None:
        loop = sys.modules["asyncio"]._get_running_loop() if "asyncio" in sys.modules else None
        if loop is None:
            await self._wait_in_trio(fd)
        else:
            await self._wait_in_asyncio(loop, fd, picky)

    async def _wait_in_asyncio(self, loop: asyncio.AbstractEventLoop, fd: int, picky: bool) -> None:
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

        if self._pump is not None:
            await self._pump.wait()
            return
        self._pump = trio.Event()
        self._trio_fd = fd
        try:
            await trio.lowlevel.wait_readable(fd)
        except trio.ClosedResourceError:
            await trio.lowlevel.checkpoint()  # the handle itself says that it is closed
        finally:
            pump, self._pump = self._pump, None
            pump.set()

    def wake_one(self) -> None:
        """For one that has looked, and leaves something there."""
        for tasks in self._loops.values():
            tasks.wake()

    def closing(self) -> None:
        """To be called before the descriptor is closed: all tasks go on, and find the handle closed."""
        for loop, tasks in list(self._loops.items()):
            self._loops.pop(loop, None)
            if loop.is_closed():
                continue
            if tasks.thread == threading.get_ident():
                tasks.wake_all()
            else:
                loop.call_soon_threadsafe(tasks.wake_all)
        if self._pump is not None:
            import trio

            trio.lowlevel.notify_closing(self._trio_fd)
