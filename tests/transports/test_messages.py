"""Messages and their metadata are received as they were put, over every transport."""

import asyncio
import os
import select
import signal
import threading
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ringipc import Consumer, Empty, EndOfStream, Full, MessageTooLarge, Producer, UnsafeMessage

from .ways import Way, certificate, eventually, no_trace, over, traces, way

__all__ = ["certificate", "no_trace", "way"]
pytestmark = pytest.mark.usefixtures("no_trace")

POINT = np.dtype([("x", "f4"), ("name", "S5"), ("at", "i8", (2,))])
GRID = np.arange(600, dtype="i4").reshape(20, 30)
ARRAYS = [
    np.array([(1.5, b"ab", (3, 4)), (2.5, b"cde", (5, 6))], dtype=POINT),
    np.empty((0, 3), dtype="f8"),
    np.array(7, dtype="u2"),
    np.asfortranarray(GRID),
    GRID[::3, ::-2],
    np.arange(100_000, dtype="f8"),
    np.array(["grün", ""]),
]


def see(consumer: Consumer, count: int) -> None:
    """Wait until this number of messages can be got."""
    eventually(lambda: consumer.stats.backlog == count, lambda: consumer.stats)


def test_bytes_arrays_and_records_are_received_unchanged(way: Way) -> None:
    with way.both() as (producer, consumer):
        for plain in b"", b"x", bytearray(b"y" * 4095), memoryview(b"z" * 4096), os.urandom(300_000):
            producer.put(plain)
            got = consumer.get(timeout=5)
            assert type(got) is bytes
            assert got == plain
        for array in ARRAYS:
            producer.put(array)
            got = consumer.get(timeout=5)
            assert (got.dtype, got.shape) == (array.dtype, array.shape)
            assert (got == array).all()
            assert not got.flags.writeable
            del got
        record = {"n": None, "t": (1, 2.5, "ü"), "l": [True, b"b"], "a": np.arange(5000)}
        producer.put(record)
        got = consumer.get(timeout=5)
        assert {k: got[k] for k in "ntl"} == {k: record[k] for k in "ntl"}
        assert (got["a"] == record["a"]).all()
        del got


def test_a_message_larger_than_any_kernel_buffer_is_received(way: Way) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (6, 1 << 20), "u1")
    with way.both({"capacity": "16 MiB"}) as (producer, consumer):
        for k in range(3):
            frame[:, 0] = k
            producer.put(frame, timeout=10)
            got = consumer.get(timeout=10)
            assert (got == frame).all()
            del got


def test_messages_longer_than_the_lane_are_received(way: Way) -> None:
    with way.both({"capacity": "64 KiB"}) as (producer, consumer):
        for k in range(5):
            frame = np.full((1 << 20) + k, k, "u1")
            producer.put(frame, timeout=10)
            producer.put(k, timeout=10)
            got = consumer.get(timeout=10)
            assert (got == frame).all()
            assert consumer.get(timeout=10) == k
            del got
        producer.flush(timeout=10)
        assert producer.stats.allocated < 1 << 20
        if way.transport != "ring":
            with pytest.raises(MessageTooLarge, match=f"longer than {1 << 30} bytes"):
                producer.put(memoryview(bytes((1 << 30) + 1)), timeout=10)


def test_objects_are_received_if_both_sides_allow_pickle(way: Way) -> None:
    with way.both({"pickle": True}, {"pickle": True}) as (producer, consumer):
        producer.put({"a fraction": Fraction(1, 3), "array": np.arange(10_000)})
        got = consumer.get(timeout=5)
        assert got["a fraction"] == Fraction(1, 3)
        assert got["array"].sum() == 49_995_000
        del got


def test_objects_are_refused_without_pickle(way: Way) -> None:
    with way.both({"pickle": True}) as (producer, consumer):
        producer.put_many([Fraction(1, 3), b"plain"])
        with pytest.raises(UnsafeMessage):
            consumer.get(timeout=5)
        assert consumer.get(timeout=5) == b"plain"


