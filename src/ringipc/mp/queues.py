"""As `multiprocessing.queues`: queues of objects between processes, over a channel in shared memory.

A queue is an anonymous channel and a durable group of readers. Each process that has the queue opens a producer when it
puts first, and a consumer when it gets first. No process holds a lock while it puts or gets, so the death of one stops
no other.
"""

import threading
import time
import traceback
import types
import weakref
from collections import deque
from collections.abc import Callable
from itertools import islice
from multiprocessing import queues as standard
from multiprocessing.util import Finalize, debug
from queue import Full
from typing import Any, ClassVar, TypeVar

from .. import errors
from .._core import Consumer, Producer
from .._wait import wait
from ..values import Value
from ._ring import Ring
from ._standard import fall_back

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

_STEP = 16  # every so often `put` moves objects from the buffer, ...
_BATCH = 64  # ... at most so many at once
_SHORTEST, _LONGEST = 0.001, 0.016  # seconds that a thread sleeps until it looks for room again
_FLUSH = -5  # the priority at exit


class _End:
    """An end of a queue, as a connection: for `wait`, selectors, `Pool` and executors."""

    def __init__(self, queue: Ring) -> None:
        self._queue = queue


_E = TypeVar("_E", bound=_End)


class _Reader(_End):
    """The reading end of a queue."""

    @property
    def recv(self) -> Callable[[], Any]:
        """Receive an object: `recv()`."""
        return self._queue._get_consumer().get

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether there is an object, or an end, within a number of seconds (None: wait for ever)."""
        consumer = self._queue._get_consumer()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not consumer.stats.backlog:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            is_ready = bool(wait([consumer], left))
            if is_ready and not self._queue._writes:
                return True  # the end, once this process has closed its writing end
            if not is_ready:
                return False
            if left == 0:  # what `get` would skip, for example the death of a writer
                return consumer.stats.backlog > 0
            time.sleep(_SHORTEST)
        return True

    def fileno(self) -> int:
        """Return a file descriptor that is readable while there is an object."""
        return self._queue._get_consumer().fileno()

    @property
    def closed(self) -> bool:
        """Whether this end is closed in this process."""
        return not self._queue._reads

    def close(self) -> None:
        """Close this end in this process."""
        self._queue.close_reader()


class _Writer(_End):
    """The writing end of a queue."""

    @property
    def send(self) -> Callable[[Any], object]:
        """Send an object: `send(obj)`. It waits while the queue is full."""
        self._queue._get_producer()
        return self._queue.send

    def fileno(self) -> int:
        """Return a file descriptor that is readable while there is room for an object."""
        return self._queue._get_producer().fileno()

    @property
    def closed(self) -> bool:
        """Whether this end is closed in this process."""
        return not self._queue._writes

    def close(self) -> None:
        """Close this end in this process."""
        self._queue.close_writer()


class _Queue(Ring):
    """What all queues have."""

    def _reset(self) -> None:
        super()._reset()
        self._ends: weakref.WeakValueDictionary[type[_End], _End] = weakref.WeakValueDictionary()

    def _end(self, kind: type[_E]) -> _E:
        """Return the same end as long as somebody has it. It refers to the queue, which does not own it therefore."""
        end = self._ends.setdefault(kind, kind(self))
        assert isinstance(end, kind)
        return end

    @property
    def _reader(self) -> _Reader:
        return self._end(_Reader)

    @property
    def _writer(self) -> _Writer:
        return self._end(_Writer)

    def empty(self) -> bool:
        """Return whether there is no object to get."""
        return (self._consumer or self._get_consumer()).stats.backlog == 0


class Queue(_Queue, standard.Queue):  # type: ignore[type-arg]  # only so that isinstance says so
    """A queue between any number of processes, as `multiprocessing.Queue`.

    Objects come out in the order in which they were put, as far as one put was before another. `put` copies an object
    into shared memory at once; a thread is started only if there is no room. A process that is killed while it puts or
    gets does not stop the others. It can be passed to other processes as an argument, and through other queues.

    Parameters
    ----------
    maxsize
        How many objects it holds. 0 or less: as many as there is memory for, and `put` never waits.
    ctx
        The context, which makes its semaphore.
    copy
        False: arrays that `get` returns are read-only views. Each keeps its memory in the queue while it is alive.

    Raises
    ------
    SystemRefused
        There is no memory, or no file descriptor. An `OSError`.
    """

    _sem: Any

    def __init__(self, maxsize: int = 0, *, ctx: Any, copy: bool = True) -> None:
        self._maxsize = maxsize
        self._sem = ctx.BoundedSemaphore(maxsize) if maxsize > 0 else None
        self._waiting = Value("q", 0, lock=True)  # objects in the buffers of all processes
        super().__init__(copy=copy)

    def __getstate__(self) -> Any:
        return super().__getstate__(), self._maxsize, self._sem, self._waiting

    def __setstate__(self, state: Any) -> None:
        ring, self._maxsize, self._sem, self._waiting = state
        super().__setstate__(ring)

    def _reset(self) -> None:
        super()._reset()
        self._closed = False
        self._buffer: deque[Any] = deque()  # what had no room, oldest first; a thread puts it
        self._feeding = threading.Lock()  # held where the buffer may become empty or not empty
        self._thread: threading.Thread | None = None
        self._joins = True

    def _refuse(self) -> None:
        raise ValueError(f"Queue {self!r} is closed")

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an object.

        Parameters
        ----------
        obj
            It is pickled now, so later changes of it are not seen. If that fails, `_on_queue_feeder_error` is called
            with the exception; by default it prints a traceback.
        block, timeout
            Whether to wait for a free place if maxsize was given, and at most how many seconds (None: for ever).

        Raises
        ------
        queue.Full
            There was no free place.
        ValueError
            The queue is closed.
        SystemRefused
            There is no memory. An `OSError`.
        MessageTooLarge
            The object takes more than 4 GiB. A `ValueError`.
        """
        if self._closed:
            self._refuse()
        try:
            producer = self._producer or self._get_producer()
            if self._sem is None:
                self._put(producer, obj, encoded=False)
                return
            # Pickled before it takes a place: a process that is killed while it pickles takes none.
            encoded = producer._copy_of(obj)
        except errors.UnsafeMessage as error:
            self._fail(error, obj)
            return
        if not self._sem.acquire(block, timeout):
            raise Full
        self._put(producer, encoded, encoded=True)

    def _put(self, producer: Producer, obj: Any, *, encoded: bool) -> None:
        """Put an object that has its place, or give the place back.

        An exception of a signal handler gives nothing back, because the object may be in the queue already.
        """
        self._count()
        try:
            if not self._buffer:
                try:
                    producer.put_nowait(obj)
                    return
                except errors.Full:
                    pass
            self._put_later(obj if encoded else producer._copy_of(obj))
        except errors.Closed:
            self._give_back()
            self._refuse()
        except (errors.UnsafeMessage, errors.SystemRefused, errors.MessageTooLarge):
            self._give_back()
            raise

    def _count(self) -> None:
        """Count an object that is about to be in the queue."""

    def put_nowait(self, obj: Any) -> None:
        """Put an object without waiting: `put` with block=False."""
        self.put(obj, False)

    def _give_back(self) -> None:
        """Undo what `put` has counted, as the object is not in the queue."""
        if self._sem is not None:
            self._sem.release()

    def _fail(self, refused: errors.UnsafeMessage, obj: Any) -> None:
        """Report that an object cannot be pickled."""
        error = refused.__cause__ if isinstance(refused.__cause__, Exception) else refused
        try:
            raise error
        except Exception:  # noqa: BLE001  so that the hook can print it
            self._on_queue_feeder_error(error, obj)

    @staticmethod
    def _on_queue_feeder_error(e: Exception, obj: Any) -> None:
        """Print why an object could not be put. Subclasses may override this."""
        traceback.print_exc()

    def _put_later(self, obj: Any) -> None:
        """Put an object when those that are in the buffer have been put."""
        with self._feeding:
            if self._thread is None:
                try:
                    self._start_thread()
                except RuntimeError:  # there is no thread to be had
                    self._give_back()
                    raise
            self._waiting.add(1)
            self._buffer.append(obj)
            if len(self._buffer) % _STEP == 0:
                self._move()

    def _move(self) -> int:
        """Put from the buffer what there is room for, and return how much that was. `_feeding` is held.

        Raises
        ------
        OSError, Closed
            The writing end is closed.
        """
        batch = list(islice(self._buffer, _BATCH))
        try:
            moved = self._get_producer()._put_from(batch, 0, 0)
        except errors.SystemRefused as refused:  # there may be memory later
            moved = getattr(refused, "done", 0)
        for _ in range(moved):
            self._buffer.popleft()  # not before: while the buffer is empty, other threads put
        self._waiting.add(-moved)
        return moved

    def _start_thread(self) -> None:
        debug("starting a thread that puts what had no room")
        thread = threading.Thread(target=self._feed, name="QueueFeederThread", daemon=True)
        thread.start()
        self._thread = thread
        if self._joins:
            Finalize(thread, _join, [weakref.ref(thread), weakref.ref(self)], exitpriority=_FLUSH)

    def _feed(self) -> None:
        """Put all that is in the buffer, in a thread of its own.

        It looks for room again and again, and waits for none: a producer that waits lets no other process put.
        """
        pause = _SHORTEST
        while True:
            with self._feeding:
                try:
                    moved = self._move()
                except (errors.Closed, OSError):  # the rest is lost
                    self._waiting.add(-len(self._buffer))
                    self._buffer.clear()
                if not self._buffer:
                    self._thread = None
                    break
            pause = _SHORTEST if moved else min(2 * pause, _LONGEST)
            if moved < _BATCH:
                time.sleep(pause)
        if self._closed:
            self.close_ends()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next object.

        Parameters
        ----------
        block, timeout
            Whether to wait for an object, and at most how many seconds (None: for ever).

        Raises
        ------
        queue.Empty
            There was no object.
        ValueError
            The queue is closed.
        """
        if self._closed:
            self._refuse()
        consumer = self._consumer or self._get_consumer()
        if self._sem is not None:
            return self._get_counted(consumer, block, timeout)
        if block and timeout is None:
            return consumer.get()
        return consumer.get(max(timeout, 0) if block and timeout is not None else 0)

    def _get_counted(self, consumer: Consumer, block: bool, timeout: float | None) -> Any:
        """Get an object, and free its place, also if the object cannot be unpickled."""
        try:
            obj = consumer.get(None if block and timeout is None else max(timeout, 0) if block and timeout else 0)
        except (errors.Empty, errors.Closed, errors.SystemRefused, MemoryError, RecursionError):
            raise
        except Exception:
            self._sem.release()
            raise
        self._sem.release()
        return obj

    def get_nowait(self) -> Any:
        """Return the next object without waiting: `get` with block=False."""
        return self.get(False)

    def qsize(self) -> int:
        """Return the number of objects in the queue."""
        if self._sem is not None:
            return self._maxsize - int(self._sem.get_value())
        return (self._consumer or self._get_consumer()).stats.backlog + int(self._waiting.value)

    def full(self) -> bool:
        """Return whether there is no free place."""
        return self._sem is not None and self._sem.get_value() == 0

    def close(self) -> None:
        """Close the queue in this process: nothing can be put or got any more. What was put is still delivered."""
        with self._feeding:
            self._closed = True
            feeds = self._thread is not None
        if not feeds:
            self.close_ends()

    def join_thread(self) -> None:
        """After `close`: wait until all that this process has put is in shared memory."""
        assert self._closed, f"Queue {self!r} not closed"
        thread = self._thread
        if self._joins and thread is not None:
            thread.join()

    def cancel_join_thread(self) -> None:
        """Let the process exit without waiting until all that it has put is in shared memory. That may be lost."""
        self._joins = False

    def _terminate_broken(self) -> None:
        """Close the queue of an executor whose workers are gone: what had no room is lost."""
        self.cancel_join_thread()
        self.close()
        self.close_ends()
        thread = self._thread
        if thread is not None:
            thread.join()

    __class_getitem__: ClassVar[Any] = classmethod(types.GenericAlias)


def _join(thread: "weakref.ref[threading.Thread]", queue: "weakref.ref[Queue]") -> None:
    """Wait at exit until all that was put is in shared memory, unless that is cancelled."""
    strong, owner = thread(), queue()
    if strong is not None and (owner is None or owner._joins):
        strong.join()


class JoinableQueue(Queue, standard.JoinableQueue):  # type: ignore[type-arg]
    """A queue that knows how many of its objects are not done, as `multiprocessing.JoinableQueue`."""

    def __init__(self, maxsize: int = 0, *, ctx: Any, copy: bool = True) -> None:
        super().__init__(maxsize, ctx=ctx, copy=copy)
        self._unfinished = Value("q", 0, lock=True)
        self._cond = ctx.Condition()

    def __getstate__(self) -> Any:
        return super().__getstate__(), self._unfinished, self._cond

    def __setstate__(self, state: Any) -> None:
        queue, self._unfinished, self._cond = state
        super().__setstate__(queue)

    def _count(self) -> None:
        self._unfinished.add(1)  # before it is put: a reader may be done with it before `put` returns

    def _give_back(self) -> None:
        super()._give_back()
        self._count_done()

    def task_done(self) -> None:
        """Say that an object that was got is done.

        Raises
        ------
        ValueError
            It was called more often than objects were put.
        """
        with self._cond:
            if self._unfinished.value <= 0:
                raise ValueError("task_done() called too many times")
            self._count_done()

    def _count_done(self) -> None:
        with self._cond:
            if self._unfinished.fetch_add(-1) == 1:
                self._cond.notify_all()

    def join(self) -> None:
        """Wait until all objects that were put are done."""
        with self._cond:
            if self._unfinished.value > 0:
                self._cond.wait()


class SimpleQueue(_Queue, standard.SimpleQueue):  # type: ignore[type-arg]
    """A queue without a thread, as `multiprocessing.SimpleQueue`: `put` waits while there is no room.

    Parameters
    ----------
    ctx
        The context.
    copy
        As for `Queue`.
    """

    def __init__(self, *, ctx: Any, copy: bool = True) -> None:
        super().__init__(copy=copy)

    def _reset(self) -> None:
        super()._reset()
        # `Pool` acquires these. Readers and writers need none, so nobody else does.
        self._rlock = threading.Lock()
        self._wlock = threading.Lock()

    def put(self, obj: Any) -> None:
        """Put an object.

        Raises
        ------
        OSError
            The queue is closed.
        Exception
            The object cannot be pickled: what its pickling has raised.
        """
        self.send(obj)

    def get(self) -> Any:
        """Wait for an object and return it.

        Raises
        ------
        EOFError
            This process has closed its writing end, and all that have put have closed theirs, or have died.
        """
        return (self._consumer or self._get_consumer()).get()

    def close(self) -> None:
        """Close the queue in this process."""
        self.close_ends()

    __class_getitem__: ClassVar[Any] = classmethod(types.GenericAlias)


__getattr__ = fall_back(__name__)
