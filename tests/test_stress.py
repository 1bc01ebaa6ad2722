"""Millions of messages between processes; each is checked."""

import zlib
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import numpy as np
import numpy.typing as npt
import pytest

from ringipc import Consumer, Producer

Start = Callable[..., BaseProcess]
BLOCK = 1000


def small(k: int) -> bytes:
    return b"%d-" % k * (1 + k % 5)


def put_small(channel: str, count: int, batch: int) -> None:
    with Producer(channel, capacity="1 MiB", slots=1024) as producer:
        checksum = 0
        for first in range(0, count, BLOCK):
            messages = [small(k) for k in range(first, first + BLOCK)]
            if batch == 1:
                for message in messages:
                    producer.put(message)
            else:
                for k in range(0, BLOCK, batch):
                    assert producer.put_many(messages[k : k + batch]) == batch
            checksum = zlib.crc32(b"".join(messages), checksum)
            producer.put(b"%d" % checksum)


@pytest.mark.parametrize(("count", "batch"), [(3_000_000, 1), (2_000_000, 100)])
def test_five_million_small_messages_arrive_in_order_and_whole(start: Start, count: int, batch: int) -> None:
    start(put_small, "c", count, batch)
    with Consumer("c", timeout=20) as consumer:
        checksum = 0
        got: list[bytes] = []
        for _ in range(0, count, BLOCK):
            while len(got) < BLOCK + 1:
                got += [consumer.get(timeout=20)] if batch == 1 else consumer.get_many(BLOCK, timeout=20)
            checksum = zlib.crc32(b"".join(got[:BLOCK]), checksum)
            assert got[BLOCK] == b"%d" % checksum
            del got[: BLOCK + 1]
        assert not got
        assert list(consumer) == []


def put_large(channel: str, count: int) -> None:
    rng = np.random.default_rng(7)
    noise = rng.integers(0, 2**63, 200_000, dtype="u8")
    with Producer(channel, capacity="8 MiB", slots=64) as producer:
        for k in range(count):
            size = 2 + (k * 7919) % 40_000
            first = (k * 104_729) % 160_000
            part = noise[first : first + size]
            if k % 3 == 0:
                with producer.reserve(size + 2, "u8") as frame:
                    frame[0] = k
                    frame[1] = part.sum()
                    frame[2:] = part
            else:
                producer.put(np.concatenate(([np.uint64(k), part.sum()], part)))


def test_twenty_thousand_large_messages_arrive_in_order_and_whole(start: Start) -> None:
    count = 20_000
    start(put_large, "c", count)
    with Consumer("c", timeout=20) as consumer:
        kept: list[tuple[int, npt.NDArray[np.uint64]]] = []
        for k in range(count):
            frame = consumer.get(timeout=20)
            assert frame[0] == k
            assert frame[2:].sum() == frame[1]
            if k % 8 == 0:
                kept.append((k, frame))
            if len(kept) > 2:  # keeps a few while others are received
                old, frame = kept.pop(k % 2)
                assert frame[0] == old
                assert frame[2:].sum() == frame[1]
            del frame
        kept.clear()
        assert list(consumer) == []
