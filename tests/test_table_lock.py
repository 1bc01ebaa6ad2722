"""A process is stopped while it holds a table lock: waits for the lock can be interrupted, and freeze no thread."""

import itertools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from conftest import directory_of

import ringipc
from ringipc import Barrier, Consumer, Event, Lock, Producer, Semaphore
from ringipc.cli import main

HOLDER = """
import fcntl, os, signal, struct, sys
fcntl.fcntl(0, 38, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 1, 0))  # F_OFD_SETLKW
os.write(1, b".")
os.kill(os.getpid(), signal.SIGSTOP)
"""


@contextmanager
def stopped_holder(path: str | Path) -> Iterator[int]:
    """Start a process that locks the tables and stops itself."""
    fd = os.open(path, os.O_RDWR)  # a lock belongs to an open file description
    try:
        holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=fd, stdout=subprocess.PIPE)
    finally:
        os.close(fd)
    with holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.read(1) == b"."
            os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
            yield holder.pid
        finally:
            holder.kill()


def control(base: str, name: str = "c") -> Path:
    return directory_of(base, name) / "control"


class Interrupted(Exception):
    pass


def interrupted(call: Callable[[], object]) -> None:
    """Check that a signal handler can raise during the call, and that other threads run."""
    ticks = 0
    over = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not over.wait(0.01):
            ticks += 1

    def handler(number: int, frame: object) -> None:
        raise Interrupted

    ticking = threading.Thread(target=tick)
    before = signal.signal(signal.SIGALRM, handler)
    ticking.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        began = time.monotonic()
        with pytest.raises(Interrupted):
            call()
        assert time.monotonic() - began < 2
        assert ticks >= 5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        over.set()
        ticking.join()


def test_closing_can_be_interrupted_and_tried_again(base: str) -> None:
    producer = Producer("c", capacity=4096)
    consumer = Consumer("c")
    producer.put(b"a")
    with stopped_holder(control(base)):
        for handle in (producer, consumer):
            interrupted(handle.close)
            assert handle.closed
        with pytest.raises(ringipc.Closed):
            producer.put(b"b")
        with pytest.raises(ringipc.Closed):
            consumer.get(0)
    assert len(ringipc.Channel.open("c").pids) == 2  # both are still members
    consumer.close()
    producer.close()
    assert os.listdir(base) == []


SYNCS: list[Callable[[str | None], Semaphore | Lock | Event | Barrier]] = [
    Semaphore,
    Lock,
    Event,
    lambda name: Barrier(name, 2),
]


@pytest.mark.parametrize("make", SYNCS)
def test_opening_and_closing_sync_objects_can_be_interrupted(
    base: str, make: Callable[[str | None], Semaphore | Lock | Event | Barrier]
) -> None:
    handle = make("s")
    with stopped_holder(control(base, "s")):
        interrupted(lambda: make("s"))
        interrupted(handle.close)
    handle.close()
    assert os.listdir(base) == []


@pytest.mark.long
def test_opening_inspecting_and_declaring_can_be_interrupted(base: str) -> None:
    with Producer("c", capacity=4096) as producer:
        with stopped_holder(control(base)):
            for call in (
                lambda: Producer("c", capacity=4096),
                lambda: Consumer("c"),
                lambda: ringipc.Channel.open("c"),
                lambda: producer._declare(b"later"),
            ):
                interrupted(call)
        channel = ringipc.Channel.open("c")
        with stopped_holder(control(base)):
            interrupted(lambda: channel.groups)
            interrupted(channel.remove)
            interrupted(lambda: channel.remove_group("default"))
        assert len(channel.pids) == 1
        assert channel.groups == []


def test_a_timeout_ends_the_wait_for_the_lock(base: str) -> None:
    with Producer("c", capacity=4096), stopped_holder(control(base)):
        began = time.monotonic()
        with pytest.raises(ringipc.SystemRefused, match="locked"):
            Consumer("c", timeout=0)
        assert 1 <= time.monotonic() - began < 3  # at least 1 s: a holder may wait for a processor


def test_releasing_the_last_view_freezes_no_thread(base: str) -> None:
    with Producer("c", capacity=4096) as producer:
        consumer = Consumer("c")
        producer.put(np.zeros(1024, "u1"))
        views = [consumer.get()]
        consumer.close()
        ticks: list[float] = []
        over = threading.Event()

        def tick() -> None:
            while not over.wait(0.01):
                ticks.append(time.monotonic())

        thread = threading.Thread(target=tick)
        thread.start()
        with stopped_holder(control(base)):
            began = time.monotonic()
            views.clear()
            assert time.monotonic() - began < 3  # it leaves the channel to others to reap
        over.set()
        thread.join()
        assert max(b - a for a, b in itertools.pairwise(ticks)) < 0.9  # with the GIL it would be a whole second
        producer.flush(5)


