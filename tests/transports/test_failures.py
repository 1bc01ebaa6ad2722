"""Networks that fail, and peers that send garbage or are refused."""

import contextlib
import dataclasses
import errno
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from greetings import KEY, connect

import ringipc
from ringipc import AuthenticationError, Consumer, Empty, EndOfStream, Full, Producer, ProducerDied, SystemRefused
from ringipc.transports import socket_link
from ringipc.transports.handshake import Hello, boot_id

from .proxy import Proxy, before
from .ways import STREAMS, Way, certificate, eventually, free_port, no_trace, over, way

__all__ = ["certificate", "no_trace", "way"]
pytestmark = pytest.mark.usefixtures("no_trace")

NETWORKS = [name for name in STREAMS if name != "unix-stream"]


@pytest.fixture
def proxy(way: Way) -> Iterator[tuple[Proxy, Way]]:
    """A proxy in front of the listener of a way, and the way through the proxy."""
    port = int(str(way.to).rpartition(":")[2])
    with before(port) as made:
        yield made, dataclasses.replace(way, to=f"tcp://localhost:{made.port}", of=f"tcp://localhost:{made.port}")


def fill(consumer: Consumer, got: list[int], count: int) -> None:
    while len(got) < count:
        array = consumer.get(timeout=10)
        assert (array == array[0]).all()
        got.append(int(array[0]))
        del array


@pytest.mark.parametrize("listens", ["producer", "consumer"])
@over(*NETWORKS)
def test_a_connection_that_breaks_inside_a_frame_continues(way: Way, proxy: tuple[Proxy, Way], listens: str) -> None:
    """No message is lost or received twice."""
    between, far = proxy
    rng = random.Random(3)
    if listens == "producer":
        producer = way.producer()
        consumer = far.consumer()
    else:
        made: list[Consumer] = []
        opening = threading.Thread(target=lambda: made.append(way.consumer(bind=True)))
        opening.start()
        producer = far.producer(bind=False)
        opening.join(10)
        consumer = made[0]
    with producer, consumer:
        got: list[int] = []
        reader = threading.Thread(target=fill, args=(consumer, got, 400))
        reader.start()
        for k in range(400):
            if k % 50 == 10:
                between.cut_after(rng.randrange(1, 30_000))
            producer.put(np.full(rng.choice([1, 100, 2000, 20_000]), k, "u2"), timeout=10)
        reader.join(20)
        assert got == list(range(400))
        assert between.cuts >= 2
        assert consumer.stats.lanes == 1
        with pytest.raises(Empty):
            consumer.get(timeout=0.05)


@over("tcp-stream")
def test_a_network_that_stays_down_ends_the_lane_and_starts_another(way: Way, proxy: tuple[Proxy, Way]) -> None:
    between, far = proxy
    with way.producer() as producer, far.consumer() as consumer:
        producer.put(b"1")
        assert consumer.get(timeout=5) == b"1"
        producer.flush(timeout=5)  # else it could be redelivered: its release may be lost with the connection
        between.down = True
        between.cut()
        producer.put(b"2")
        at = time.monotonic()
        with pytest.raises(ProducerDied):
            consumer.get(timeout=5)
        assert 0.9 * socket_link.RECONNECT_SECONDS < time.monotonic() - at < socket_link.RECONNECT_SECONDS + 1
        between.down = False
        producer.put(b"3")
        got: list[object] = []

        def read() -> bool:
            with contextlib.suppress(EndOfStream, Empty):  # the end of the old lane
                got.append(consumer.get(timeout=0.1))
            return got == [b"2", b"3"]

        eventually(read, lambda: got)


def raw_peer(url: str, producer: bool) -> socket.socket:
    """A connection after its greeting, for frames that the test makes."""
    hello = Hello(
        producer=producer,
        pid=os.getpid(),
        session=os.urandom(16),
        boot=boot_id(),
        group="strange",
        capacity=1 << 16,
        slots=16,
    )
    for _ in range(100):
        connection, welcome = connect(url, hello, timeout=5)
        if not welcome.error:
            return connection
        time.sleep(0.02)  # the previous peer has not been removed yet
    pytest.fail(welcome.text)


@over("unix-stream", "tcp-stream")
def test_a_consumer_that_sends_garbage_is_disconnected(way: Way) -> None:
    with way.producer(slots=8) as producer, way.consumer() as consumer, raw_peer(str(way.to), False) as peer:
        producer.put(b"1")
        peer.sendall(os.urandom(4096))
        peer.settimeout(5)
        with contextlib.suppress(ConnectionError):
            while peer.recv(1 << 16):
                pass
        for k in range(30):  # it does not hold the producer back
            producer.put(b"%d" % k, timeout=3)
            assert consumer.get(timeout=5) in (b"1", b"%d" % k, b"%d" % (k - 1))


@over("unix-stream", "tcp-stream")
def test_a_producer_that_sends_garbage_is_disconnected(way: Way) -> None:
    made: list[Consumer] = []
    opening = threading.Thread(target=lambda: made.append(way.consumer(bind=True)))
    opening.start()
    with way.producer(bind=False) as producer, raw_peer(str(way.of), True) as peer:
        opening.join(10)
        with made[0] as consumer:
            producer.put(b"1")
            assert consumer.get(timeout=5) == b"1"
            peer.sendall(b"\xff" * 4096)
            with pytest.raises(ProducerDied):
                consumer.get(timeout=5)
            producer.put(b"2")
            assert consumer.get(timeout=5) == b"2"


def test_a_peer_with_another_key_does_not_disturb_others() -> None:
    address = f"127.0.0.1:{free_port()}"
    where = ringipc.tcp(address, key=KEY)
    with Producer(where) as producer, Consumer(where, timeout=5) as consumer:
        with pytest.raises(AuthenticationError):
            Consumer(ringipc.tcp(address, key=KEY + b"!"), timeout=5)
        with pytest.raises(AuthenticationError):
            Consumer(f"tcp://{address}", timeout=5, group="other")
        producer.put(b"1")
        assert consumer.get(timeout=5) == b"1"


@over("unix-stream", "tcp", "abstract")
def test_an_address_in_use_is_refused(way: Way) -> None:
    with way.producer() as producer, way.consumer() as consumer:
        for take in way.producer, lambda: way.consumer(bind=True, group="other"):
            with pytest.raises(SystemRefused) as caught:
                take()
            assert caught.value.errno == errno.EADDRINUSE
        producer.put(b"1")
        assert consumer.get(timeout=5) == b"1"


def test_a_path_that_is_not_a_socket_is_refused(base: str) -> None:
    path = Path(base) / "file"
    path.touch()
    try:
        for url in f"unix://{path}", f"fifo://{path}":
            with pytest.raises(SystemRefused):
                Producer(url)
    finally:
        path.unlink()


def test_collected_handles_leave_nothing(way: Way) -> None:
    """The fixture no_trace checks that no thread and no file descriptor is left."""
    producer, consumer = way.producer(linger=0.1), way.consumer()
    producer.put(b"1")
    assert consumer.get(timeout=5) == b"1"
    del consumer
    del producer


@over("tcp-stream")
def test_put_over_a_full_connection_raises_full(way: Way) -> None:
    with way.both({"capacity": 1 << 16}) as (producer, consumer):
        with pytest.raises(Full, match="group 'default'"):
            while True:
                producer.put(bytes(1000), timeout=0.05)
        while consumer.stats.backlog:
            consumer.get(timeout=5)
