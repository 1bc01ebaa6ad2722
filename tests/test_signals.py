"""Signals that report the next message."""

import ctypes
import os
import signal
import time
from collections.abc import Iterator

import pytest
from conftest import Start

from ringipc import Closed, Consumer, Empty, Producer


@pytest.fixture
def caught() -> Iterator[list[int]]:
    """The signals that a handler of SIGUSR1 has received."""
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(signal.SIGUSR1, before)


def put_some(count: int, gap: float) -> None:
    with Producer("c", capacity=1 << 16) as producer:
        time.sleep(0.3)
        for k in range(count):
            producer.put(b"%d" % k)
            time.sleep(gap)


def wait_until(condition: object, seen: list[int], count: int) -> None:
    deadline = time.monotonic() + 20
    while len(seen) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(seen) == count


def test_each_request_gives_one_signal(producer: Producer, consumer: Consumer, caught: list[int]) -> None:
    producer.put(b"before")
    consumer.notify(signal.SIGUSR1)
    assert caught == []
    producer.put(b"a")
    assert caught == [signal.SIGUSR1]
    producer.put(b"b")
    assert len(caught) == 1
    consumer.notify(signal.SIGUSR1)
    producer.put_many([b"c", b"d"])
    assert len(caught) == 2
    consumer.notify(signal.SIGUSR1)
    consumer.notify(None)
    producer.put(b"e")
    assert len(caught) == 2
    consumer.notify(signal.SIGUSR1)
    producer.close()  # the end of the stream is reported too
    assert len(caught) == 3


def test_a_signal_from_another_process(start: Start, caught: list[int]) -> None:
    with Producer("c", capacity=4096) as own, Consumer("c") as consumer:
        start(put_some, 20, 0.01)
        got = 0
        consumer.notify(signal.SIGUSR1)
        deadline = time.monotonic() + 20
        while got < 20 and time.monotonic() < deadline:
            before = len(caught)
            try:
                while True:
                    consumer.get_nowait()
                    got += 1
            except Empty:
                pass
            if got < 20 and len(caught) == before:
                time.sleep(0.001)
            if len(caught) != before:
                consumer.notify(signal.SIGUSR1)
        consumer.notify(None)
        assert got == 20
        assert len(caught) >= 3  # if the machine pauses, several signals merge into one
        own.close()


class SigInfo(ctypes.Structure):
    """The kernel's siginfo_t on 64-bit machines."""

    _fields_ = [
        ("signo", ctypes.c_int),
        ("errno", ctypes.c_int),
        ("code", ctypes.c_int),
        ("pad", ctypes.c_int),
        ("pid", ctypes.c_int),
        ("uid", ctypes.c_int),
        ("value", ctypes.c_int),
        ("rest", ctypes.c_char * 100),
    ]


def receive_values() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    number = signal.SIGRTMIN + 2
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    wanted = (ctypes.c_ulong * 16)()
    wanted[0] = 1 << (number - 1)
    with (
        Producer("c", capacity=4096) as first,
        Producer("c", capacity=4096) as second,
        Consumer("c") as consumer,
    ):
        first.put(b"")
        consumer.get_many(9)
        for value, expected in ((42, 42), (-7, -7), (None, 1)):
            consumer.notify(number, value=value)
            second.put(b"")
            info = SigInfo()
            assert libc.sigwaitinfo(ctypes.byref(wanted), ctypes.byref(info)) == number
            assert (info.signo, info.value, info.pid) == (number, expected, os.getpid())


def test_a_real_time_signal_carries_a_value(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # a thread that does not block the signal would get it
    start(receive_values).join(20)


def test_invalid_signals_are_refused(producer: Producer) -> None:
    consumer = Consumer("c")
    with pytest.raises(ValueError, match="no signal 1000"):
        consumer.notify(1000)
    with pytest.raises(ValueError, match="C int"):
        consumer.notify(signal.SIGUSR1, value=1 << 31)
    consumer.close()
    with pytest.raises(Closed):
        consumer.notify(signal.SIGUSR1)
    producer.put(b"")


def ask_and_close(how: str) -> None:
    consumer = Consumer("c", group="asks", timeout=20)
    consumer.notify(signal.SIGKILL)
    if how == "close":
        consumer.close()
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("how", ["close", "die"])
def test_no_other_process_gets_the_signal_of_a_member_that_is_gone(producer: Producer, start: Start, how: str) -> None:
    """The entry of a member that is gone may still name its pid, which another process may have by now."""
    with Consumer("c") as consumer:
        child = start(ask_and_close, how)
        while child.is_alive():
            time.sleep(0.01)
        with Consumer("c", group="asks", shared=True):
            producer.put(b"")
            assert consumer.get() == b""
    producer.close()