def test_every_call_that_puts_works(way: Way) -> None:
    with way.both() as (producer, consumer):
        with pytest.raises(UnsafeMessage):
            producer.put(Fraction(1, 3))
        producer.put_nowait(b"0")
        assert producer.put_many([b"1", b"2", b"3"], timeout=5) == 3
        with producer.reserve((2, 2), "f4", timeout=5, type=9) as frame:
            frame[:] = 4
        with pytest.raises(ZeroDivisionError), producer.reserve(100):
            1 / 0  # noqa: B018
        asyncio.run(producer.aput(b"5"))
        with pytest.raises(MessageTooLarge):
            producer.put(np.broadcast_to(np.zeros(1), 1 << 50))
        assert [consumer.get(timeout=5) for _ in range(4)] == [b"0", b"1", b"2", b"3"]
        with consumer.message(timeout=5) as message:
            assert (message.type, message.payload.tolist()) == (9, [[4, 4], [4, 4]])
        assert consumer.get(timeout=5) == b"5"
        producer.flush(timeout=5)
        assert (producer.stats.messages, producer.stats.backlog) == (6, 0)
        assert (consumer.stats.messages, consumer.stats.missed, consumer.stats.lanes) == (6, 0, 1)
        assert producer.stats.transport == way.scheme
        assert consumer.stats.transport == way.transport


def test_every_call_that_gets_works(way: Way) -> None:
    with way.both() as (producer, consumer):
        with pytest.raises(Empty):
            consumer.get_nowait()
        with pytest.raises(Empty):
            consumer.get(timeout=0.02)
        for k in range(20):
            producer.put(b"%d" % k, type=k % 5)
        see(consumer, 20)
        assert consumer.get(type=3) == b"3"
        assert consumer.get(type={2, 4}) == b"2"
        assert consumer.get(where=lambda m: m.type == 1 and m.seq > 15) == b"16"
        assert consumer.get(type="lowest") == b"0"
        with pytest.raises(Empty):
            consumer.get(timeout=0.02, type=7)
        assert consumer.get_many(3) == [b"1", b"4", b"5"]
        assert [int(each) for each in consumer.get_many(100)] == [k for k in range(6, 20) if k != 16]
        producer.put_many([b"old"] * 4 + [b"new"])
        see(consumer, 5)
        assert consumer.latest() == b"new"
        with pytest.raises(Empty):
            consumer.latest(timeout=0.01)


def test_a_message_has_its_metadata(way: Way) -> None:
    with way.both() as (producer, consumer):
        for k in range(3):
            before = time.monotonic_ns()
            producer.put(b"%d" % k, type=2**32 - 1 - k)
            after = time.monotonic_ns()
            with consumer.message(timeout=5) as message:
                assert (message.payload, message.type, message.seq) == (b"%d" % k, 2**32 - 1 - k, k)
                assert (
                    before - 10_000 <= message.timestamp <= after + 10_000
                )  # the clock of the processor differs from that of the kernel
                assert (message.producer_pid, message.missed, message.redelivered) == (os.getpid(), 0, False)


def test_the_stream_ends_after_its_last_message(way: Way) -> None:
    with way.both() as (producer, consumer):
        producer.put_many([b"a", b"b", b"c"])
        producer.close()
        assert list(consumer) == [b"a", b"b", b"c"]
        for _ in range(2):
            with pytest.raises(EndOfStream):
                consumer.get(timeout=5)


@over("unix-stream")
def test_the_stream_ends_at_once_after_a_message_that_waited(way: Way) -> None:
    for _ in range(5):
        with way.both({"capacity": 4096, "slots": 2}) as (producer, consumer):
            producer.put(bytes(4000))
            see(consumer, 1)
            got: list[Any] = []
            reader = threading.Thread(target=lambda consumer=consumer, got=got: got.extend(consumer))
            reader.start()
            at = time.monotonic()
            producer.close()
            reader.join(10)
            assert time.monotonic() - at < 1
            assert len(got) == 1
        eventually(lambda: not traces()[1])  # the consumer may still wait for another producer


