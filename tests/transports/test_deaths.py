"""Processes that are killed, over every transport."""

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

import pytest
from conftest import Start

from ringipc import EndOfStream, Full, MessagesLost, ProducerDied, ProducerFailed, RingError, _atexit
from ringipc.transports import socket_ends

from .ways import LISTENING, STREAMS, Way, certificate, eventually, over, way

__all__ = ["certificate", "way"]


def put_and_wait(way: Way, count: int) -> None:
    with way.producer() as producer:
        producer.put_many([b"%d" % k for k in range(count)])
        signal.pause()


def take_and_wait(way: Way, count: int, took: Any, options: dict[str, Any]) -> None:
    with way.consumer(**options) as consumer:
        kept = [consumer.message(timeout=20) for _ in range(count)]
        took.release()
        signal.pause()
        kept.clear()


def test_the_death_of_a_producer_is_reported_after_its_last_message(way: Way, start: Start) -> None:
    child = start(put_and_wait, way, 100, method="fork")
    if way.name == "pipe":
        way.to.close()  # type: ignore[union-attr]
    with way.consumer() as consumer:
        assert [int(consumer.get(timeout=5)) for _ in range(50)] == list(range(50))
        eventually(lambda: consumer.stats.backlog == 50)
        child.kill()
        at = time.monotonic()
        assert [int(consumer.get(timeout=5)) for _ in range(50)] == list(range(50, 100))
        with pytest.raises(ProducerDied, match=f"pid {child.pid} died"):
            consumer.get(timeout=5)
        assert time.monotonic() - at < 2


def test_the_failure_of_a_producer_is_reported_after_its_last_message(way: Way) -> None:
    outcomes: list[object] = []

    def read() -> None:
        with way.consumer() as consumer:
            for _ in range(3):
                try:
                    outcomes.append(consumer.get(timeout=20))
                except RingError as error:
                    outcomes.append(type(error))

    reader = threading.Thread(target=read)
    reader.start()
    with pytest.raises(ZeroDivisionError), way.producer() as producer:
        producer.put(b"half")
        1 / 0  # noqa: B018
    reader.join(20)
    assert outcomes == [b"half", ProducerFailed, EndOfStream]


@over("ring", "unix-stream", "tcp-stream", also=["anonymous", "unix", "tcp", *STREAMS[2:]])
def test_a_killed_consumer_does_not_hold_the_producer_back(way: Way, start: Start) -> None:
    took = get_context("fork").Semaphore(0)
    child = start(take_and_wait, way, 3, took, {"group": "dies"}, method="fork")
    with way.producer(slots=8) as producer, way.consumer(group="lives") as consumer:
        producer.put_many([b"0", b"1", b"2"])
        assert took.acquire(timeout=20)
        assert [int(consumer.get(timeout=5)) for _ in range(3)] == [0, 1, 2]
        child.kill()
        at = time.monotonic()
        for k in range(100):
            producer.put(b"%d" % k, timeout=5)
            assert int(consumer.get(timeout=5)) == k
        assert time.monotonic() - at < 2.5


@over("ring", "unix-stream", "tcp-stream", also=["anonymous", "unix", "tcp", *STREAMS[2:]])
def test_messages_of_a_killed_worker_are_redelivered_to_another(way: Way, start: Start) -> None:
    took = get_context("fork").Semaphore(0)
    child = start(take_and_wait, way, 2, took, {"group": "work", "shared": True}, method="fork")
    with way.producer(groups=[]) as producer:
        producer.put_many([b"%d" % k for k in range(20)])
        assert took.acquire(timeout=20)
        with way.consumer(group="work", shared=True) as consumer:
            child.kill()
            got: dict[int, bool] = {}
            while len(got) < 20:
                with consumer.message(timeout=5) as message:
                    assert int(message.payload) not in got
                    got[int(message.payload)] = message.redelivered
            assert got[0]
            assert got[1]
            assert sum(got.values()) <= socket_ends.AT_ONCE + 2


def listen_and_wait(way: Way, took: Any) -> None:
    with way.consumer(bind=True) as consumer:
        consumer.get(timeout=20)
        took.release()
        signal.pause()


@over(*[name for name in LISTENING if name != "abstract"])
def test_a_new_listener_can_take_the_address_of_a_killed_one(way: Way, start: Start) -> None:
    """The next listener gets the messages that the killed one had not released."""
    took = get_context("fork").Semaphore(0)
    child = start(listen_and_wait, way, took, method="fork")
    with way.producer(bind=False) as producer:
        producer.put(b"first")
        assert took.acquire(timeout=20)
        child.kill()
        child.join()
        if way.transport == "ring":
            return  # it has the ring of the killed one
        with way.consumer(bind=True) as consumer:
            for k in range(10):
                producer.put(b"%d" % k, timeout=5)
            got = [consumer.get(timeout=5)]
            while got[-1] != b"9":
                got.append(consumer.get(timeout=5))
            assert got[-10:] == [b"%d" % k for k in range(10)]
            assert got[:-10] in ([], [b"first"])


