"""The ring in one process: order, room, batches, reservations, groups, and the end of the stream."""

import os
import random
from typing import Any

import numpy as np
import pytest

from ringipc import (
    Closed,
    Consumer,
    Empty,
    EndOfStream,
    Full,
    GroupBusy,
    MessageTooLarge,
    Producer,
    ReservationOpen,
    TimedOut,
)


def test_messages_come_out_in_order_across_many_laps() -> None:
    with Producer("c", capacity=4096, slots=8) as producer, Consumer("c") as consumer:
        for k in range(1000):
            producer.put(b"%d" % k)
            if k >= 5:
                assert consumer.get() == b"%d" % (k - 5)


def test_wrap_around_at_every_alignment() -> None:
    for first in range(0, 4097, 64):
        with Producer("c", capacity=4096, slots=4) as producer, Consumer("c") as consumer:
            for round_ in range(6):
                a = bytes([round_]) * first
                b = bytes([round_ + 100]) * (4096 - first)
                producer.put(a, timeout=0)
                producer.put(b, timeout=0)
                assert consumer.get() == a
                if first:
                    producer.put(a, timeout=0)
                    assert consumer.get() == b
                    assert consumer.get() == a
                else:
                    assert consumer.get() == b


def test_a_message_of_exactly_the_capacity_fills_the_lane() -> None:
    with Producer("c", capacity=8192, max_message=8192, slots=4) as producer, Consumer("c") as consumer:
        for _ in range(3):
            producer.put(b"x" * 8192)
            with pytest.raises(Full):
                producer.put_nowait(b"y")
            assert consumer.get() == b"x" * 8192
            with pytest.raises(MessageTooLarge, match="8193 bytes is longer than 8192 bytes, the longest"):
                producer.put(b"x" * 8193)
        assert issubclass(MessageTooLarge, ValueError)


def test_slots_limit_the_backlog_and_are_rounded_up() -> None:
    with Producer("c", capacity=1 << 16, slots=5) as producer, Consumer("c") as consumer:
        assert producer.stats.slots == 8
        for _ in range(8):
            producer.put_nowait(b"")
        with pytest.raises(Full):
            producer.put_nowait(b"")
        assert consumer.get() == b""
        producer.put_nowait(b"")


def test_full_names_who_holds_the_lane_back() -> None:

    with Producer("c", capacity=4096, slots=2) as producer:
        producer.put(b"a" * 100)
        producer.put(b"b")
        with pytest.raises(
            Full, match=r"'c': no room within 0.01 s: 2 messages \(192 bytes\) wait for a consumer; no group exists"
        ):
            producer.put(b"c", timeout=0.01)
        with Consumer("c", group="slow"):
            slow = rf"group 'slow' \(pid {os.getpid()}, this process itself\)"
            with pytest.raises(Full, match=rf"{slow} has not released 2 messages \(192 bytes\)"):
                producer.put_nowait(b"c")
            assert producer.stats.waits == 1


@pytest.mark.parametrize("slots", [4, 64])
@pytest.mark.parametrize("shared", [False, True])
def test_empty_says_that_the_consumer_itself_fills_the_lane(slots: int, shared: bool) -> None:
    with Producer("c", capacity=4096, slots=slots) as producer, Consumer("c", shared=shared) as consumer:
        views = []
        for k in range(4):
            with pytest.raises(Empty, match=r"no message for group 'default'$"):
                consumer.get_nowait()
            producer.put(np.full(100, k))
            views.append(consumer.get())
        with pytest.raises(Full, match="this process itself"):
            producer.put(np.full(100, 4), timeout=0)
        text = rf"itself holds 4 messages, and the lane of the producer with pid {os.getpid()} is full: release"
        with pytest.raises(Empty, match=text):
            consumer.get(timeout=0)
        views.clear()
        with pytest.raises(Empty, match=r"no message for group 'default'$"):
            consumer.get_nowait()


def test_put_many_returns_how_many_were_put() -> None:
    with Producer("c", capacity=4096, slots=4) as producer, Consumer("c") as consumer:
        assert producer.put_many([]) == 0
        assert producer.put_many([b"%d" % k for k in range(6)], timeout=0) == 4
        assert consumer.get_many(10) == [b"0", b"1", b"2", b"3"]
        assert producer.put_many((np.arange(3), b"b"), type=5) == 2
        array, data = consumer.get_many(2)
        assert array.tolist() == [0, 1, 2]
        assert data == b"b"
        del array
        assert producer.put_many(iter([b"x"])) == 1
        assert consumer.get() == b"x"
        with pytest.raises(TypeError, match="put_many takes a list"):
            producer.put_many(b"bytes")


