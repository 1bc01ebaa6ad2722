"""Queues of `ringipc.mp`: what users of `multiprocessing` rely on, and what is better here."""

import gc
import multiprocessing.queues
import os
import pickle
import queue
import signal
import threading
import time
from typing import Any, ClassVar

import numpy as np
import pytest
from conftest import Start

from ringipc import SystemRefused, mp
from ringipc.mp.queues import JoinableQueue, Queue, SimpleQueue

context = mp.get_context("spawn")
SOON = 20  # seconds; a test that waits so long has failed


def put_numbers(q: Any, first: int, count: int) -> None:
    for number in range(first, first + count):
        q.put(number)


def put_all(q: Any, objects: list[Any]) -> None:
    for obj in objects:
        q.put(obj)


def echo(questions: Any, answers: Any) -> None:
    for question in iter(questions.get, None):
        answers.put(question)


def get_all(q: Any, count: int) -> list[Any]:
    return [q.get(timeout=SOON) for _ in range(count)]


def test_objects_come_out_in_order_and_with_their_types() -> None:
    q = context.Queue()
    objects = [1, "a", b"b", None, (1, 2), {"k": [1.5]}, {3}, bytearray(b"c"), complex(1, 2), b"x" * 100_000]
    for obj in objects:
        q.put(obj)
    assert get_all(q, len(objects)) == objects


def test_an_object_that_is_changed_after_put_comes_out_as_it_was() -> None:
    q = context.Queue()
    numbers = list(range(10_000))  # more than the queue has room for
    mutable: list[int] = []
    array = np.zeros(3)
    for number in numbers:
        mutable.append(number)
        array[0] = number
        q.put(mutable[-2:])
        q.put(array)
        mutable[-1] = number
    mutable.clear()
    array[:] = -1
    for number in numbers:
        assert q.get(timeout=SOON)[-1:] == [number]
        assert q.get(timeout=SOON).tolist() == [number, 0, 0]


def test_arrays_are_copies_unless_views_are_asked_for() -> None:
    array = np.arange(100_000)
    copies, views = context.Queue(), Queue(ctx=context, copy=False)
    copies.put(array)
    views.put(array)
    copy, view = copies.get(), views.get()
    assert copy.flags.owndata
    assert copy.flags.writeable
    assert not view.flags.owndata
    assert not view.flags.writeable
    for got in (copy, view):
        np.testing.assert_array_equal(got, array)
    views.put(b"another")
    assert views.qsize() == 1
    assert bytes(views.get()) == b"another"
    np.testing.assert_array_equal(view, array)


def test_put_never_waits_without_maxsize() -> None:
    q = context.Queue()
    begin = time.monotonic()
    for number in range(20_000):
        q.put(number.to_bytes(1000, "big"))
    assert time.monotonic() - begin < SOON
    assert q.qsize() == 20_000
    assert [int.from_bytes(got, "big") for got in get_all(q, 20_000)] == list(range(20_000))
    assert q.empty()
    assert q.qsize() == 0


def test_threads_that_put_more_than_there_is_room_for_keep_their_order() -> None:
    q = context.Queue()
    threads = [threading.Thread(target=put_all, args=(q, [(k, n) for n in range(5000)])) for k in range(3)]
    for thread in threads:
        thread.start()
    got = get_all(q, 15_000)
    for k in range(3):
        assert [n for thread, n in got if thread == k] == list(range(5000))
    for thread in threads:
        thread.join()


def test_maxsize_limits_the_objects_of_all_processes(start: Start) -> None:
    q = context.Queue(3)
    assert (q.qsize(), q.empty(), q.full()) == (0, True, False)
    start(put_numbers, q, 0, 4)
    while not q.full():
        time.sleep(0.01)
    assert q.qsize() == 3
    for options in ({"block": False}, {"timeout": 0.05}, {"timeout": 0}):
        with pytest.raises(queue.Full):
            q.put(9, **options)
    with pytest.raises(queue.Full):
        q.put_nowait(9)
    assert get_all(q, 4) == [0, 1, 2, 3]
    q.put(9, timeout=0)
    assert q.get_nowait() == 9


@pytest.mark.parametrize("maxsize", [0, 2])
def test_get_raises_empty(maxsize: int) -> None:
    q = context.Queue(maxsize)
    for options in ({"block": False}, {"timeout": 0.05}, {"timeout": 0}, {"timeout": -1}):
        begin = time.monotonic()
        with pytest.raises(queue.Empty):
            q.get(**options)
        assert time.monotonic() - begin >= options.get("timeout", 0)
    with pytest.raises(queue.Empty):
        q.get_nowait()


