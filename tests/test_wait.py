"""`ringipc.wait`: several handles at once."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from conftest import Start

import ringipc
from ringipc import Closed, Consumer, EndOfStream, Full, Producer, ProducerDied


@pytest.fixture
def pair(producer: Producer) -> Iterator[tuple[Consumer, Consumer]]:
    with Consumer("c", group="a") as a, Consumer("c", group="b") as b:
        yield a, b


def test_what_has_something_is_ready(producer: Producer, pair: tuple[Consumer, Consumer]) -> None:
    a, b = pair
    assert ringipc.wait([a, b], 0) == []
    producer.put(b"x")
    assert ringipc.wait([a, b]) == [a, b]
    assert ringipc.wait([b, a]) == [b, a]
    assert ringipc.wait(iter([b, b]), 0) == [b, b]
    assert a.get_nowait() == b"x"
    assert ringipc.wait(pair, 5) == [b]
    assert b.get_nowait() == b"x"
    assert ringipc.wait(pair, 0) == []
    producer.close()
    assert ringipc.wait(pair, 0) == [a, b]
    with pytest.raises(EndOfStream):
        a.get_nowait()


def test_nothing_is_returned_before_the_time_is_up(producer: Producer, pair: tuple[Consumer, Consumer]) -> None:
    used, start = time.process_time(), time.monotonic()
    assert ringipc.wait(pair, 1.3) == []
    assert time.monotonic() - start >= 1.3
    assert time.process_time() - used < 0.2


def test_a_message_ends_the_wait(producer: Producer, pair: tuple[Consumer, Consumer]) -> None:
    timer = threading.Timer(0.1, producer.put, [b"x"])
    timer.start()
    start = time.monotonic()
    ready = ringipc.wait(pair, 20)
    assert time.monotonic() - start < 10
    assert ready
    assert ready[0].get_nowait() == b"x"
    timer.join()


def test_a_producer_is_ready_while_it_has_room() -> None:
    with Producer("c", capacity=4096, slots=1) as producer, Consumer("c") as consumer:
        assert ringipc.wait([producer, consumer]) == [producer]
        producer.put(b"x")
        assert ringipc.wait([producer, consumer]) == [consumer]
        with pytest.raises(Full):
            producer.put_nowait(b"y")
        timer = threading.Timer(0.1, consumer.get)
        timer.start()
        assert ringipc.wait([producer], 20) == [producer]
        producer.put_nowait(b"y")
        timer.join()


def test_whatever_has_a_descriptor(consumer: Consumer) -> None:
    left, right = socket.socketpair()
    reading, writing = multiprocessing.Pipe(duplex=False)
    with left, right, reading, writing:
        handles = [consumer, left, reading, right.fileno()]
        assert ringipc.wait(handles, 0) == []
        right.send(b"x")
        assert ringipc.wait(handles) == [left]
        writing.send("x")
        left.send(b"x")
        assert ringipc.wait(handles) == [left, reading, right.fileno()]
    with pytest.raises(ValueError, match="negative"):
        ringipc.wait([left], 0)


def test_closed_handles_and_bad_arguments(producer: Producer, pair: tuple[Consumer, Consumer]) -> None:
    a, b = pair
    for timeout in (-1, True, "1"):
        with pytest.raises((TypeError, ValueError), match="timeout"):
            ringipc.wait(pair, timeout)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        ringipc.wait([])
    a.close()
    with pytest.raises(Closed, match="'c'"):
        ringipc.wait([a, b], 0)
    producer.close()
    with pytest.raises(Closed, match="'c'"):
        ringipc.wait([b, producer])


def test_a_handle_that_another_thread_closes_ends_the_wait(pair: tuple[Consumer, Consumer]) -> None:
    timer = threading.Timer(0.1, pair[0].close)
    timer.start()
    start = time.monotonic()
    with pytest.raises(Closed):
        ringipc.wait(pair, 20)
    assert time.monotonic() - start < 5
    timer.join()


def test_a_signal_handler_ends_the_wait(pair: tuple[Consumer, Consumer]) -> None:
    timer = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ringipc.wait(pair, 20)
    assert time.monotonic() - start < 5
    timer.join()


def produce(name: str, count: int) -> None:
    with Producer(name, capacity=1 << 16) as producer:
        for k in range(count):
            producer.put(b"%d" % k)
            if k % 50 == 0:
                time.sleep(0.001)
        if name == "dies":
            os.kill(os.getpid(), signal.SIGKILL)


def test_two_producers_in_two_processes_one_of_which_dies(start: Start) -> None:
    count = 500
    processes = [start(produce, name, count) for name in ("ends", "dies")]
    with Consumer("ends", timeout=20) as ends, Consumer("dies", timeout=20) as dies:
        got: dict[Consumer, list[int]] = {ends: [], dies: []}
        last = {}
        left = [ends, dies]
        while left:
            ready = ringipc.wait(left, 20)
            assert ready
            for consumer in ready:
                try:
                    got[consumer].append(int(consumer.get_nowait()))
                except (EndOfStream, ProducerDied) as error:
                    last[consumer] = type(error)
                    left.remove(consumer)
        assert got == {ends: list(range(count)), dies: list(range(count))}
        assert last == {ends: EndOfStream, dies: ProducerDied}
        sentinel = processes[1].sentinel
        assert ringipc.wait([sentinel], 20) == [sentinel]


def take_messages(name: str) -> None:
    with Consumer(name, group="work", shared=True, timeout=20) as consumer:
        while ringipc.wait([consumer], 20):
            try:
                consumer.get_nowait()
            except ringipc.Empty:
                continue
            except EndOfStream:
                return


def test_two_waiting_members_of_a_group_share_the_messages(start: Start) -> None:
    with Producer("c", capacity=4096, slots=8, groups=["work"]) as producer:
        for _ in range(2):
            start(take_messages, "c")
        channel, end = ringipc.Channel.open("c"), time.monotonic() + 20
        while len(channel.pids) < 3:  # a member that comes after the end would find no channel
            assert time.monotonic() < end
            time.sleep(0.01)
        for k in range(300):
            assert ringipc.wait([producer], 20) == [producer]
            producer.put(b"%d" % k, timeout=20)
        producer.flush(20)
