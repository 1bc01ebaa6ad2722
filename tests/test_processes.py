"""Processes that are spawned and forked, start in any order, and are killed at any time."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import pytest

import ringipc
from ringipc import Closed, Consumer, Empty, EndOfStream, Full, Producer, ProducerDied

Start = Callable[..., BaseProcess]


def put_numbers(channel: str, count: int, pause: float = 0.0) -> None:
    time.sleep(pause)
    with Producer(channel, capacity="1 MiB") as producer:
        for k in range(count):
            producer.put(np.full(10, k), timeout=20)


def get_numbers(channel: str, count: int, group: str = "default", pause: float = 0.0) -> None:
    time.sleep(pause)
    with Consumer(channel, group=group, timeout=20) as consumer:
        assert [int(a[9]) for a in consumer] == list(range(count))


def put_and_hang(channel: str, count: int) -> None:
    producer = Producer(channel, capacity="1 MiB")
    for k in range(count):
        producer.put(b"%d" % k)
    time.sleep(60)


def get_and_hang(channel: str, ready: str, views: int) -> None:
    consumer = Consumer(channel, group="hung", copy=False, timeout=20)
    kept = [consumer.get(timeout=20) for _ in range(views)]
    with Producer(ready, capacity=4096) as answer:
        answer.put(b"ready")
        time.sleep(60)
    assert kept


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.parametrize("first", ["producer", "consumer"])
def test_either_side_may_come_first(start: Start, method: str, first: str) -> None:
    late, early = (0.0, 0.3) if first == "producer" else (0.3, 0.0)
    start(put_numbers, "c", 3000, late, method=method)
    start(get_numbers, "c", 3000, "default", early, method=method)


def get_numbers_once_ready(channel: str, count: int, group: str) -> None:
    with Consumer(channel, group=group, timeout=20) as consumer:
        with Producer("ready", capacity=4096) as ready:
            ready.put(b"ready")
        assert [int(a[9]) for a in consumer] == list(range(count))


def test_groups_in_several_processes_get_every_message(start: Start) -> None:
    with Producer("c", capacity="1 MiB") as producer:
        for k in range(3):
            start(get_numbers_once_ready, "c", 5000, f"group {k}")
        with Producer("ready", capacity=4096), Consumer("ready") as ready:
            for _ in range(3):
                assert ready.get(timeout=20) == b"ready"
        for k in range(5000):
            producer.put(np.full(10, k), timeout=20)


def test_several_producers_keep_their_own_order(start: Start) -> None:
    with Producer("c", capacity=4096) as own, Consumer("c") as consumer:
        for _ in range(3):
            start(put_numbers, "c", 2000)
        seen: dict[int, int] = {}
        for _ in range(3 * 2000):
            message = consumer.message(timeout=20)
            value = int(message.payload[9])
            assert value == message.seq == seen.get(message.lane_id, -1) + 1
            seen[message.lane_id] = value
        assert sorted(seen.values()) == [1999] * 3
        own.close()
        with pytest.raises(EndOfStream):
            consumer.get(timeout=10)


def test_a_killed_producer_loses_nothing_that_it_had_put(start: Start) -> None:
    child = start(put_and_hang, "c", 500)
    with Consumer("c", timeout=20) as consumer:
        assert consumer.get(timeout=20) == b"0"
        while consumer.stats.backlog < 499:
            time.sleep(0.01)
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        for k in range(1, 500):
            assert consumer.get(timeout=5) == b"%d" % k
        before = time.monotonic()
        with pytest.raises(ProducerDied, match=f"pid {child.pid} died"):
            consumer.get(timeout=10)
        assert time.monotonic() - before < 1.5
        with pytest.raises(EndOfStream):
            consumer.get(timeout=10)


def test_a_waiting_consumer_gets_the_death_within_a_second(start: Start) -> None:
    child = start(put_and_hang, "c", 1)
    with Consumer("c", timeout=20) as consumer:
        assert consumer.get(timeout=20) == b"0"
        with pytest.raises(Empty):
            consumer.get(timeout=0.2)
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        before = time.monotonic()
        with pytest.raises(ProducerDied):
            consumer.get()
        assert time.monotonic() - before < 1


@pytest.mark.parametrize("shared", [False, True])
def test_iteration_raises_each_death_once_and_continues_to_the_end(start: Start, shared: bool) -> None:
    with Producer("c", capacity=4096, groups=["g"]) as living:
        children = [start(put_and_hang, "c", 20) for _ in range(2)]
        with Consumer("c", group="g", shared=shared) as consumer:
            got: list[int] = []
            deaths: list[BaseException] = []
            while len(deaths) < 2:
                try:
                    for message in consumer:
                        got.append(int(message))
                        if len(got) == 40:
                            living.put(b"-1")
                        elif got[-1] == -1 and len(deaths) < 2:  # all messages of both are read
                            os.kill(children[len(deaths)].pid or 0, signal.SIGKILL)
                    pytest.fail("the loop ended without raising the death")
                except ProducerDied as death:
                    deaths.append(death)
                    living.put(b"-1")
            for child, raised in zip(children, deaths, strict=True):
                assert f"pid {child.pid} died" in str(raised)
                assert not isinstance(raised, EOFError)
            assert consumer.get(timeout=5) == b"-1"
            living.close()
            assert list(consumer) == []
            assert sorted(got) == [-1] * (len(got) - 40) + sorted(2 * [*range(20)])


def test_a_killed_consumer_holds_the_producer_back_for_at_most_a_second(start: Start) -> None:
    with Producer("c", capacity=4096, slots=4) as producer:
        child = start(get_and_hang, "c", "ready", 2)
        producer.put_many([b"a"] * 4)
        with Consumer("ready", timeout=20) as ready:
            assert ready.get(timeout=20) == b"ready"
            with Consumer("c", group="live") as live:
                assert len(live.get_many(4, timeout=5)) == 4
                assert child.pid
                os.kill(child.pid, signal.SIGKILL)
                before = time.monotonic()
                for k in range(20):
                    producer.put(b"%d" % k, timeout=5)
                    assert live.get(timeout=5) == b"%d" % k
                assert time.monotonic() - before < 1.2


@pytest.mark.long
def test_a_stopped_process_is_not_dead(start: Start) -> None:
    with Producer("c", capacity=4096, slots=4) as producer:
        child = start(get_and_hang, "c", "ready", 2)
        producer.put_many([b"a"] * 4)
        with Consumer("ready", timeout=20) as ready:
            assert ready.get(timeout=20) == b"ready"
            assert child.pid
            os.kill(child.pid, signal.SIGSTOP)
            with pytest.raises(Full, match=f"pid {child.pid}"):  # it stays a member
                producer.put(b"b", timeout=1.5)
            with pytest.raises(Empty):
                ready.get(timeout=1.5)
            os.kill(child.pid, signal.SIGKILL)
            with pytest.raises(ProducerDied):
                ready.get(timeout=5)


IN_A_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child"]


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*IN_A_NAMESPACE, "true"], capture_output=True).returncode != 0,
    reason="needs the right to make a pid namespace",
)
def test_a_death_in_another_pid_namespace_is_noticed() -> None:
    code = "import ringipc, time; p = ringipc.Producer('c'); p.put(b'%d' % __import__('os').getpid()); time.sleep(60)"
    with (
        subprocess.Popen([*IN_A_NAMESPACE, sys.executable, "-c", code]) as process,
        Consumer("c", timeout=20) as consumer,
    ):
        assert consumer.get(timeout=20) == b"1"  # its pid belongs to another process in this namespace
        with pytest.raises(Empty):
            consumer.get(timeout=1.2)
        process.kill()
        before = time.monotonic()
        with pytest.raises(ProducerDied):
            consumer.get(timeout=10)
        assert time.monotonic() - before < 1.5


def inherited(channel: str, handles: Any) -> None:
    producer, consumer, view = handles
    assert view.tolist() == [1, 2, 3]
    calls: list[Callable[[], Any]] = [lambda: producer.put(b""), lambda: consumer.get(), lambda: producer.flush()]
    for call in calls:
        with pytest.raises(Closed, match="belongs to the parent process"):
            call()
    assert producer.closed
    assert consumer.closed
    producer.close()
    consumer.close()
    del view
    with Producer(channel, capacity=4096) as own:
        own.put(b"from the child")


def test_a_forked_child_must_attach_for_itself(start: Start) -> None:
    with Producer("c", capacity=4096) as producer, Consumer("c") as consumer:
        producer.put(np.array([1, 2, 3]))
        view = consumer.get()
        child = start(inherited, "c", (producer, consumer, view), method="fork")
        assert consumer.get(timeout=20) == b"from the child"
        child.join()
        producer.put(b"still here")
        assert consumer.get(timeout=1) == b"still here"
        assert view.tolist() == [1, 2, 3]
        del view
        producer.flush(timeout=1)


FORKS = """
import multiprocessing, os, sys, threading, time, ringipc