@over("unix-stream", "tcp-stream", "tls")
def test_a_process_that_forks_keeps_its_connections(way: Way) -> None:
    """The child does not use them, and its exit does not end them."""
    with way.both() as (producer, consumer):
        producer.put(b"before")
        assert consumer.get(timeout=5) == b"before"
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for handle in producer, consumer:
                    handle.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        producer.put(b"after")
        assert consumer.get(timeout=5) == b"after"


def put_and_fork(way: Way) -> None:
    producer = way.producer()
    producer.put(b"1")
    if os.fork() == 0:
        time.sleep(2)
        os._exit(0)
    signal.pause()
    producer.close()


@over("unix-stream", also=["tcp-stream", "tls"])
def test_a_forked_child_does_not_keep_its_dead_parent_alive(way: Way, start: Start) -> None:
    child = start(put_and_fork, way, method="fork")
    with way.consumer() as consumer:
        assert consumer.get(timeout=5) == b"1"
        child.kill()
        at = time.monotonic()
        with pytest.raises(ProducerDied):
            consumer.get(timeout=5)
        assert time.monotonic() - at < 2


def interrupted(wait: Callable[[], object]) -> None:
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
    at = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        wait()
    assert time.monotonic() - at < 1


@pytest.mark.long
@over("unix", "fifo", also=("unix-stream", "tls"))
def test_close_without_a_consumer_gives_up_after_linger(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    producer = way.producer(linger=1.5)
    producer.put_many([b"1", b"2", b"3"])
    interrupted(producer.close)  # close can be called again
    with pytest.raises(
        MessagesLost, match=r"3 messages are lost after 1\.5 s without progress \(linger=\): no consumer"
    ):
        producer.close()
    [warning] = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert "close() waits, for up to 1.5 s (linger=): 3 messages are left: no consumer" in warning
    producer.close()


@over("unix-stream", "tcp-stream", "pipe", "fifo")
def test_close_without_linger_reports_losses_at_once(way: Way) -> None:
    at = time.monotonic()
    options: dict[str, Any] = {"linger": 0, "capacity": "4 MiB"}
    with pytest.raises(MessagesLost, match="1 message is lost"), way.producer(**options) as producer:
        producer.put(bytes(2 << 20))  # more than a pipe has room for
    assert time.monotonic() - at < 1


@over("unix-stream", "tcp-stream", "fifo")
def test_messages_of_a_collected_producer_are_not_lost(way: Way) -> None:
    """A consumer that connects before it gives up gets all messages, and the end of the stream."""
    way.producer(linger=20).put_many([b"1", b"2", b"3"])
    with way.consumer() as consumer:
        assert list(consumer) == [b"1", b"2", b"3"]


@over("unix-stream", "tcp-stream", "fifo")
def test_losses_of_a_collected_producer_are_reported(
    way: Way, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = []
    monkeypatch.setattr(_atexit, "fail_at_exit", lambda: statuses.append(120))  # not the exit status of the tests
    way.producer(linger=0.1).put_many([b"1", b"2", b"3"])
    eventually(lambda: bool(statuses))
    [error] = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert "3 messages are lost after 0.1 s without progress (linger=): no consumer" in error


@over("unix-stream", "tcp-stream")
def test_close_names_the_group_that_it_waits_for(way: Way) -> None:
    producer = way.producer(linger=0.2, groups=["late"])
    with way.consumer(group="quick") as consumer:
        producer.put(b"1")
        assert consumer.get(timeout=5) == b"1"
        with pytest.raises(
            MessagesLost, match=r"1 message is lost after 0\.2 s .*: no consumer of group 'late' is connected"
        ):
            producer.close()


@pytest.mark.parametrize("what", ["put", "get"])
@over("unix-stream", "tls", "pipe")
def test_ctrl_c_ends_a_wait_at_once(way: Way, what: str) -> None:
    with way.both({"capacity": 4096, "slots": 2}) as (producer, consumer):
        if what == "put":
            with pytest.raises(Full):
                while True:
                    producer.put(bytes(4000), timeout=0.1)
        interrupted(consumer.get if what == "get" else lambda: producer.put(bytes(4000)))
        reader = threading.Thread(target=lambda: list(consumer))
        reader.start()
        producer.close()
        reader.join(10)
