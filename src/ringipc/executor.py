"""`concurrent.futures.ProcessPoolExecutor`, with rings in the place of its two queues.

The executor, its worker function and its bookkeeping are the standard library's. A task goes through a lane of the
executor to whichever worker is free (a shared group), and its result through a lane of the worker. The thread that
manages the workers waits for one thing, the ring of results: calls that wake it, and the deaths of workers, which
another thread watches, are messages there too.
"""

import contextlib
import multiprocessing
import os
import queue
import select
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import process
from functools import cached_property
from multiprocessing import connection
from multiprocessing.context import BaseContext
from time import monotonic
from traceback import format_exception
from typing import Any, NoReturn

from ._core import Consumer, Producer
from .channel import Channel
from .errors import Empty, EndOfStream, ProducerFailed, UnsafeMessage

_GROUP = "executor"
_CAPACITY = 8 << 30  # of a lane; memory is allocated for what is in it
_QUICK, _SLOW = 0.002, 0.010  # seconds from when a task is sent until its result is there
_QUICK_TASKS = 16  # of these, so many for each worker are sent before


class _Ring:
    """An anonymous channel, with the ends that this process has opened."""

    def __init__(self, channel: Channel | None = None) -> None:
        self._channel = Channel.anonymous() if channel is None else channel

    def __reduce__(self) -> tuple[Callable[..., "_Ring"], tuple[Channel]]:
        return type(self), (self._channel,)

    @cached_property
    def producer(self) -> Producer:
        return Producer(self._channel, capacity=_CAPACITY, groups=[_GROUP], pickle=True)

    def put(self, item: Any, timeout: float | None = None) -> None:
        """Put an item. What its pickling raises is raised as it is, as by the queues of multiprocessing."""
        try:
            self.producer.put(item, timeout)
        except UnsafeMessage as error:
            raise error.__cause__ or error from None

    def close(self) -> None:
        for handle in ("producer", "consumer"):
            if handle in vars(self):
                getattr(self, handle).close()
        self._channel.close()


class _Nothing:
    """Stands for the pipe of a queue, which the standard library closes when the pool is broken."""

    def close(self) -> None:
        pass


class _Calls(_Ring):
    """The tasks: put by the executor, got by the workers."""

    _reader = _Nothing()

    def put_nowait(self, item: None) -> None:
        """Let a worker end, as the standard library does it."""
        self.put(item, 0)

    @cached_property
    def consumer(self) -> Consumer:
        return Consumer(self._channel, group=_GROUP, shared=True, copy=True, pickle=True)

    def get(self, block: bool) -> Any:
        try:
            task = self.consumer.get()
        except (EndOfStream, ProducerFailed):  # the process of the executor has ended
            raise SystemExit(1) from None
        self.consumer._end_work()  # a worker that dies from now on takes the task with it: it does not run twice
        return None if task is None else process._CallItem(*task)

    def join_thread(self) -> None:
        pass

    def _terminate_broken(self) -> None:
        pass


class _Results(_Ring):
    """The results: put by the workers, got by the executor."""

    def put(self, item: Any, timeout: float | None = None) -> None:
        if isinstance(item, process._ResultItem):
            item = item.work_id, item.exception, item.result, item.exit_pid
        super().put(item, timeout)

    @cached_property
    def consumer(self) -> Consumer:
        return Consumer(self._channel, group=_GROUP, copy=True, pickle=True, producers=None, deaths="skip")


def _rings() -> tuple[_Calls, _Results]:
    """Return the two queues of an executor."""
    return _Calls(), _Results()


class _Wakeup:
    """Wakes the thread that manages the workers. It costs a message only if that thread sleeps."""

    def __init__(self, results: _Results) -> None:
        self._results = results
        self._called = self._asleep = self._closed = False
        self._pid = os.getpid()

    def wakeup(self) -> None:
        self._called = True
        # a forked child, which has no such thread, calls this at its end, as concurrent.futures does at exit
        if self._asleep and not self._closed and self._pid == os.getpid():
            self._asleep = False  # one message is enough
            self._results.put(None)

    def take(self) -> bool:
        """Return whether there was a call since the last time."""
        if not self._called:  # not one statement that reads and writes: a call between would be lost
            return False
        self._called = False
        return True

    def sleep(self) -> Any:
        """Return the next message of the ring of results, or None for a call."""
        self._asleep = True
        try:
            return None if self._called else self._results.consumer.get()
        finally:
            self._asleep = False

    def close(self) -> None:
        self._closed = True