p = ringipc.Producer("big", capacity=65 << 20, overflow="drop-old")
q = ringipc.Producer("reserved", capacity=4096)
entered, never = threading.Event(), threading.Event()

puts = 0  # odd while a put is in progress

def put():
    global puts
    large = bytes(64 << 20)
    while True:
        puts += 1
        p.put(large)
        puts += 1

def fork_in_a_put():
    while True:
        before = puts
        time.sleep(0.002)
        if before % 2 and puts == before:
            return before, os.fork()

def was_in_the_copy(before):
    # The thread runs while this one has the GIL. So it runs without the GIL, which put releases only to copy.
    began, ran = time.perf_counter(), time.clock_gettime(clock)
    while time.perf_counter() - began < 0.001:
        pass
    return time.clock_gettime(clock) - ran > 0.0002 and puts == before

def reserve():
    with q.reserve(3):
        entered.set()
        never.wait()

def touch():
    for handle in (p, q):
        for call in (lambda: handle.put(bytes(100)), handle.fileno, lambda: handle.put(b"", 0.1), handle.flush):
            try:
                call()
            except ringipc.Closed:
                continue
            os._exit(3)
        handle.close()

ends = {
    "exit": sys.exit,
    "_exit": lambda: os._exit(0),
    "touch": lambda: (touch(), sys.exit()),
}
threads = [threading.Thread(target=what, daemon=True) for what in (put, reserve)]
for thread in threads:
    thread.start()