def test_an_idle_queue_is_waited_for_after_its_writers_have_gone(start: Start) -> None:
    q = context.Queue()
    writer = start(put_numbers, q, 0, 1)
    assert q.get(timeout=SOON) == 0
    writer.join()
    begin = time.monotonic()
    with pytest.raises(queue.Empty):
        q.get(timeout=1)
    assert time.monotonic() - begin >= 1
    start(put_numbers, q, 5, 1)
    assert q.get(timeout=SOON) == 5


def test_what_is_put_after_writers_have_been_joined_comes_out_after_their_objects(start: Start) -> None:
    q = context.Queue()
    q.put("first")
    writers = [start(put_numbers, q, 0, 500, method="fork") for _ in range(4)]
    for writer in writers:
        writer.join()
    q.put(None)
    assert q.get() == "first"
    assert len(list(iter(q.get, None))) == 2000
    assert q.empty()


def test_a_process_flushes_at_its_exit_what_had_no_room(start: Start) -> None:
    q = context.Queue()
    writer = start(put_all, q, [bytes(1000)] * 30_000 + [None])
    assert sum(map(len, iter(lambda: q.get(timeout=SOON), None))) == 30_000_000
    writer.join()
    assert writer.exitcode == 0


def put_much_and_cancel(q: Any) -> None:
    put_numbers(q, 0, 12_000)
    q.cancel_join_thread()


def test_a_process_that_cancels_the_join_does_not_wait_for_readers(start: Start) -> None:
    q = context.Queue()
    writer = start(put_much_and_cancel, q)
    writer.join(SOON)
    assert writer.exitcode == 0
    assert get_all(q, 100) == list(range(100))


def test_join_thread_waits_until_all_is_in_shared_memory() -> None:
    q = context.Queue()
    twin = pickle.loads(pickle.dumps(q))  # as another process would have it: with handles of its own
    put_numbers(q, 0, 12_000)
    with pytest.raises(AssertionError):
        q.join_thread()
    q.close()
    got: list[int] = []
    reader = threading.Thread(target=lambda: got.extend(get_all(twin, 12_000)))
    reader.start()
    q.join_thread()
    reader.join()
    assert got == list(range(12_000))
    for call in (lambda: q.put(1), q.get, q.get_nowait, lambda: q.put_nowait(1)):
        with pytest.raises(ValueError, match="is closed"):
            call()


def test_seventy_processes_put_at_the_same_time(start: Start) -> None:
    q, go = context.Queue(), context.Event()
    q.put(0)
    q.get()  # this process has handles, which its children do not use
    writers = [start(wait_and_put, q, go, number, method="fork") for number in range(70)]
    assert sorted(get_all(q, 70)) == [-1] * 70
    go.set()
    assert sorted(get_all(q, 70)) == list(range(70))
    for writer in writers:
        writer.join()


def wait_and_put(q: Any, go: Any, number: int) -> None:
    q.put(-1)
    go.wait(SOON)
    q.put(number)


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.long)])
def test_any_number_of_processes_put_one_after_another(count: int) -> None:
    q = context.Queue()
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            q.put(number)
            os._exit(0)
        os.waitpid(pid, 0)
    q.put(None)
    assert list(iter(q.get, None)) == list(range(count))


def get_and_report(q: Any, report: Any) -> None:
    report.put("waits")
    while True:
        report.put(q.get())


def test_a_reader_that_is_killed_while_it_gets_does_not_stop_the_others(start: Start) -> None:
    q, report = context.Queue(), context.Queue()
    readers = [start(get_and_report, q, report) for _ in range(2)]
    assert get_all(report, 2) == ["waits", "waits"]
    time.sleep(0.2)
    assert readers[0].pid
    os.kill(readers[0].pid, signal.SIGKILL)
    put_numbers(q, 0, 100)
    assert get_all(report, 100) == list(range(100))
    readers[1].kill()


def test_a_thousand_queues_exist_at_once() -> None:
    queues = [context.Queue() for _ in range(1000)]
    for number, q in enumerate(queues):
        q.put(number)
    assert [q.get() for q in queues] == list(range(1000))


def test_a_queue_that_is_not_used_any_more_leaves_no_descriptor() -> None:
    context.Queue()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    q = context.Queue(4)
    q.put(1)
    q.get()
    del q
    assert len(os.listdir("/proc/self/fd")) == before


class Unpicklable:
    def __reduce__(self) -> Any:
        raise AttributeError("no")


class CarefulQueue(Queue):
    errors: ClassVar[list[tuple[Exception, Any]]] = []

    def _on_queue_feeder_error(self, e: Exception, obj: Any) -> None:  # type: ignore[override]
        self.errors.append((e, obj))


@pytest.mark.parametrize("before", [0, 9000])
def test_an_object_that_cannot_be_pickled_goes_to_the_hook(before: int) -> None:
    q = CarefulQueue(10_000, ctx=context)
    put_numbers(q, 0, before)
    obj = Unpicklable()
    q.put(obj)
    q.put(True)
    assert get_all(q, before + 1)[-1] is True
    [(error, given)] = q.errors
    q.errors.clear()
    assert isinstance(error, AttributeError)
    assert given is obj
    assert q.qsize() == 0


