"""Lanes that drop: which messages they drop, that each is counted, and that views stay unchanged."""

import os
import random
import signal
import time
from typing import Literal

import numpy as np
import pytest
from conftest import AnyChannel, Start, rest

import ringipc
from ringipc import Consumer, Empty, EndOfStream, Message, Producer, ProducerDied, TimedOut


def put_numbers(producer: Producer, *numbers: int) -> None:
    for k in numbers:
        producer.put(b"%d" % k)


def test_drop_new_refuses_the_newest_messages() -> None:
    with Producer("c", capacity=4096, slots=4, overflow="drop-new") as producer, Consumer("c") as consumer:
        put_numbers(producer, *range(10))
        assert (producer.stats.messages, producer.stats.refused, producer.stats.dropped) == (4, 6, 0)
        assert rest(consumer) == [0, 1, 2, 3]
        put_numbers(producer, 10)
        message = consumer.message()
        assert (message.payload, message.missed) == (b"10", 6)
        assert consumer.stats.missed == 6
        assert producer.put_many([b""] * 9) == 9
        assert producer.stats.refused == 12
        message.release()


def test_drop_old_drops_the_oldest_messages() -> None:
    with Producer("c", capacity=4096, slots=4, overflow="drop-old") as producer, Consumer("c") as consumer:
        put_numbers(producer, *range(10_000))
        assert (producer.stats.messages, producer.stats.refused, producer.stats.dropped) == (10_000, 0, 9996)
        assert (producer.stats.slots, producer.stats.backlog, consumer.stats.backlog) == (4, 4, 4)
        assert consumer.stats.missed == 9996
        first = consumer.message()
        assert (first.payload, first.seq, first.missed) == (b"9996", 9996, 9996)
        assert rest(consumer) == [9997, 9998, 9999]
        first.release()
        assert producer.stats.backlog == 0
        producer.flush(timeout=0)


@pytest.mark.parametrize("overflow", ["block", "drop-old"])
def test_latest_counts_a_message_once(overflow: Literal["block", "drop-old"]) -> None:
    with (
        Producer("c", capacity=4096, slots=4, overflow=overflow) as one,
        Producer("c", capacity=4096, slots=4, overflow=overflow) as two,
        Consumer("c") as consumer,
    ):
        for k in range(1, 6):
            one.put_many([b"a", b"bc"])
            assert consumer.latest() == b"bc"
            assert (consumer.stats.messages, consumer.stats.bytes) == (2 * k - 1, 4 * k - 2)
            one.put(b"older")
            two.put(b"de")
            assert consumer.latest() == b"de"
            assert (consumer.stats.messages, consumer.stats.bytes) == (2 * k, 4 * k)


def test_messages_of_a_new_lane_count_in_the_backlog() -> None:
    with Producer("c", capacity=4096), Consumer("c") as consumer, Producer("c", capacity=4096) as new:
        put_numbers(new, 1, 2)
        assert consumer.stats.backlog == 2
        assert consumer.stats.lanes == 2


def test_without_a_group_the_newest_messages_wait_for_one() -> None:
    with Producer("c", capacity=4096, slots=3, overflow="drop-old") as producer:
        put_numbers(producer, *range(5000))
        with Consumer("c") as consumer:
            assert consumer.stats.missed == 0  # it joined later
            assert rest(consumer) == [4997, 4998, 4999]


def test_only_the_group_that_is_slow_loses_messages() -> None:
    with (
        Producer("c", capacity=4096, slots=8, overflow="drop-old", groups=["late"]) as producer,
        Consumer("c", group="fast") as fast,
        Consumer("c", group="slow") as slow,
    ):
        for k in range(5000):
            put_numbers(producer, k)
            assert fast.get_nowait() == b"%d" % k
        assert (fast.stats.missed, slow.stats.missed) == (0, 4992)
        assert producer.stats.dropped == 2 * 4992
        assert rest(slow) == list(range(4992, 5000))
        with Consumer("c", group="late") as late:
            assert late.message().missed == 4992
            assert rest(late) == list(range(4993, 5000))