clock = time.pthread_getcpuclockid(threads[0].ident)
entered.wait()
for k in range(3):
    for end in ends.values():
        forked = False
        while not forked:
            before, pid = fork_in_a_put()
            if pid == 0:
                end()
            forked = was_in_the_copy(before)
            deadline = time.monotonic() + 5
            while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
                time.sleep(0.002)
            if ended != (pid, 0):
                os.kill(pid, 9)
                os._exit(1)
    child = multiprocessing.get_context("fork").Process(target=touch)
    child.start()
    child.join(5)
    if child.exitcode != 0:
        child.kill()
        os._exit(2)
os._exit(0)
"""


@pytest.mark.long  # the moment is a matter of luck on a busy machine
def test_a_child_forked_during_a_put_ends(base: str) -> None:
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], timeout=60, check=False)
    for name in ("big", "reserved"):
        ringipc.Channel.open(name).remove()
    assert ended.returncode == 0


def test_a_fork_does_not_keep_a_dead_parent_alive() -> None:
    code = (
        "import os, time, ringipc\n"
        "producer = ringipc.Producer('c', capacity=4096)\n"
        "producer.put(b'a')\n"
        "if os.fork() == 0:\n"
        "    os.close(1); time.sleep(3); os._exit(0)\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout
    with parent.stdout:
        assert parent.stdout.readline() == b"ready\n"
    with Consumer("c") as consumer:
        assert consumer.get(timeout=5) == b"a"
        parent.kill()
        parent.wait()
        with pytest.raises(ProducerDied):
            consumer.get(timeout=2)


def test_a_process_that_ends_without_closing_has_not_died() -> None:
    code = "import ringipc; p = ringipc.Producer('c', capacity=4096); p.put(b'a'); {}"
    for end in ("", "1/0", "import threading; threading.Thread(target=lambda: p.flush(), daemon=True).start()"):
        subprocess.run([sys.executable, "-c", code.format(end)], stderr=subprocess.DEVNULL, timeout=20, check=False)
        with Consumer("c", timeout=0) as consumer:
            assert list(consumer) == [b"a"]


def end_without_closing(channel: str) -> None:
    keep.append(Producer(channel, capacity=4096))
    keep[0].put(b"a")


keep: list[Producer] = []


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_child_of_multiprocessing_that_ends_has_not_died(start: Start, method: str) -> None:
    start(end_without_closing, "c", method=method).join(20)
    with Consumer("c", timeout=0) as consumer:
        assert list(consumer) == [b"a"]


def test_the_next_process_takes_over_what_killed_ones_left(start: Start, base: str) -> None:
    child = start(put_and_hang, "c", 5)
    with Consumer("c", timeout=20) as consumer:
        assert consumer.get(timeout=20) == b"0"
        assert child.pid
        while consumer.stats.backlog < 4:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    with Producer("c", capacity=4096) as producer, Consumer("c") as consumer:
        producer.put(b"new")
        assert consumer.get(timeout=1) == b"new"
