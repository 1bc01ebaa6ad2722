"""Random, damaged and truncated frames after a valid greeting: errors or wrong data, but no crash and no hang."""

import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from conftest import MINUTES

from ringipc import Consumer, Empty, EndOfStream, Full, RingError

from .test_failures import raw_peer
from .ways import Way, certificate, no_trace, over, way

__all__ = ["certificate", "no_trace", "way"]
pytestmark = pytest.mark.usefixtures("no_trace")

FRAME = struct.Struct("<IBBBBIIQQ")  # as in csrc/stream/stream.h
MAGIC = int.from_bytes(b"rip1", "little")
MESSAGE, LET_GO, END = 1, 2, 3
LONG = [pytest.param(1.0), pytest.param(15 * MINUTES, marks=[pytest.mark.long, pytest.mark.timeout(15 * MINUTES + 60)])]


def message(rng: random.Random) -> bytes:
    size = rng.choice([0, 1, 50, 1000, 5000, 70_000])
    kind = rng.choice([1, 1, 1, 2, 3, 4])
    head = FRAME.pack(MAGIC, MESSAGE, kind, rng.choice([0, 0, 1]), 0, rng.getrandbits(32), rng.choice([0, 3]), size, 1)
    return head + rng.randbytes(size)


def damaged(rng: random.Random, data: bytes) -> bytes:
    match rng.randrange(6):
        case 0:
            at = rng.randrange(FRAME.size)
            return data[:at] + rng.randbytes(1) + data[at + 1 :]
        case 1:
            return data[: rng.randrange(len(data))]
        case 2:
            return rng.randbytes(rng.randrange(200))
    return data


def send(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except OSError:  # the peer has disconnected, or does not read any more
        return False
    return True


@contextlib.contextmanager
def listening(way: Way) -> Iterator[tuple[Consumer, socket.socket]]:
    made: list[Consumer] = []
    opening = threading.Thread(target=lambda: made.append(way.consumer(bind=True, copy=False)))
    opening.start()
    first = raw_peer(str(way.of), True)
    opening.join(10)
    with made[0] as consumer, first:
        yield consumer, first


def read_some(consumer: Consumer) -> int:
    """Read messages of any kind to the end."""
    got = 0
    while True:
        try:
            repr(consumer.get(timeout=0.01))
            got += 1
        except (Empty, EndOfStream):
            return got
        except RingError:
            got += 1


@pytest.mark.parametrize("seconds", LONG)
@over("unix-stream", also=["tcp-stream"])
def test_a_consumer_withstands_hostile_producers(way: Way, seconds: float) -> None:
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    got = 0
    with listening(way) as (consumer, first):
        first.close()
        while time.monotonic() < end:
            with raw_peer(str(way.of), True) as peer:
                peer.settimeout(0.2)
                for _ in range(rng.randrange(20)):
                    if not send(peer, damaged(rng, message(rng))):
                        break
                    got += read_some(consumer) if rng.random() < 0.3 else 0
            got += read_some(consumer)
        with way.producer(bind=False, timeout=5) as producer:
            producer.put(b"still well")
            seen: list[object] = []
            while b"still well" not in seen:
                assert time.monotonic() < end + 10, f"seed {seed}"
                with contextlib.suppress(RingError):
                    seen.append(bytes(consumer.get(timeout=5)))
    assert got > 10


@pytest.mark.parametrize("seconds", LONG)
@over("unix-stream", also=["tcp-stream"])
def test_a_producer_withstands_hostile_consumers(way: Way, seconds: float) -> None:
    rng = random.Random(os.urandom(4))
    end = time.monotonic() + seconds
    sent = 0
    with way.producer(capacity=1 << 16, slots=16) as producer, way.consumer() as consumer:
        while time.monotonic() < end:
            with raw_peer(str(way.to), False) as peer:
                peer.settimeout(0.2)
                for _ in range(rng.randrange(10)):
                    count = rng.choice([0, 1, rng.randrange(20), rng.getrandbits(64)])
                    frame = FRAME.pack(MAGIC, rng.choice([LET_GO, LET_GO, END]), 0, 0, 0, 0, 0, count, 0)
                    if not send(peer, damaged(rng, frame)):
                        break
                    with contextlib.suppress(Full):
                        producer.put(b"%d" % sent, timeout=0.01)
                        assert consumer.get(timeout=5) == b"%d" % sent
                        sent += 1
                    if rng.random() < 0.3:
                        with contextlib.suppress(OSError):
                            peer.recv(1 << 16)
        producer.put(b"still well", timeout=3)
        assert consumer.get(timeout=5) == b"still well"
    assert sent > 10
