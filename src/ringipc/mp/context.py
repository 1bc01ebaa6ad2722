"""Contexts: the start methods and processes of `multiprocessing`, with the other objects of this package."""

from multiprocessing import context as standard
from multiprocessing.context import (
    AuthenticationError,
    BufferTooShort,
    Process,
    ProcessError,
    TimeoutError,
    assert_spawning,
    get_spawning_popen,
    set_spawning_popen,
)
from typing import TYPE_CHECKING, Any, Literal, overload

from .._arguments import Wait
from ._standard import fall_back

if TYPE_CHECKING:
    from . import managers, synchronize

__all__ = [
    "AuthenticationError",
    "BaseContext",
    "BufferTooShort",
    "DefaultContext",
    "ForkContext",
    "ForkServerContext",
    "Process",
    "ProcessError",
    "SpawnContext",
    "TimeoutError",
    "assert_spawning",
    "get_spawning_popen",
    "set_spawning_popen",
]


class BaseContext(standard.BaseContext):
    """Makes the objects of this package. Processes are the standard library's."""

    def Manager(self) -> "managers.SyncManager":
        """Start a process that serves objects, and return its manager."""
        from .managers import SyncManager

        manager = SyncManager(ctx=self.get_context())
        manager.start()
        return manager

    def Pipe(self, duplex: bool = True, *, wait: Wait | None = None) -> Any:
        """Return two connections that are connected with each other; if not duplex, a reader and a writer.

        wait: over rings in shared memory; see `ringipc.mp.connection.Pipe`.
        """
        from .connection import Pipe

        return Pipe(duplex, wait=wait)

    def Lock(self) -> "synchronize.Lock":
        """Return a lock, which is not recursive."""
        from .synchronize import Lock

        return Lock(ctx=self.get_context())

    def RLock(self) -> "synchronize.RLock":
        """Return a recursive lock."""
        from .synchronize import RLock

        return RLock(ctx=self.get_context())

    def Condition(self, lock: Any = None) -> "synchronize.Condition":
        """Return a condition variable. lock: a Lock or RLock; None: an RLock of its own."""
        from .synchronize import Condition

        return Condition(lock, ctx=self.get_context())

    def Semaphore(self, value: int = 1) -> "synchronize.Semaphore":
        """Return a semaphore."""
        from .synchronize import Semaphore

        return Semaphore(value, ctx=self.get_context())

    def BoundedSemaphore(self, value: int = 1) -> "synchronize.BoundedSemaphore":
        """Return a semaphore whose value never exceeds the initial one."""
        from .synchronize import BoundedSemaphore

        return BoundedSemaphore(value, ctx=self.get_context())

    def Event(self) -> "synchronize.Event":
        """Return an event."""
        from .synchronize import Event

        return Event(ctx=self.get_context())

    def Barrier(self, parties: int, action: Any = None, timeout: float | None = None) -> "synchronize.Barrier":
        """Return a barrier."""
        from .synchronize import Barrier

        return Barrier(parties, action, timeout, ctx=self.get_context())

    def Queue(self, maxsize: int = 0, *, copy: bool = True) -> Any:
        """Return a queue for many producers and consumers. maxsize: 0: put never waits. copy: as for `SimpleQueue`."""
        from .queues import Queue

        return Queue(maxsize, ctx=self.get_context(), copy=copy)

    def JoinableQueue(self, maxsize: int = 0, *, copy: bool = True) -> Any:
        """Return a queue that also has task_done and join. copy: as for `SimpleQueue`."""
        from .queues import JoinableQueue

        return JoinableQueue(maxsize, ctx=self.get_context(), copy=copy)

    def SimpleQueue(self, *, copy: bool = True) -> Any:
        """Return a queue without a thread. copy: False: arrays come out as read-only views of shared memory."""
        from .queues import SimpleQueue

        return SimpleQueue(ctx=self.get_context(), copy=copy)

    def Pool(
        self,
        processes: int | None = None,
        initializer: Any = None,
        initargs: Any = (),
        maxtasksperchild: int | None = None,
    ) -> Any:
        """Return a pool of worker processes."""
        from .pool import Pool

        return Pool(processes, initializer, initargs, maxtasksperchild, context=self.get_context())

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """Return an object of ctypes in shared memory, without a lock."""
        from .sharedctypes import RawValue

        return RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """Return an array of ctypes in shared memory, without a lock."""
        from .sharedctypes import RawArray

        return RawArray(typecode_or_type, size_or_initializer)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """Return an object of ctypes in shared memory, with a lock."""
        from .sharedctypes import Value

        return Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Array(self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
        """Return an array of ctypes in shared memory, with a lock."""
        from .sharedctypes import Array

        return Array(typecode_or_type, size_or_initializer, lock=lock, ctx=self.get_context())

    @overload
    def get_context(self, method: None = None) -> "DefaultContext": ...
    @overload
    def get_context(self, method: Literal["spawn"]) -> "SpawnContext": ...
    @overload
    def get_context(self, method: Literal["fork"]) -> "ForkContext": ...
    @overload
    def get_context(self, method: Literal["forkserver"]) -> "ForkServerContext": ...
    @overload
    def get_context(self, method: str) -> "BaseContext": ...
    def get_context(self, method: str | None = None) -> "BaseContext":
        """Return the context of a start method; None: this one, of the default context the one that is in use.

        Parameters
        ----------
        method
            "fork", "spawn", "forkserver" or None.

        Raises
        ------
        ValueError
            There is no such start method on this system.
        """
        if method is None:
            return self._concrete()
        super().get_context(method)  # refuses what is not available
        return _concrete_contexts[method]

    def _concrete(self) -> "BaseContext":
        return self


class ForkContext(BaseContext, standard.ForkContext):
    """The context whose processes are forked."""


class SpawnContext(BaseContext, standard.SpawnContext):
    """The context whose processes are new interpreters."""


class ForkServerContext(BaseContext, standard.ForkServerContext):
    """The context whose processes are forked by a server without threads."""


class DefaultContext(BaseContext, standard.DefaultContext):
    """The context of the start method of the standard library: there is one for both modules."""

    def __init__(self) -> None:
        pass  # the standard library's default context has all that there is to know

    def _concrete(self) -> BaseContext:
        return _concrete_contexts[standard._default_context.get_start_method()]

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Set the start method, of `multiprocessing` too."""
        standard._default_context.set_start_method(method, force)

    def get_start_method(self, allow_none: bool = False) -> Any:
        """Return the start method, of `multiprocessing` too."""
        return standard._default_context.get_start_method(allow_none)


_concrete_contexts: dict[str, BaseContext] = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}
_default_context = DefaultContext()

__getattr__ = fall_back(__name__)