def test_put_many_stops_at_a_bad_message_and_names_it(producer: Producer, consumer: Consumer) -> None:
    with pytest.raises(TypeError) as caught:
        producer.put_many([b"a", b"b", object(), b"c"])
    assert caught.value.__notes__ == ["put_many: messages[2] failed; 2 message(s) had been put before it"]
    assert consumer.get_many(9) == [b"a", b"b"]


def test_get_many_takes_the_available_messages(producer: Producer, consumer: Consumer) -> None:
    producer.put_many([b"a"] * 5)
    assert consumer.get_many(3) == [b"a"] * 3
    assert consumer.get_many(3, timeout=1) == [b"a"] * 2
    with pytest.raises(Empty):
        consumer.get_many(3, timeout=0)
    with pytest.raises(ValueError, match="at least 1"):
        consumer.get_many(0)
    a = np.arange(4.0)
    producer.put_many([a, a.astype("i2"), b"x", a, a.astype(">f4")])
    got = consumer.get_many(9)
    assert [getattr(m, "dtype", None) for m in got] == [a.dtype, np.dtype("i2"), None, a.dtype, np.dtype(">f4")]


def test_latest_skips_to_the_newest(producer: Producer, consumer: Consumer) -> None:
    for k in range(10):
        producer.put(b"%d" % k)
    assert consumer.latest() == b"9"
    with pytest.raises(Empty):
        consumer.latest(timeout=0)
    view = None
    for k in range(5):
        producer.put(np.full(100, k))
        if k == 0:
            view = consumer.get()
    assert consumer.latest().tolist() == [4] * 100
    assert view is not None
    assert view.tolist() == [0] * 100
    assert producer.stats.backlog == 0
    del view


def test_a_reservation_is_put_on_a_clean_exit_and_discarded_on_an_exception(
    producer: Producer, consumer: Consumer
) -> None:
    with producer.reserve((2, 3), "f4", type=9) as frame:
        frame[:] = 1.5
        with pytest.raises(Empty):
            consumer.get_nowait()
    assert not frame.flags.writeable
    message = consumer.message()
    assert message.type == 9
    assert message.payload.dtype == np.float32
    assert message.payload.tolist() == [[1.5] * 3] * 2
    with pytest.raises(KeyError), producer.reserve(10) as frame:
        frame[:] = 1
        raise KeyError
    producer.put(b"next")
    assert consumer.get_nowait() == b"next"


def test_a_reservation_inside_another_is_refused(producer: Producer, consumer: Consumer) -> None:
    with producer.reserve(4) as frame:
        frame[:] = 7
        with pytest.raises(ReservationOpen, match="'c': this thread has a reservation open"):
            producer.put(b"x")
        with pytest.raises(RuntimeError, match="reservation open"), producer.reserve(3):
            pass
    assert consumer.get().tolist() == [7] * 4


def test_reserve_refuses_what_put_refuses(producer: Producer, consumer: Consumer) -> None:
    with pytest.raises(TypeError), producer.reserve(3, object):
        pass
    with pytest.raises(MessageTooLarge), producer.reserve(1 << 61):
        pass
    with pytest.raises(ValueError, match="sizes from 0 up"):
        producer.reserve((3, -1))
    with pytest.raises(ValueError, match="dtype with a shape"):
        producer.reserve(3, "(2,)f4")
    with pytest.raises(MessageTooLarge), producer.reserve((2**40, 2**40)):
        pass
    producer.put(b"fine")
    assert consumer.get_nowait() == b"fine"


def test_every_group_gets_every_message(producer: Producer) -> None:
    with Consumer("c", group="a") as a, Consumer("c", group="b") as b:
        messages = [b"%d" % k for k in range(50)]
        producer.put_many(messages)
        assert a.get_many(100) == messages
        assert producer.stats.backlog == 50
        assert b.get_many(100) == messages
        assert producer.stats.backlog == 0


def test_a_group_starts_at_the_oldest_or_at_the_newest_message(producer: Producer) -> None:
    producer.put(b"old")
    with Consumer("c", group="oldest") as oldest, Consumer("c", group="newest", start="newest") as newest:
        producer.put(b"new")
        assert newest.get_many(9) == [b"new"]
        assert oldest.get_many(9) == [b"old", b"new"]