def test_either_side_may_come_first(way: Way) -> None:
    got: list[Any] = []

    def read() -> None:
        with way.consumer() as consumer:
            got.extend(consumer)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.05)
    with way.producer() as producer:
        producer.put_many([b"a", b"b"])
    reader.join(10)
    assert got == [b"a", b"b"]


def test_a_task_waits_in_an_event_loop(way: Way) -> None:
    async def read(consumer: Consumer) -> list[Any]:
        first = await consumer.aget()
        return [first, *[each async for each in consumer]]

    async def talk(producer: Producer, consumer: Consumer) -> list[Any]:
        reading = asyncio.create_task(read(consumer))
        for k in range(5):
            await asyncio.sleep(0.01)
            assert not reading.done()
            producer.put(b"%d" % k)
        await asyncio.to_thread(producer.close)
        return await reading

    with way.both() as (producer, consumer):
        assert asyncio.run(asyncio.wait_for(talk(producer, consumer), 10)) == [b"%d" % k for k in range(5)]


def test_a_pollfd_is_readable_when_there_is_a_message(way: Way) -> None:
    with way.both() as (producer, consumer):
        fd = consumer.fileno()
        for k in range(4):
            with pytest.raises(Empty):
                consumer.get_nowait()
            assert select.select([fd], [], [], 0.05)[0] == []
            later = threading.Timer(0.02, producer.put, [b"%d" % k])
            later.start()
            assert select.select([fd], [], [], 0.5)[0] == [fd]
            assert consumer.get_nowait() == b"%d" % k
            later.join()
        producer.close()
        assert select.select([fd], [], [], 0.5)[0] == [fd]
        with pytest.raises(EndOfStream):
            consumer.get_nowait()


def test_a_signal_reports_a_message(way: Way) -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: caught.append(number))
    try:
        with way.both() as (producer, consumer):
            for times in 1, 2:
                consumer.notify(signal.SIGUSR1)
                producer.put(b"a")
                eventually(lambda times=times: len(caught) == times)  # type: ignore[misc]
                producer.put(b"b")
                assert [consumer.get(timeout=5) for _ in range(2)] == [b"a", b"b"]
            assert len(caught) == 2
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("copy", [None, True, False])
def test_copy_chooses_between_views_and_copies(way: Way, copy: bool | None) -> None:
    with way.both(take={"copy": copy}) as (producer, consumer):
        producer.put(np.arange(1000))
        producer.put(b"plain")
        array, plain = consumer.get(timeout=5), consumer.get(timeout=5)
        assert consumer.stats.held == {None: 1, True: 0, False: 2}[copy]
        assert isinstance(plain, memoryview if copy is False else bytes)
        assert bytes(plain) == b"plain"
        assert array.flags.writeable == (copy is True)
        assert array.sum() == 499_500
        del array, plain
        assert consumer.stats.held == 0


def test_a_view_stays_unchanged(way: Way) -> None:
    """It stays until the lane is full of later messages; when it is released there is room again."""
    with way.both({"capacity": 1 << 18}) as (producer, consumer):
        producer.put(np.full(5000, 1.5))
        part = consumer.get(timeout=5)[100:200]
        sent = got = 0
        with pytest.raises(Full):
            while sent < 1000:
                producer.put(np.full(5000, sent), timeout=0.05)
                sent += 1
                if sent < 4:
                    assert consumer.get(timeout=5)[4999] == sent - 1
                    got = sent
        assert (part == 1.5).all()
        del part
        for k in range(got, sent):
            assert consumer.get(timeout=5)[4999] == k
        producer.put(b"room", timeout=5)
        assert consumer.get(timeout=5) == b"room"
