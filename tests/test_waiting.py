"""Waits: when they end, what they cost, and what interrupts them."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Literal

import pytest

from ringipc import Consumer, Empty, Full, Producer

Start = Callable[..., BaseProcess]
Wait = Literal["spin", "adaptive", "block"]
MODES: list[Wait] = ["spin", "adaptive", "block"]


@pytest.mark.parametrize("wait", MODES)
@pytest.mark.parametrize("timeout", [0.001, 0.02, pytest.param(0.12, marks=pytest.mark.long)])
def test_a_timeout_is_accurate_to_a_few_milliseconds(producer: Producer, wait: Wait, timeout: float) -> None:
    late = []
    with Consumer("c", wait=wait) as consumer, Producer("c", capacity=4096, slots=1, wait=wait) as full:
        full.put(b"x")
        assert consumer.get() == b"x"
        full.put(b"x")
        for _ in range(5):
            before = time.monotonic()
            with pytest.raises(Full):
                full.put(b"", timeout=timeout)
            late.append(time.monotonic() - before - timeout)
        assert consumer.get() == b"x"
        for _ in range(5):
            before = time.monotonic()
            with pytest.raises(Empty):
                consumer.get(timeout=timeout)
            late.append(time.monotonic() - before - timeout)
    assert min(late) >= 0
    assert sorted(late)[len(late) // 2] < 0.003


@pytest.mark.parametrize("wait", ["adaptive", pytest.param("block", marks=pytest.mark.long)])
def test_a_blocked_consumer_uses_hardly_any_of_a_core(producer: Producer, wait: Wait) -> None:
    with Consumer("c", wait=wait) as consumer:
        with pytest.raises(Empty):
            consumer.get(timeout=0.1)
        before = resource.getrusage(resource.RUSAGE_SELF)
        with pytest.raises(Empty):
            consumer.get(timeout=3)
        after = resource.getrusage(resource.RUSAGE_SELF)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert used < 3 * 0.005


def hand_over(wait: Wait, count: int) -> None:
    with Consumer("there", wait=wait, timeout=20) as there, Producer("back", capacity=4096, wait=wait) as back:
        for k in range(count):
            assert there.get(timeout=20) == b"%d" % k
            back.put(b"%d" % k)


@pytest.mark.parametrize("wait", MODES)
def test_no_wake_up_is_lost(start: Start, wait: Wait) -> None:
    """A lost wake-up would show as a hand-over that takes a whole slice of 50 ms."""
    count = 20_000
    with Producer("there", capacity=4096, wait=wait) as there:
        start(hand_over, wait, count)
        slow = 0
        with Consumer("back", wait=wait, timeout=20) as back:
            for k in range(count):
                before = time.monotonic()
                there.put(b"%d" % k)
                assert back.get(timeout=20) == b"%d" % k
                slow += k > 0 and time.monotonic() - before > 0.045
                if k % 16 == 0:
                    time.sleep(1e-5 * (k % 7))
        assert slow < 10


WAITS = {
    "get": "consumer.get()",
    "get_many": "consumer.get_many(5)",
    "latest": "consumer.latest()",
    "message": "consumer.message()",
    "next": "next(consumer)",
    "put": "producer.put(bytes(4096)); producer.put(b'x')",
    "put_many": "producer.put_many([bytes(4096)] * 2)",
    "flush": "producer.put(b''); producer.flush()",
    "reserve": "producer.put(bytes(4096)); producer.reserve(1).__enter__()",
    "attach": "ringipc.Consumer('nowhere')",
}

INTERRUPTED = """
import signal, sys, time, ringipc
signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell may ignore SIGINT
producer = ringipc.Producer("c", capacity=4096, wait={wait!r})
consumer = ringipc.Consumer("c", wait={wait!r})
print("ready", flush=True)
try:
    {what}
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
"""


@pytest.mark.long
@pytest.mark.parametrize("what", WAITS)
@pytest.mark.parametrize("wait", MODES)
def test_ctrl_c_ends_every_wait_within_a_tenth_of_a_second(what: str, wait: Wait) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(what=WAITS[what], wait=wait)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    failing = threading.Timer(20, child.kill)  # else the read below could block for ever
    failing.start()
    try:
        with child.stdout:
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.15)
            sent = time.monotonic()
            child.send_signal(signal.SIGINT)
            assert float(child.stdout.readline()) - sent < 0.1
        assert child.wait(10) == 0
    finally:
        failing.cancel()
        child.kill()


@contextmanager
def signals_every(seconds: float) -> Iterator[list[int]]:
    came: list[int] = []
    old = signal.signal(signal.SIGALRM, lambda number, frame: came.append(number))
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield came
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_a_storm_of_signals_changes_neither_messages_nor_timeouts(producer: Producer, consumer: Consumer) -> None:
    with signals_every(0.0005) as came:
        before = time.monotonic()
        with pytest.raises(Empty):
            consumer.get(timeout=0.3)
        assert 0.3 <= time.monotonic() - before < 0.35

        def send() -> None:
            for k in range(20_000):
                producer.put(b"%d" % k)

        sender = threading.Thread(target=send)
        sender.start()
        for k in range(20_000):
            assert consumer.get(timeout=10) == b"%d" % k
        sender.join()
    assert len(came) > 20


def test_a_handler_that_raises_loses_no_message(producer: Producer, consumer: Consumer) -> None:
    def stop(number: int, frame: object) -> None:
        raise InterruptedError

    old = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(InterruptedError):
            consumer.get(timeout=10)
    finally:
        signal.signal(signal.SIGALRM, old)
    producer.put(b"a")
    assert consumer.get_nowait() == b"a"


def test_two_processes_on_one_core_hand_over(start: Start) -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with Producer("there", capacity=4096) as there:
            start(hand_over, "adaptive", 2000)
            with Consumer("back", timeout=20) as back:
                before = time.monotonic()
                for k in range(2000):
                    there.put(b"%d" % k)
                    assert back.get(timeout=20) == b"%d" % k
                assert time.monotonic() - before < 2
    finally:
        os.sched_setaffinity(0, cores)
