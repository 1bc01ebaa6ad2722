"""Selection: messages taken out of order, by type, the lowest type first, or by a condition."""

import asyncio
import random
import threading
import time
from typing import Any

import numpy as np
import pytest
from conftest import rest

from ringipc import Consumer, Empty, EndOfStream, Message, Producer, UnsafeMessage
from ringipc._opening import Overflow


def put_all(producer: Producer, *types: int) -> None:
    for k, type in enumerate(types):
        producer.put(b"%d" % k, type=type)


def test_a_type_is_taken_and_the_rest_stays_in_order(producer: Producer, consumer: Consumer) -> None:
    put_all(producer, 1, 2, 3, 1, 2, 3)
    assert consumer.get(type=3) == b"2"
    assert consumer.get(type=1) == b"0"
    assert consumer.get(type=3, timeout=0) == b"5"
    with pytest.raises(Empty):
        consumer.get(type=3, timeout=0)
    assert rest(consumer) == [1, 3, 4]
    assert consumer.stats.messages == 6
    assert producer.stats.backlog == 0


def test_the_first_message_of_several_types_is_taken(producer: Producer, consumer: Consumer) -> None:
    put_all(producer, 5, 4, 1, 4)
    assert consumer.get(type={1, 4}) == b"1"
    assert consumer.get(type=[4, 1]) == b"2"
    assert consumer.message(type=range(2, 5)).payload == b"3"
    assert rest(consumer) == [0]


def test_the_lowest_type_comes_first_and_among_equals_the_oldest(producer: Producer, consumer: Consumer) -> None:
    put_all(producer, 3, 7, 0, 3, 0)
    assert [int(consumer.get(type="lowest")) for _ in range(5)] == [2, 4, 0, 3, 1]


def test_a_condition_sees_the_whole_message(producer: Producer, consumer: Consumer) -> None:
    for k in range(6):
        producer.put(np.full(3, k), type=k % 2)

    def is_large_and_odd(message: Message) -> bool:
        return message.type == 1 and bool(message.payload[0] > 2)

    assert consumer.get(where=is_large_and_odd).tolist() == [3, 3, 3]
    assert consumer.message(where=lambda m: m.seq == 1).payload.tolist() == [1, 1, 1]
    assert consumer.get(where=lambda m: m.payload[0] == 4, type=0).tolist() == [4, 4, 4]
    with pytest.raises(Empty):
        consumer.get(where=lambda m: False, timeout=0.01)
    assert [int(a[0]) for a in consumer.get_many(9)] == [0, 2, 5]
    assert consumer.stats.held == 0
    producer.flush(timeout=0)