class _Watch(threading.Thread):
    """Calls wakeup when a worker has ended."""

    def __init__(self, wakeup: _Wakeup) -> None:
        super().__init__(name="ringipc executor watch", daemon=True)
        self.has_ended = False  # a worker has; whoever reads this sets it to False
        self._wakeup = wakeup
        self._sentinels: dict[int, int] = {}  # by pid
        self._poll = select.epoll()
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._poll.register(self._end, select.EPOLLIN)

    def update(self, sentinels: dict[int, int]) -> None:
        """Watch these workers, and only these."""
        for pid in self._sentinels.keys() - sentinels.keys():
            with contextlib.suppress(OSError):  # it is closed
                self._poll.unregister(self._sentinels[pid])
        for pid in sentinels.keys() - self._sentinels.keys():
            self._poll.register(sentinels[pid], select.EPOLLIN | select.EPOLLONESHOT)
        self._sentinels = sentinels

    def run(self) -> None:
        while all(fd != self._end for fd, _ in self._poll.poll()):
            self.has_ended = True
            self._wakeup.wakeup()

    def close(self) -> None:
        if self.ident is not None:
            os.eventfd_write(self._end, 1)
            self.join()
        self._poll.close()
        os.close(self._end)


class _Manager(process._ExecutorManagerThread):
    """The thread that manages the workers: the standard library's, with other ways to send tasks and to wait.

    The standard library sends one task more than there are workers, because a task that was sent cannot be cancelled.
    Here more are sent while tasks are quick, so that the thread is not woken for each of them.
    """

    call_queue: Any
    result_queue: Any
    thread_wakeup: Any
    processes: Any

    def __init__(self, executor: Any) -> None:
        super().__init__(executor)
        self._workers = executor._max_workers
        self._least = self._most = 2 * self._workers + process.EXTRA_QUEUED_CALLS  # those at work included
        self._sent = 0  # tasks whose results have not come
        self._unsent: Any = None  # a task that found no room
        self._sample = -1  # the task that shows how quick they are
        self._sample_sent = 0.0
        self._get = self.result_queue.consumer.get_nowait
        self.result_queue.producer  # noqa: B018  opened before several threads use it
        self._watch = _Watch(self.thread_wakeup)

    def run(self) -> None:
        try:
            self._watch.start()
            super().run()
        except RuntimeError as error:  # no thread can be started any more
            if self._watch.ident is not None:
                raise
            self.terminate_broken(format_exception(error))  # type: ignore[arg-type]
        finally:
            self._watch.close()

    def add_call_item_to_queue(self) -> None:
        now = monotonic()
        if now - self._sample_sent > _SLOW:
            self._most = self._least
        while self._sent < self._most:
            task, self._unsent = self._unsent, None
            if task is None:
                try:
                    work_id = self.work_ids_queue.get_nowait()
                except queue.Empty:
                    return
                work = self.pending_work_items[work_id]
                if not work.future.set_running_or_notify_cancel():
                    del self.pending_work_items[work_id]
                    continue
                task = work_id, work.fn, work.args, work.kwargs
            try:
                self.call_queue.put(task, 0)
            except queue.Full:  # until a worker has taken one of those that were sent
                self._unsent = task
                return
            except BaseException as error:  # noqa: BLE001  what pickling raises, also SystemExit
                self._refuse(task[0], error)
                continue
            self._sent += 1
            if self._sample < 0:
                self._sample, self._sample_sent = task[0], now

    def _refuse(self, work_id: int, error: BaseException) -> None:
        """Set the exception of a task that cannot be sent."""
        text = "".join(format_exception(error))
        error.__cause__ = process._RemoteTraceback(f'\n"""\n{text}"""')  # type: ignore[arg-type]
        self.pending_work_items.pop(work_id).future.set_exception(error)
        self.thread_wakeup.wakeup()  # it can have been the last one

    def wait_result_broken_or_wakeup(self) -> Any:
        """Wait for results. Return the result of a worker that has ended, or None; whether the pool is broken, and why.

        All other results are dealt with here, so that the thread goes through its loop once for many results.
        """
        has_ended = had_results = False
        while True:
            try:
                try:
                    message = self._get()
                except Empty:
                    if has_ended and self._has_lost_worker():  # and all that it had sent has been read
                        return None, True, None
                    has_ended = self._watch.has_ended
                    if has_ended:
                        self._watch.has_ended = False
                        continue
                    if had_results or self.thread_wakeup.take():
                        return None, False, None
                    self._watch.update({pid: worker.sentinel for pid, worker in list(self.processes.items())})
                    message = self.thread_wakeup.sleep()
            except BaseException as error:  # noqa: BLE001  what unpickling raises, also SystemExit
                return None, True, format_exception(error)
            if message is None:
                continue
            work_id, exception, result, exit_pid = message
            del message
            self._sent -= 1
            if work_id == self._sample:
                self._sample = -1
                if monotonic() - self._sample_sent < _QUICK:
                    self._most = min(2 * self._most, _QUICK_TASKS * self._workers)
            if exit_pid is not None:
                return process._ResultItem(work_id, exception, result, exit_pid), False, None
            work = self.pending_work_items.pop(work_id)
            if exception is not None:
                work.future.set_exception(exception)
            else:
                work.future.set_result(result)
            del work, exception, result
            had_results = True
            if len(self.processes) < self._workers and (executor := self.executor_reference()):
                executor._idle_worker_semaphore.release()
                del executor
            if 2 * self._sent < self._most:
                self.add_call_item_to_queue()

    def _has_lost_worker(self) -> bool:
        return bool(connection.wait([worker.sentinel for worker in list(self.processes.values())], 0))


