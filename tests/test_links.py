"""The start and the end of connections: exits without close, pipes without a reader, rings with a fallback."""

import fcntl
import os
import select
import signal
import socket
import termios
import threading
import time
from array import array
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from greetings import OPENING

import ringipc
from ringipc import (
    AuthenticationError,
    ChannelNotFound,
    Consumer,
    Corrupt,
    EndOfStream,
    Incompatible,
    MessagesLost,
    Producer,
    ProducerDied,
    RingError,
    SystemRefused,
)


@pytest.fixture(autouse=True)
def streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGIPC_RING", "0")


def put_and_exit(url: str) -> None:
    producer = Producer(url, capacity="1 MiB")
    producer.put_many([b"%d" % number for number in range(400)])
    globals()["kept"] = producer  # keeps it until the interpreter exits


def test_a_process_that_ends_without_closing_loses_nothing(base: str, start: Start) -> None:
    url = f"unix://{base}/s"
    start(put_and_exit, url)
    with Consumer(url, timeout=20) as consumer:
        assert [int(message) for message in consumer] == list(range(400))


def test_a_producer_that_waits_for_room_in_a_pipe_learns_that_its_reader_is_gone() -> None:
    to, of = ringipc.pair()
    producer = Producer(to, capacity=4096, slots=4)
    with Consumer(of) as consumer:
        producer.put(b"read")
        assert consumer.get(5) == b"read"
    with pytest.raises(SystemRefused, match="the consumer has gone"):
        for _ in range(100):
            producer.put(b"x" * 1000, timeout=20)
    with pytest.raises(MessagesLost, match="lost"):
        producer.close()


def break_a_pipe(disposition: signal.Handlers) -> None:
    signal.signal(signal.SIGPIPE, disposition)
    test_a_producer_that_waits_for_room_in_a_pipe_learns_that_its_reader_is_gone()
    assert signal.getsignal(signal.SIGPIPE) == disposition
    assert not signal.sigpending()