def test_a_view_stays_unchanged_while_newer_messages_come() -> None:
    """A lane for ten frames, of which a consumer keeps two: the newest frames go through the rest of the memory."""
    with (
        Producer("c", capacity=10 * 65536 + 640, slots=64, overflow="drop-old") as producer,
        Consumer("c") as consumer,
    ):
        frame = np.empty(8192, "u8")
        kept = {}
        for k in range(900):
            frame[:] = k
            producer.put(frame)
            if k in (100, 101, 400):
                kept[k] = consumer.latest()
        assert {k: set(view.tolist()) for k, view in kept.items()} == {100: {100}, 101: {101}, 400: {400}}
        assert producer.stats.refused == 0
        view = consumer.get()
        assert 890 < view[0] < 900
        assert (consumer.latest() == 899).all()
        del view
        kept.clear()


def test_messages_are_refused_if_views_leave_no_room() -> None:
    with Producer("c", capacity=4 * 4096, slots=64, overflow="drop-old") as producer, Consumer("c") as consumer:
        held = []
        for k in range(3):
            producer.put(np.full(440, k))
            held.append(consumer.get())
        producer.put(np.full(440, 3))
        for k in range(4, 9):
            producer.put(np.full(440, k))  # the newest takes the only slot that is left
        assert (producer.stats.refused, producer.stats.dropped) == (0, 5)
        held.append(consumer.get())
        producer.put(np.full(440, 9))
        assert producer.stats.refused == 1
        assert [view[0] for view in held] == [0, 1, 2, 8]
        held.clear()
        producer.put(np.full(440, 10))
        with consumer.message() as last:
            assert (last.payload[0], last.missed) == (10, 1)
        assert consumer.stats.missed == 6


def test_a_message_that_is_kept_for_long_costs_no_slot() -> None:
    """The lane has two slots, and thousands of messages pass the one that is kept."""
    with Producer("c", capacity="1 MiB", slots=2, overflow="drop-old") as producer, Consumer("c") as consumer:
        put_numbers(producer, 0)
        held = consumer.message()
        put_numbers(producer, *range(1, 3000))
        assert producer.stats.refused == 0
        assert held.payload == b"0"
        assert rest(consumer) == [2998, 2999]
        held.release()
        assert consumer.stats.missed == 3000 - 3
        put_numbers(producer, 3000)
        assert consumer.message().missed == 0


def test_a_message_that_is_given_back_too_late_is_missed() -> None:
    with Producer("c", capacity=4096, slots=2, overflow="drop-old") as producer, Consumer("c") as consumer:
        put_numbers(producer, 0)
        held = consumer.message()
        put_numbers(producer, *range(1, 10))
        held.requeue()
        assert consumer.stats.messages == 0
        message = consumer.message()
        assert (message.payload, message.missed) == (b"8", 8)
        assert rest(consumer) == [9]
        assert consumer.stats.missed == 8


def test_a_reservation_that_finds_no_room_is_dropped() -> None:
    with Producer("c", capacity=4096, slots=1, overflow="drop-new") as producer, Consumer("c") as consumer:
        for k in range(3):
            with producer.reserve((4,), "i4") as array:
                array[:] = k
        assert consumer.get().tolist() == [0] * 4
        with producer.reserve((4,), "i4") as array:
            array[:] = 7
        with consumer.message() as message:
            assert (message.payload.tolist(), message.missed) == ([7] * 4, 2)


def test_of_a_batch_larger_than_the_lane_the_last_messages_stay() -> None:
    with Producer("c", capacity=4096, slots=4, overflow="drop-old") as producer, Consumer("c") as consumer:
        assert producer.put_many([b"%d" % k for k in range(3000)]) == 3000
        assert rest(consumer) == [2996, 2997, 2998, 2999]


def test_types_conditions_and_latest_work_in_a_lane_that_drops() -> None:
    with Producer("c", capacity=4096, slots=8, overflow="drop-old") as producer, Consumer("c") as consumer:
        for k in range(100):
            producer.put(b"%d" % k, type=k % 3)
        assert consumer.get(type=2) == b"92"
        assert consumer.get(where=lambda m: m.seq == 97) == b"97"
        assert consumer.get(type="lowest") == b"93"
        in_turn = consumer.message()
        assert (in_turn.payload, in_turn.missed) == (b"94", 92)
        in_turn.release()
        assert consumer.latest() == b"99"
        with pytest.raises(Empty):
            consumer.get_nowait()
        assert consumer.stats.missed == 92