def test_an_object_that_cannot_be_pickled_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    q = context.Queue()
    q.put(Unpicklable())
    q.put(1)
    assert q.get() == 1
    assert "AttributeError: no" in capsys.readouterr().err


def fail() -> None:
    raise ZeroDivisionError


class Unreadable:
    def __reduce__(self) -> Any:
        return fail, ()


def test_an_object_that_cannot_be_unpickled_is_gone() -> None:
    q = context.Queue(1)
    q.put(Unreadable())
    with pytest.raises(ZeroDivisionError):
        q.get()
    q.put(1, block=False)
    assert q.get() == 1


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_a_queue_is_sent_through_a_queue(start: Start, kind: str) -> None:
    q = context.Queue()
    child = start(put_into_what_comes, q, method="fork")
    answers = getattr(context, kind)()
    q.put(answers)
    assert answers.get() == "answer"
    child.join()


def put_into_what_comes(q: Any) -> None:
    q.get().put("answer")


SLOW = pytest.mark.long


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("Queue", "fork"),
        ("Queue", "spawn"),
        pytest.param("Queue", "forkserver", marks=SLOW),
        ("SimpleQueue", "fork"),
        pytest.param("SimpleQueue", "spawn", marks=SLOW),
        ("JoinableQueue", "fork"),
        pytest.param("JoinableQueue", "spawn", marks=SLOW),
    ],
)
def test_a_child_uses_the_queues_of_its_parent(start: Start, kind: str, method: str) -> None:
    own = mp.get_context(method)
    questions, answers = getattr(own, kind)(), getattr(own, kind)()
    questions.put("mine")  # this process has a handle, which a forked child cannot use
    assert questions.get() == "mine"
    child = start(echo, questions, answers, method=method)
    for obj in (1, "text", np.arange(3).tolist()):
        questions.put(obj)
        assert answers.get() == obj
    questions.put(None)
    child.join()


def test_a_child_of_os_fork_uses_the_queue_of_its_parent() -> None:
    q = context.Queue()
    put_numbers(q, 0, 10_000)  # a thread has some of them
    assert q.get() == 0
    pid = os.fork()
    if pid == 0:
        q.put(q.get() + 10_000)
        q.close()
        q.join_thread()  # there may have been no room
        os._exit(0)
    got = get_all(q, 9999)
    assert os.waitpid(pid, 0)[1] == 0
    assert len([number for number in got if number >= 10_000]) == 1
    assert sorted(number % 10_000 for number in got) == [*range(1, 10_000)]


def do_tasks(q: Any) -> None:
    for task in iter(q.get, None):
        time.sleep(task)
        q.task_done()
    q.task_done()


def test_join_waits_until_all_tasks_are_done(start: Start) -> None:
    q = context.JoinableQueue()
    workers = [start(do_tasks, q) for _ in range(2)]
    for _ in range(10):
        q.put(0.01)
    q.join()
    assert q.empty()
    for _ in workers:
        q.put(None)
    q.join()
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()


def test_join_does_not_wait_for_what_was_refused(capsys: pytest.CaptureFixture[str]) -> None:
    q = JoinableQueue(1, ctx=context)
    q.put(Unpicklable())
    q.put(1)
    with pytest.raises(queue.Full):
        q.put(2, timeout=0)
    q.get()
    q.task_done()
    q.join()
    capsys.readouterr()


def put_a_queue_and_end(q: Any) -> None:
    q.put(context.Queue())


def test_what_a_process_has_sent_that_has_ended_is_an_error_that_says_so(start: Start) -> None:
    q = context.Queue()
    start(put_a_queue_and_end, q).join()
    with pytest.raises(SystemRefused, match="the sender must run until the object is received"):
        q.get(timeout=SOON)


def put_and_die(q: Any) -> None:
    q.put(1)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.long
@pytest.mark.parametrize("order", ["got before", "got after"])
def test_the_death_of_a_writer_is_no_object(start: Start, order: str) -> None:
    q = context.SimpleQueue()
    if order == "got after":
        assert not q._reader.poll()
    writer = start(put_and_die, q)
    assert q._reader.poll(SOON)
    assert q.get() == 1
    writer.join()
    began = time.monotonic()
    assert not q._reader.poll(2.5)  # the death is noticed meanwhile
    assert time.monotonic() - began > 2.4
    assert not q._reader.poll()
    q.put(2)
    assert q._reader.poll()
    assert q.get() == 2


def put_one(q: Any) -> None:
    q.put(1)