def test_a_condition_that_raises_loses_nothing(producer: Producer, consumer: Consumer) -> None:
    put_all(producer, 1, 2, 3)
    with pytest.raises(ZeroDivisionError):
        consumer.get(where=lambda m: 0 // (m.type - 2))
    assert rest(consumer) == [0, 1, 2]
    assert producer.stats.backlog == 0


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("overflow", ["block", "drop-old"])
@pytest.mark.parametrize("how", ["get", "message", "aget"])
def test_a_message_that_a_condition_cannot_read_is_skipped(shared: bool, overflow: Overflow, how: str) -> None:
    def is_wanted(message: Message) -> bool:
        return bool(message.payload == b"wanted")

    def get(consumer: Consumer) -> bytes:
        if how == "message":
            return bytes(consumer.message(where=is_wanted, timeout=5).payload)
        if how == "aget":
            return bytes(asyncio.run(asyncio.wait_for(consumer.aget(where=is_wanted), 5)))
        return bytes(consumer.get(where=is_wanted, timeout=5))

    with (
        Producer("c", capacity="1 MiB", pickle=True, overflow=overflow) as producer,
        Consumer("c", shared=shared) as consumer,
    ):
        for message in (b"left", object, b"left", range(3), b"wanted"):
            producer.put(message)
        for _ in range(2):
            with pytest.raises(UnsafeMessage):
                get(consumer)
        assert get(consumer) == b"wanted"
        assert [consumer.get(timeout=0) for _ in range(2)] == [b"left"] * 2
        with pytest.raises(Empty):
            consumer.get_nowait()
        assert consumer.stats.held == 0
        assert producer.stats.backlog == 0 or (shared and how == "aget")  # the task that got the last one has ended


def test_a_condition_is_called_once_for_each_message(producer: Producer, consumer: Consumer) -> None:
    asked: list[int] = []

    def last(message: Message) -> bool:
        asked.append(message.seq)
        return message.seq == 9

    def put() -> None:
        for k in range(10):
            producer.put(b"%d" % k)
            time.sleep(0.005)

    thread = threading.Thread(target=put)
    thread.start()
    assert consumer.get(where=last, timeout=10) == b"9"
    thread.join()
    assert asked == list(range(10))
    assert rest(consumer) == list(range(9))


def test_a_wait_for_a_type_sleeps_while_messages_of_other_types_are_available(
    producer: Producer, consumer: Consumer
) -> None:
    put_all(producer, 1, 1)
    before = time.process_time()
    with pytest.raises(Empty):
        consumer.get(type=2, timeout=0.5)
    assert time.process_time() - before < 0.05
    timer = threading.Timer(0.1, lambda: producer.put(b"it", type=2))
    timer.start()
    assert consumer.get(type=2, timeout=10) == b"it"
    timer.join()


def test_the_stream_ends_for_a_type_too() -> None:
    with Producer("c", capacity=4096) as producer, Consumer("c") as consumer:
        put_all(producer, 1, 2)
        producer.close()
        assert consumer.get(type=2) == b"1"
        with pytest.raises(EndOfStream):
            consumer.get(type=2)
        assert list(consumer) == [b"0"]


def test_invalid_types_are_refused(producer: Producer, consumer: Consumer) -> None:
    wrong: list[Any] = ["highest", (), []]
    for bad in wrong:
        with pytest.raises(ValueError, match="type"):
            consumer.get(type=bad)
    for worse in (-1, 2**32):
        with pytest.raises(OverflowError):
            consumer.get(type=worse)
    with pytest.raises(ValueError, match="lowest"):
        consumer.get(type="lowest", where=lambda m: True)


def test_several_producers_are_searched_in_turn(producer: Producer, consumer: Consumer) -> None:
    with Producer("c", capacity=4096) as other:
        producer.put_many([b"a"] * 3, type=1)
        other.put_many([b"b"] * 3, type=1)
        producer.put(b"c", type=2)
        other.put(b"d", type=2)
        assert {consumer.get(type=2), consumer.get(type=2)} == {b"c", b"d"}
        first = [consumer.get(type=1) for _ in range(4)]
        assert first.count(b"a") == first.count(b"b") == 2


def test_a_random_run_against_a_model() -> None:
    """Every way to take a message, with views that are released in any order, for many laps."""
    rng = random.Random(11)
    with Producer("c", capacity=1 << 16, slots=32) as producer, Consumer("c", copy=False) as consumer:
        waiting: list[tuple[int, int]] = []  # number, type
        views: list[tuple[Any, int]] = []
        put = 0
        for _ in range(30_000):
            choice = rng.random()
            if choice < 0.45 and len(waiting) + len(views) < 20:
                type = rng.randrange(4)
                if producer.put_many([b"%d" % put * rng.randrange(1, 30)], timeout=0, type=type):
                    waiting.append((put, type))
                    put += 1
            elif choice < 0.9:
                wanted: Any = rng.choice([None, 0, 1, {1, 3}, "lowest", "where", "latest"])
                expected: list[tuple[int, int]] = []
                options: dict[str, Any] = {"timeout": 0}
                if wanted is None:
                    expected = waiting[:1]
                elif wanted == "latest":
                    expected = waiting[-1:]
                elif wanted == "lowest":
                    options["type"] = wanted
                    expected = sorted(waiting, key=lambda m: (m[1], m[0]))[:1]
                elif wanted == "where":
                    options["where"] = lambda m: m.type == 2
                    expected = [m for m in waiting if m[1] == 2][:1]
                else:
                    options["type"] = wanted
                    wanted = {wanted} if isinstance(wanted, int) else wanted
                    expected = [m for m in waiting if m[1] in wanted][:1]
                try:
                    view = consumer.latest(timeout=0) if wanted == "latest" else consumer.get(**options)
                except Empty:
                    assert not expected
                    continue
                [(number, type)] = expected
                assert bytes(view).startswith(b"%d" % number)
                views.append((view, number))
                del view
                waiting = [] if wanted == "latest" else [m for m in waiting if m[0] != number]
            elif views:
                view, number = views.pop(rng.randrange(len(views)))
                assert bytes(view).startswith(b"%d" % number)
                del view
            held = [number for number, _ in waiting] + [number for _, number in views]
            assert producer.stats.backlog <= put - min(held, default=put)  # less if views are kept
        views.clear()


@pytest.mark.parametrize("released", [True, False])
def test_a_message_selected_out_of_order_is_not_got_again(released: bool) -> None:
    with Producer("c", capacity="1 MiB") as one, Producer("c", capacity="1 MiB") as two, Consumer("c") as consumer:
        for k in range(100):  # after a large message the consumer goes on with the next lane
            one.put(b"%5000d" % k, type=k % 3)
            two.put(b"%d" % (100 + k))
        held = [consumer.message(timeout=0, type=1) for _ in range(33)]
        got = [int(message.payload) for message in held]
        if released:
            held.clear()
        assert sorted(got + rest(consumer)) == list(range(200))
        held.clear()
        assert one.stats.backlog == two.stats.backlog == 0