class ProcessPoolExecutor(futures.ProcessPoolExecutor):
    """`concurrent.futures.ProcessPoolExecutor`, faster: tasks and results go through rings in shared memory.

    It has the same attributes and methods, and the same behaviour: initializer, max_tasks_per_child, cancellation,
    `BrokenProcessPool` if a worker dies, remote tracebacks. Arrays are not pickled, and those that arrive are the
    receiver's own, to which it may write.

    Parameters
    ----------
    max_workers, mp_context, initializer, initargs, max_tasks_per_child
        As for `concurrent.futures.ProcessPoolExecutor`. mp_context: of `multiprocessing` or of `ringipc.mp`.

    Examples
    --------
    >>> import multiprocessing, ringipc
    >>> with ringipc.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
    ...     list(executor.map(abs, [-1, 2, -3]))
    [1, 2, 3]
    """

    _broken: Any
    _call_queue: Any
    _result_queue: Any
    _shutdown_thread: bool
    _work_ids: Any
    _executor_manager_thread: Any
    _executor_manager_thread_wakeup: Any
    _launch_processes: Callable[[], None]
    _max_workers: int
    _safe_to_dynamically_spawn_children: bool

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        context: Any = mp_context  # the queues of the standard library, which are replaced, need one of its contexts
        if mp_context is not None:
            context = multiprocessing.get_context(mp_context.get_start_method(allow_none=False))
        super().__init__(max_workers, context, initializer, initargs, max_tasks_per_child=max_tasks_per_child)
        if mp_context is not None:
            self._mp_context = mp_context
        replaced: list[Any] = [self._call_queue, self._result_queue, self._executor_manager_thread_wakeup]
        for each in replaced:
            each.close()
        self._call_queue, self._result_queue = _rings()
        self._executor_manager_thread_wakeup = _Wakeup(self._result_queue)
        self._work_ids = queue.SimpleQueue()  # written in C, unlike queue.Queue

    def _start_executor_manager_thread(self) -> None:
        if self._executor_manager_thread is None:
            if not self._safe_to_dynamically_spawn_children:  # they are forked, which must happen before
                self._launch_processes()
            self._executor_manager_thread = _Manager(self)
            self._executor_manager_thread.start()
            process._threads_wakeups[self._executor_manager_thread] = self._executor_manager_thread_wakeup

    def _adjust_process_count(self) -> None:
        if len(self._processes) < self._max_workers:  # else it does not matter whether there is an idle worker
            super()._adjust_process_count()
            self._executor_manager_thread_wakeup.wakeup()  # to watch a new process too

    def map(
        self, fn: Callable[..., Any], *iterables: Any, timeout: float | None = None, chunksize: int = 1, **options: Any
    ) -> Iterator[Any]:
        """As `concurrent.futures.ProcessPoolExecutor.map`."""
        if chunksize == 1:  # the standard library makes a list of each task and of each result
            return futures.Executor.map(self, fn, *iterables, timeout=timeout, **options)
        return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize, **options)

    map.__doc__ = futures.ProcessPoolExecutor.map.__doc__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ProcessPoolExecutor cannot be pickled: make one in the other process")