def test_a_put_that_drops_ignores_its_timeout() -> None:
    with Producer("c", capacity=4096, slots=1, overflow="drop-new") as producer:
        start = time.monotonic()
        for _ in range(10):
            producer.put(b"", timeout=10)
        assert time.monotonic() - start < 5
        with pytest.raises(TimedOut):
            producer.flush(timeout=0)
    with Consumer("c") as consumer:
        consumer.get()
    with pytest.raises(ValueError, match="overflow must be"):
        Producer("c", overflow="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize("overflow", ["drop-new", "drop-old"])
@pytest.mark.parametrize("shared", [False, True])
def test_messages_put_are_messages_got_plus_missed_in_any_order(overflow: str, shared: bool) -> None:
    """Random calls in one process: every payload is correct, and messages put are messages got plus missed."""
    rng = random.Random(int(shared))
    capacity = 1 << 15
    with Producer("c", capacity=capacity, slots=16, overflow=overflow) as producer:  # type: ignore[arg-type]
        consumers = [Consumer("c", shared=shared, copy=False) for _ in range(2 if shared else 1)]
        held: list[Message] = []
        got = asked = reported = 0
        for _ in range(30_000):
            choice = rng.random()
            consumer = rng.choice(consumers)
            if choice < 0.5:
                producer.put(np.full(rng.choice((1, 10, 300)), asked), type=asked % 5)
                asked += 1
            elif choice < 0.8:
                kind = rng.choice([None, None, None, rng.randrange(5)])
                try:
                    message = consumer.message(0, type=kind)
                except Empty:
                    continue
                got += 1
                reported += message.missed
                held.append(message)
            elif held:
                message = held.pop(rng.randrange(len(held)))
                assert len(set(message.payload.tolist())) == 1
                assert message.payload[0] % 5 == message.type
                message.release()
        while True:
            try:
                last = consumers[0].message(0)
            except Empty:
                break
            got += 1
            reported += last.missed
            held.append(last)
        stats = producer.stats
        assert stats.messages + stats.refused == asked
        assert stats.messages == got + stats.dropped
        assert asked == got + consumers[0].stats.missed
        assert stats.refused + stats.dropped > 1000
        assert reported <= asked - got
        held.clear()
        for consumer in consumers:
            consumer.close()


def run_ahead(channel: AnyChannel, overflow: str, count: int) -> None:
    with Producer(channel, capacity=1 << 16, slots=32, overflow=overflow) as producer:  # type: ignore[arg-type]
        rng = random.Random(1)
        for k in range(count):
            producer.put(np.full(rng.choice((1, 10, 700)), k))
            if k % 64 == 0:
                time.sleep(rng.random() * 1e-3)
        producer.flush(timeout=30)
        stats = producer.stats
        with Producer("done", capacity=4096) as done:
            done.put(np.array([stats.messages, stats.refused, stats.dropped]))


@pytest.mark.parametrize("overflow", ["drop-new", "drop-old"])
@pytest.mark.parametrize("copy", [True, False])
def test_messages_put_are_messages_got_plus_dropped(
    any_channel: AnyChannel, start: Start, overflow: str, copy: bool
) -> None:
    count = 60_000
    keeper = Producer(any_channel, capacity=4096)
    consumer = Consumer(any_channel, copy=copy)
    start(run_ahead, any_channel, overflow, count)
    rng = random.Random(2)
    got = missed = 0
    number = -1
    while True:
        try:
            message = consumer.message(timeout=30)
        except EndOfStream:
            break
        payload = message.payload
        keeper.close()
        before, number = number, int(payload[0])
        assert (payload == number).all()
        assert message.missed == number - before - 1  # the loss is reported exactly where it happened
        got += 1
        missed += message.missed
        if rng.random() < 0.01:
            time.sleep(rng.random() * 1e-3)
        assert (payload == number).all()
        del payload
        message.release()
    with Consumer("done", timeout=30) as done:
        messages, refused, dropped = done.get(timeout=30).tolist()
    assert messages + refused == count
    assert messages == got + dropped
    assert consumer.stats.missed == refused + dropped
    assert missed <= consumer.stats.missed  # no later message reports the last refusals
    assert refused + dropped > 1000
    consumer.close()


def put_and_die(count: int) -> None:
    producer = Producer("c", capacity=1 << 16, overflow="drop-old")
    producer.put_many([b"%d" % k for k in range(count)])
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("shared", [False, True])
def test_a_new_lane_in_the_table_entry_of_a_dead_one_is_not_mistaken_for_it(start: Start, shared: bool) -> None:
    with Producer("c", capacity=4096, overflow="drop-old"), Consumer("c", shared=shared) as consumer:
        start(put_and_die, 100).join(20)
        assert [consumer.get(timeout=5) for _ in range(100)] == [b"%d" % k for k in range(100)]
        with Producer("c", capacity=4096, overflow="drop-old") as successor:
            reported = 0
            for k in range(200):
                successor.put(b"%d" % k)
                try:
                    assert consumer.get(timeout=5) == b"%d" % k
                except ProducerDied:
                    reported += 1
                    assert consumer.get(timeout=5) == b"%d" % k
            assert reported == 1
            assert consumer.stats.missed == 0


def test_a_group_that_joins_while_another_has_a_message_keeps_no_room_occupied() -> None:
    with Producer("c", capacity=4096, slots=8, overflow="drop-old") as producer, Consumer("c", group="a") as one:
        put_numbers(producer, *range(20))
        held = one.message()
        put_numbers(producer, *range(20, 40))
        with Consumer("c", group="b") as two:
            held.release()
            put_numbers(producer, *range(40, 6000))
            assert producer.stats.refused == 0
            assert rest(two)[-1] == 5999


def test_requeued_messages_make_room_in_the_end() -> None:
    with Producer("c", capacity=4096, slots=8, overflow="drop-old") as producer:
        first = Consumer("c", durable=True)
        put_numbers(producer, *range(8))
        held = first.message()
        put_numbers(producer, *range(8, 40))
        first._end(exiting=True)
        put_numbers(producer, *range(40, 6000))
        assert producer.stats.refused == 0
        with Consumer("c") as second:
            assert rest(second) == list(range(5992, 6000))
        held.release()
        producer.close()
    ringipc.Channel.open("c").remove()


def test_the_stream_ends_for_a_shared_group_that_lost_the_rest() -> None:
    with Producer("c", capacity=4096, slots=8, overflow="drop-old") as producer:
        one, two = Consumer("c", group="a", shared=True), Consumer("c", group="b", shared=True)
        producer.put(bytes(2000))
        held = one.message()
        put_numbers(producer, *range(4))
        producer.put(bytes(4000))  # drops all messages, and still finds no room
        assert producer.stats.refused == 1
    held.release()
    for consumer in (one, two):
        with pytest.raises(EndOfStream):
            for _ in range(9):
                consumer.get(timeout=5)
        consumer.close()


def test_messages_before_a_group_joined_do_not_count_as_missed() -> None:
    with (
        Producer("c", capacity=4096, slots=8, overflow="drop-old") as producer,
        Consumer("c", group="old"),
        Consumer("c", group="exclusive", start="newest") as exclusive,
    ):
        put_numbers(producer, *range(8))
        with Consumer("c", group="shared", shared=True, start="newest") as shared:
            put_numbers(producer, *range(8, 14))
            assert shared.message().missed == 0
            assert shared.stats.missed == 0
        assert exclusive.stats.missed == 6


@pytest.mark.long
def test_a_put_that_waits_for_a_group_without_members_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with Producer("c", capacity=4096, slots=2, groups=["record"]) as producer:
        producer.put_many([b"a", b"b"])
        for _ in range(2):
            with pytest.raises(ringipc.Full):
                producer.put(b"c", timeout=5.2)
        (record,) = caplog.records
        assert record.getMessage().startswith(
            "channel 'c': a put waits for room: group 'record' (without a member now)"
        )
        assert "remove_group('record')" in record.getMessage()
        assert producer.stats.waits == 2
        with Consumer("c", group="record") as consumer:
            assert consumer.get_many(5, timeout=0) == [b"a", b"b"]


@pytest.mark.long
def test_a_put_that_waits_for_a_slow_consumer_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with Producer("c", capacity=4096, slots=2) as producer, Consumer("c"):
        producer.put_many([b"a", b"b"])
        with pytest.raises(ringipc.Full):
            producer.put(b"c", timeout=5.2)
    assert not caplog.records