@pytest.mark.parametrize("wait_for_room", ["killed", "Ctrl-C", "invalid timeout"])
def test_a_put_that_waits_for_room_and_ends_is_not_counted(start: Start, wait_for_room: str) -> None:
    q = context.JoinableQueue(1)
    q.put(0)
    if wait_for_room == "killed":
        writer = start(put_one, q)
        time.sleep(0.7)
        writer.kill()
        writer.join()
    elif wait_for_room == "Ctrl-C":
        interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            q.put(1)
        interrupt.join()
    else:
        with pytest.raises(TypeError):
            q.put(1, timeout="x")
    assert q.get() == 0
    q.task_done()
    joins = threading.Thread(target=q.join, daemon=True)
    joins.start()
    joins.join(SOON)
    assert not joins.is_alive()


class Slow:
    """Takes long to pickle."""

    def __reduce__(self) -> Any:
        time.sleep(SOON)
        return int, ()


def test_a_process_that_is_killed_while_it_pickles_takes_no_place() -> None:
    q = context.Queue(1)
    child = mp.get_context("fork").Process(target=q.put, args=(Slow(),))
    child.start()
    time.sleep(0.3)
    child.kill()
    child.join()
    q.put(1, timeout=1)
    assert q.get(timeout=SOON) == 1


class TimeIsUp(Exception):
    pass


def test_an_exception_of_a_signal_handler_comes_out_of_put() -> None:
    def handler(*_: Any) -> None:
        raise TimeIsUp

    q = context.Queue()
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(TimeIsUp):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            for _ in range(100):
                q.put([str(i) for i in range(100_000)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_put_that_can_start_no_thread_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    q = context.Queue()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            put_numbers(q, 0, 10_000)
    count = q.qsize()
    assert get_all(q, count) == [*range(count)]
    assert q.empty()
    assert q.qsize() == 0


@pytest.mark.parametrize("name", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_a_queue_is_one_of_the_standard_library_too(name: str) -> None:
    q = getattr(context, name)()
    assert isinstance(q, getattr(multiprocessing.queues, name))
    ready = [q._reader, q._writer]
    assert ready[0] is q._reader
    assert ready[1] is q._writer
    assert mp.connection.wait(ready, SOON) == [ready[1]]


def test_a_simple_queue_has_the_ends_of_a_pipe() -> None:
    q = context.SimpleQueue()
    assert q.empty()
    assert not q._reader.poll()
    q._writer.send({"a": 1})
    assert not q.empty()
    assert q._reader.poll(1)
    assert mp.connection.wait([q._reader, q._writer], 1) == [q._reader, q._writer]
    assert q._reader != q._writer
    assert q._reader.recv() == {"a": 1}
    assert not q._reader.poll(0.01)
    with q._rlock, q._wlock:
        q.put(1)
    assert q.get() == 1
    q.close()
    assert q._reader.closed
    assert q._writer.closed
    for call in (q.get, lambda: q.put(1), q.empty):
        with pytest.raises(OSError, match="closed"):
            call()


def test_a_simple_queue_reports_objects_that_cannot_be_pickled() -> None:
    q = context.SimpleQueue()
    with pytest.raises((AttributeError, TypeError)):
        q.put(Unpicklable())
    q.put(1)
    assert q.get() == 1


def be_orphan(pid: Any) -> None:
    q: SimpleQueue = context.SimpleQueue()
    q.put("from a parent")
    worker = context.Process(target=work, args=(q, pid))
    worker.start()
    time.sleep(SOON)


def work(q: Any, report: Any) -> None:
    q._writer.close()
    report.put(q.get())
    try:
        q.get()
    except EOFError:
        report.put("end")


def test_a_worker_gets_an_end_when_the_only_writer_was_killed(start: Start) -> None:
    report = context.Queue()
    parent = start(be_orphan, report)
    assert report.get(timeout=SOON) == "from a parent"
    parent.kill()
    assert report.get(timeout=SOON) == "end"


@pytest.mark.long
def test_an_object_of_more_than_two_gibibytes(start: Start) -> None:
    q, answers = context.Queue(), context.Queue()
    start(measure, q, answers)
    array = np.zeros((2 << 30) + 5, "u1")
    array[-1] = 7
    q.put(array)
    q.put(bytes(array[-1000:]) * 2_300_000)
    assert answers.get() == (array.nbytes, 7)
    assert answers.get() == (2_300_000_000, 7)


def measure(q: Any, answers: Any) -> None:
    for _ in range(2):
        got = q.get()
        answers.put((len(got), int(got[-1])))


def test_a_queue_without_readers_is_given_up_at_once() -> None:
    q = context.Queue()
    put_numbers(q, 0, 12_000)
    begin = time.monotonic()
    q._terminate_broken()
    assert time.monotonic() - begin < 5
    with pytest.raises(ValueError, match="is closed"):
        q.put(1)