def test_a_put_in_a_lane_that_drops_refuses_instead_of_waiting_for_the_lock(base: str) -> None:
    with Producer("c", capacity=4096, overflow="drop-old") as producer, Consumer("c", group="first") as first:
        producer.put(b"a")
        with Consumer("c", group="second") as second:
            with stopped_holder(control(base)):
                for k in range(3):  # it opens its claims for the second group first
                    began = time.monotonic()
                    producer.put(b"%d" % k * 4090)
                    assert time.monotonic() - began < 5  # a wait for the lock would not end
                assert producer.stats.refused == 3
            producer.put(b"b" * 4090)
            assert producer.stats.refused == 3
            assert first.latest() == second.latest() == b"b" * 4090


@pytest.mark.long
def test_the_log_names_the_holder_of_the_lock(base: str, caplog: pytest.LogCaptureFixture) -> None:
    producer = Producer("c", capacity=4096)
    with stopped_holder(control(base)) as pid:
        closing = threading.Thread(target=producer.close)
        with caplog.at_level(logging.WARNING, "ringipc"):
            closing.start()
            closing.join(4)
        assert closing.is_alive()
        assert [record.name for record in caplog.records] == ["ringipc"]
        assert f"pid {pid}" in caplog.text
        assert str(control(base)) in caplog.text
    closing.join()
    with Consumer("c") as consumer:  # gets the end of the stream that waits
        assert list(consumer) == []
    assert os.listdir(base) == []


@pytest.mark.long
def test_a_signal_while_the_log_is_written_ends_the_wait(base: str) -> None:
    class Signals(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            signal.raise_signal(signal.SIGALRM)

    def handler(number: int, frame: object) -> None:
        raise Interrupted

    log, signals = logging.getLogger("ringipc"), Signals()
    before = signal.signal(signal.SIGALRM, handler)
    log.addHandler(signals)
    try:
        with Producer("c", capacity=4096), stopped_holder(control(base)), pytest.raises(Interrupted):
            Consumer("c", timeout=5)
    finally:
        log.removeHandler(signals)
        signal.signal(signal.SIGALRM, before)


def test_a_handle_that_is_collected_meanwhile_leaves_no_file_descriptor() -> None:
    event = Event()
    descriptor = event._descriptor()
    with stopped_holder(f"/proc/self/fd/{descriptor}"):
        del event
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def end_with_everything_open(ready: Connection, go: Connection) -> None:
    keep = Producer("c", capacity=4096), Consumer("c", group="child")
    keep[0].put(b"a")
    ready.send(None)
    go.recv()


@pytest.mark.long
def test_a_process_can_exit_and_does_not_count_as_dead(base: str) -> None:
    context = multiprocessing.get_context("spawn")
    (ready, tell_ready), (hear_go, go) = context.Pipe(False), context.Pipe(False)
    with Producer("c", capacity=4096) as producer, Consumer("c") as consumer:
        child = context.Process(target=end_with_everything_open, args=(tell_ready, hear_go))
        child.start()
        ready.recv()
        with stopped_holder(control(base)):
            go.send(None)
            child.join(15)
            assert child.exitcode == 0
        producer.close()
        assert consumer.get(5) == b"a"
        with pytest.raises(ringipc.EndOfStream):
            consumer.get(5)


@pytest.mark.long
def test_inspecting_does_not_wait_for_ever_beside_a_stopped_process(
    base: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Producer("c", capacity=4096) as producer, Producer("other", capacity=4096), Lock("s") as lock:
        with stopped_holder(control(base)) as one, stopped_holder(control(base, "s")) as two:
            began = time.monotonic()
            assert main(["ls"]) == 0
            assert time.monotonic() - began < 10  # one second for each
            lines = [line.split(maxsplit=4) for line in capsys.readouterr().out.splitlines()[1:]]
            assert [(name, kind, pids) for name, kind, _, _, pids in lines] == [
                ("c", "locked", f"locked by pid {one}"),
                ("other", "channel", str(os.getpid())),
                ("s", "locked", f"locked by pid {two}"),
            ]
            assert main(["clean", "--messages"]) == 0  # it touches nothing of the locked channel
            with pytest.raises(ringipc.SystemRefused, match=f"channel 'c': pid {one} has locked its tables"):
                ringipc.Channel.open("c")
        producer.put(b"x")
        with Consumer("c") as consumer:
            assert consumer.get() == b"x"
    lock.close()


def test_ctrl_c_ends_a_command_without_a_traceback(base: str) -> None:
    with Producer("c", capacity=4096), stopped_holder(control(base)):
        command = (
            "import signal, sys, threading, time; signal.signal(signal.SIGINT, signal.default_int_handler);"
            "from ringipc.cli import main;"
            "threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,)).start(); sys.exit(main(['ls']))"
        )
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