def test_a_second_member_of_an_exclusive_group_is_refused(producer: Producer, consumer: Consumer) -> None:

    with pytest.raises(GroupBusy, match=f"group 'default' is exclusive, and this process, pid {os.getpid()}, is its"):
        Consumer("c")
    consumer.close()
    with Consumer("c") as again:
        producer.put(b"x")
        assert again.get() == b"x"


def test_a_consumer_that_comes_back_continues_where_it_left(producer: Producer) -> None:
    with Consumer("c") as consumer:
        producer.put_many([b"a", b"b", b"c"])
        assert consumer.get() == b"a"
    with Consumer("c") as consumer:
        assert consumer.get_many(9) == [b"b", b"c"]


def test_messages_wait_for_a_first_consumer_even_after_their_producer_closed() -> None:
    with Producer("c", capacity=4096) as producer:
        producer.put(b"a")
    with Consumer("c", timeout=0) as consumer:
        assert list(consumer) == [b"a"]


def test_the_stream_ends_when_every_producer_has_closed_and_all_is_read() -> None:
    one, two = Producer("c", capacity=4096), Producer("c", capacity=4096)
    with Consumer("c") as consumer:
        one.put(b"a")
        one.close()
        assert consumer.get() == b"a"
        with pytest.raises(Empty):
            consumer.get_nowait()
        two.put(b"b")
        two.close()
        assert list(consumer) == [b"b"]
        for _ in range(2):
            with pytest.raises(EndOfStream):
                consumer.get()
        with Producer("c", capacity=4096) as three:
            three.put(b"c")
            assert consumer.get() == b"c"


def test_flush_waits_until_all_messages_are_released(producer: Producer, consumer: Consumer) -> None:
    producer.flush()
    producer.put(b"a")
    with pytest.raises(TimedOut, match=r"not flushed within 0\.01 s: group 'default'"):
        producer.flush(timeout=0.01)
    consumer.get()
    producer.flush(timeout=0)


def test_calls_on_closed_handles_raise_closed(producer: Producer, consumer: Consumer) -> None:
    producer.close()
    producer.close()
    consumer.close()
    consumer.close()
    assert producer.closed
    assert consumer.closed
    calls: list[Any] = [
        lambda: producer.put(b""),
        lambda: producer.put_nowait(b""),
        lambda: producer.put_many([b""]),
        lambda: producer.reserve(1).__enter__(),
        lambda: producer.flush(),
        lambda: consumer.get(),
        lambda: consumer.get_nowait(),
        lambda: consumer.get_many(1),
        lambda: consumer.latest(),
        lambda: consumer.message(),
        lambda: next(consumer),
    ]
    for call in calls:
        with pytest.raises(Closed, match=r"channel 'c': this (producer|consumer) is closed"):
            call()
    assert "closed" in repr(producer)
    assert "closed" in repr(consumer)


def test_stats_count_messages_and_bytes(producer: Producer, consumer: Consumer) -> None:
    producer.put_many([b"x" * 100] * 3)
    stats = producer.stats
    assert (stats.messages, stats.bytes, stats.backlog, stats.backlog_bytes) == (3, 300, 3, 384)
    assert (stats.slots, stats.capacity, stats.waits) == (1024, 1 << 20, 0)
    consumer.get()
    got = consumer.stats
    assert (got.messages, got.bytes, got.backlog, got.held, got.lanes) == (1, 100, 2, 0, 1)


@pytest.mark.parametrize("sizes", ["small", "large", "mixed"])
def test_a_random_run_against_a_list(sizes: str) -> None:
    rng = random.Random(sizes)
    most = {"small": 200, "large": 40_000, "mixed": 65_536}[sizes]
    with Producer("c", capacity=65_536, slots=64) as producer, Consumer("c", copy=False) as consumer:
        waiting: list[bytes] = []
        views: list[tuple[memoryview, bytes]] = []
        for k in range(20_000):
            choice = rng.random()
            if choice < 0.5:
                size = rng.randrange(most + 1) if rng.random() < 0.7 else rng.choice([0, 1, 64, 4096, most])
                message = (b"%08d" % k) * (size // 8 + 1)
                message = message[:size]
                try:
                    producer.put_nowait(message)
                    waiting.append(message)
                except Full:
                    assert waiting or views
            elif choice < 0.8:
                try:
                    views.append((consumer.get_nowait(), waiting.pop(0)))
                except Empty:
                    assert not waiting
            elif views:
                view, message = views.pop(rng.randrange(len(views)))
                assert view == message
                del view
        while waiting:
            views.append((consumer.get_nowait(), waiting.pop(0)))
        for view, message in views:
            assert view == message
        del view
        views.clear()