@pytest.mark.parametrize("disposition", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_broken_pipe_ends_no_process(start: Start, disposition: signal.Handlers) -> None:
    """With SIGPIPE ignored, as Python does it, and with its default action."""
    start(break_a_pipe, disposition)


@pytest.mark.parametrize("url", ["unix://{}/s", "tcp://127.0.0.1:0", "fifo://{}/f", "pipe", "ring"])
def test_a_lane_too_large_for_a_stream_is_refused_at_once(base: str, url: str) -> None:
    """The error comes before the first consumer, whose messages would be lost."""
    to, of = ringipc.pair()
    where: Any = to if url == "pipe" else "c" if url == "ring" else url.format(base)
    options: dict[str, Any] = {"fallback": f"unix://{base}/s"} if url == "ring" else {}
    sizes: list[dict[str, Any]] = [{"capacity": "1.1 GiB"}, {"slots": (1 << 20) + 1}]
    for size in sizes:
        with pytest.raises(ValueError, match="a lane has at most 1073741824 bytes"):
            Producer(where, **size, **options)
    assert os.listdir(base) == []
    to.close()  # the refusal did not close it
    of.close()


def test_a_named_pipe_has_one_producer_at_a_time(base: str) -> None:
    url = f"fifo://{base}/fifo"
    total = 3

    def put(which: int) -> None:
        with Producer(url, capacity=4096, slots=4) as producer:
            for number in range(50):
                producer.put(b"%d %d" % (which, number))

    threads = [threading.Thread(target=put, args=(which,)) for which in range(total)]
    for thread in threads:
        thread.start()
    got: list[bytes] = []
    with Consumer(url, timeout=20) as consumer:
        while len(got) < 50 * total:
            try:
                got.append(consumer.get(5))
            except EndOfStream:
                time.sleep(0.01)  # the next producer has not opened it yet
    for thread in threads:
        thread.join()
    os.unlink(f"{base}/fifo")
    for which in range(total):
        assert [m for m in got if m.startswith(b"%d " % which)] == [b"%d %d" % (which, number) for number in range(50)]


def get_from(url: str, name: str, base: str, count: int, got: Any) -> None:
    os.environ["RINGIPC_DIR"] = base
    with Consumer(name, fallback=url, group="far", timeout=20) as consumer:
        for _ in range(count):
            got.put(consumer.get(20))
        got.put(consumer.stats.transport)


@pytest.fixture
def elsewhere(base: str) -> str:
    path = Path(base, "elsewhere")
    path.mkdir()
    return str(path)


def test_messages_of_other_producers_in_a_ring_use_its_fallback_too(base: str, elsewhere: str, start: Start) -> None:
    from multiprocessing import get_context

    url, got = f"unix://{base}/s", get_context("spawn").Queue()
    with Producer("cam", capacity="1 MiB", fallback=url) as first, Producer("cam", capacity="1 MiB") as second:
        far = start(get_from, url, "cam", elsewhere, 4, got)
        with Consumer("cam", fallback=url, timeout=5) as near:
            assert near.stats.transport == "ring"
            first.put(b"1")
            assert got.get(timeout=20) == b"1"
            for number in range(3):
                second.put(b"2 %d" % number)
                assert got.get(timeout=2) == b"2 %d" % number
            assert got.get(timeout=20) == "unix"
            assert sorted(near.get(1) for _ in range(4)) == [b"1", b"2 0", b"2 1", b"2 2"]
        far.join(20)


def test_the_producer_with_the_fallback_can_close_before_the_others(base: str) -> None:
    url = f"unix://{base}/s"
    first, second = Producer("cam", capacity="1 MiB", fallback=url), Producer("cam", capacity="1 MiB")
    os.environ["RINGIPC_DIR"], here = f"{base}", os.environ["RINGIPC_DIR"]
    with Consumer(url, group="far", timeout=5) as far:
        first.put(b"first")
        assert far.get(5) == b"first"
        start = time.monotonic()
        first.close()
        assert time.monotonic() - start < 5
        with pytest.raises(EndOfStream):
            far.get(5)
    os.environ["RINGIPC_DIR"] = here
    second.close()


def test_file_descriptors_of_an_ended_connection_are_not_written_to(base: str) -> None:
    """A consumer without its producer closes its socket; a new file with the same number must get no byte."""
    url = f"unix://{base}/s"
    producer = Producer(url, capacity="1 MiB")
    consumer = Consumer(url, timeout=5)
    producer.put(b"m")
    assert consumer.get(5) == b"m"
    producer._link.abandon()  # type: ignore[union-attr]
    time.sleep(0.2)
    pairs = [socket.socketpair() for _ in range(20)]
    consumer.close()
    ends = [end for pair in pairs for end in pair]
    for end in ends:
        end.setblocking(False)
        with pytest.raises(BlockingIOError):
            end.recv(1)
    for end in ends:
        end.close()
    producer.close()


@pytest.mark.parametrize(
    ("channel", "options", "why"),
    [
        ("unix://@test-ringipc", {"fallback": "unix://@test-ringipc-other"}, "a channel that has a name"),
        ("c", {"fallback": "other"}, "must be a socket"),
        ("c", {"fallback": "fifo:///tmp/never-made"}, "must be a socket"),
        ("fd:0", {"fallback": "unix://@test-ringipc"}, "a channel that has a name"),
    ],
)
def test_a_fallback_without_a_ring_or_a_socket_is_refused(channel: str, options: dict[str, Any], why: str) -> None:
    for kind in Producer, Consumer:
        with pytest.raises(ValueError, match=why):
            kind(channel, **{"timeout": 0} | options)


@pytest.mark.parametrize(
    ("data", "error", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Corrupt, "does not speak ringipc"),
        (b"ringipc\0\7\0\0\0", Incompatible, "version 7 of the protocol, this side 1"),
        (b"ringipc\0\1\0\0\0\1\0\0\0\1", AuthenticationError, "a key and this side has none"),
        (OPENING + b"\2\0\1\0\0", Corrupt, "instead of one of kind 1"),
        (OPENING + b"\1\0\1\0\0", Corrupt, "too short"),
        (OPENING, ProducerDied, "in its greeting"),
        (b"", ProducerDied, "before its greeting"),
    ],
)
def test_a_pipe_without_a_producers_greeting_is_refused(data: bytes, error: type[RingError], why: str) -> None:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with pytest.raises(error, match=why):
        Consumer(f"pipe:{reading}", timeout=5)
    with pytest.raises(OSError):
        os.fstat(reading)


def test_a_consumer_waits_for_the_producer_of_a_pipe_until_its_timeout() -> None:
    writer, reader = ringipc.pair()
    with writer, pytest.raises(ChannelNotFound, match="no producer has opened it"):
        Consumer(reader, timeout=0.05)
    writer, reader = ringipc.pair()
    with Producer(writer) as producer:
        producer.put(b"1")
        select.select([reader], [], [], 20)
        with Consumer(reader, timeout=0) as consumer:
            assert consumer.get(5) == b"1"


def test_a_greeting_that_stalls_in_a_named_pipe_does_not_delay_close(base: str) -> None:
    path = f"{base}/fifo"
    with Producer(ringipc.fifo(path)) as producer:
        producer.put(b"1")
        consumer = Consumer(ringipc.fifo(path), timeout=20)
        assert consumer.get(5) == b"1"
    with pytest.raises(EndOfStream):
        consumer.get(5)
    with open(path, "wb", buffering=0) as stalled:
        stalled.write(OPENING[:5])
        unread = array("i", [5])
        while unread[0]:  # until the consumer reads
            fcntl.ioctl(stalled, termios.FIONREAD, unread)
        at = time.monotonic()
        consumer.close()
        assert time.monotonic() - at < 1
    os.unlink(path)


@pytest.mark.parametrize("option", ["shared", "durable"])
def test_a_pipe_has_one_consumer(option: str) -> None:
    to, of = ringipc.pair()
    options: dict[str, Any] = {option: True}
    with pytest.raises(ValueError, match="has one consumer"):
        Consumer(of, **options)
    to.close()
    of.close()
