"""A message that is delivered too often is moved to the dead letters, or dropped."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Start

import ringipc
from ringipc import Consumer, Empty, EndOfStream, Producer

WAYS: dict[str, Callable[[Consumer], object]] = {
    "get": lambda c: c.get(timeout=5),
    "get_nowait": lambda c: c.get_nowait(),
    "loop": lambda c: next(iter(c)),
    "get_many": lambda c: c.get_many(5, timeout=5)[-1],
    "stack": lambda c: c.get_many(5, timeout=5, stack=True)[-1],
    "type": lambda c: c.get(timeout=5, type=3),
    "where": lambda c: c.get(timeout=5, where=lambda m: True),
    "message": lambda c: c.message(timeout=5).payload,
    "get_into": lambda c: c.get_into(np.empty(3)),
    "aget": lambda c: asyncio.run(c.aget()),
}


def requeue(consumer: Consumer, times: int) -> None:
    for _ in range(times):
        consumer.message(timeout=5).requeue()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", [{"shared": True}, {"durable": True}], ids=str)
def test_every_way_to_get_moves_the_message(producer: Producer, way: str, options: dict[str, Any]) -> None:
    with Consumer("c", **options, max_deliveries=2, dead_letters="dead") as consumer:
        producer.put(np.arange(3.0), type=3)
        requeue(consumer, 2)
        producer.put(np.zeros(3), type=3)
        got: Any = WAYS[way](consumer)
        assert np.array_equal(got, np.zeros(3))
        del got  # the consumer leaves its group when no view is alive
        assert (consumer.stats.dead, consumer.stats.messages) == (1, 1)
        with Consumer("dead", timeout=0) as letters, letters.message(timeout=0) as letter:
            assert (letter.type, letter.deliveries) == (3, 1)
            assert np.array_equal(letter.payload, np.arange(3.0))
    if "durable" in options:
        ringipc.Channel.open("c").remove_group("default")


def test_latest_moves_the_newest_message_too(producer: Producer) -> None:
    with Consumer("c", shared=True, max_deliveries=1) as consumer:
        producer.put(b"1")
        requeue(consumer, 1)
        with pytest.raises(Empty):
            consumer.latest(timeout=0)
        assert consumer.stats.dead == 1


def test_a_waiting_get_moves_what_comes_back(producer: Producer) -> None:
    with Consumer("c", shared=True) as other, Consumer("c", shared=True, max_deliveries=1) as waits:
        producer.put(b"1")
        message = other.message()

        async def main() -> None:
            waiting = asyncio.create_task(waits.aget())
            await asyncio.sleep(0.01)
            message.requeue()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(waiting, 0.3)

        asyncio.run(main())
        assert waits.stats.dead == 1
        producer.flush(timeout=0)


@pytest.mark.parametrize("payload", [b"bytes", {"id": 1, "frame": np.arange(5)}, np.arange(3), {1, 2}], ids=str)
def test_a_message_of_any_kind_is_moved_as_it_is(payload: Any) -> None:
    with (
        Producer("c", capacity="1 MiB", pickle=True) as producer,
        Consumer("c", shared=True, max_deliveries=1, dead_letters="dead") as consumer,
    ):
        producer.put(payload)
        consumer.message().requeue()
        with pytest.raises(Empty):
            consumer.get_nowait()
        with Consumer("dead", timeout=0, pickle=True) as letters:
            assert repr(letters.get(timeout=0)) == repr(payload)


def test_without_dead_letters_it_is_dropped_counted_and_logged_once(
    producer: Producer, caplog: pytest.LogCaptureFixture
) -> None:
    with Consumer("c", shared=True, max_deliveries=3) as consumer:
        for dead in range(1, 4):
            producer.put(b"poison")
            requeue(consumer, 3)
            with pytest.raises(Empty):
                consumer.get_nowait()
            assert consumer.stats.dead == dead
        producer.flush(timeout=0)
        producer.close()
        assert list(consumer) == []
    (record,) = caplog.records
    assert "channel 'c': message 0" in record.getMessage()
    assert "delivered 3 times to group 'default' and is not done; it was dropped" in record.getMessage()


def test_dead_letters_that_find_no_room_are_dropped() -> None:
    with (
        Producer("c", capacity=4096) as producer,
        Consumer("c", shared=True, max_deliveries=1, dead_letters="dead") as consumer,
    ):
        for _ in range(3):
            producer.put(bytes(3000))
            consumer.message().requeue()
            with pytest.raises(Empty):
                consumer.get_nowait()
        assert consumer.stats.dead == 3
        with Consumer("dead", timeout=0) as letters:
            assert len(letters.get_many(9, timeout=0)) == 1


def test_a_message_that_cannot_be_moved_stays(producer: Producer) -> None:
    with (
        contextlib.closing(ringipc.Event("dead")),
        Consumer("c", shared=True, max_deliveries=1, dead_letters="dead") as consumer,
    ):
        producer.put_many([b"0", b"1"])
        consumer.message().requeue()
        for _ in range(2):
            with pytest.raises(ringipc.Incompatible):
                consumer.get(timeout=0)
        assert consumer.stats.dead == 0
        assert producer.stats.backlog == 2
        with Consumer("c", shared=True, max_deliveries=1) as other:
            assert other.get(timeout=0) == b"1"
            assert other.stats.dead == 1


def poisoned(channel: str, results: str) -> None:
    with (
        Producer(results, capacity=1 << 16) as done,
        Consumer(channel, group="work", shared=True, max_deliveries=3, dead_letters="dead") as tasks,
    ):
        for task in tasks:
            if task["poison"]:
                os.kill(os.getpid(), signal.SIGKILL)
            done.put(task["id"])


def test_a_poison_message_kills_only_so_many_workers(start: Start) -> None:
    with (
        Producer("c", capacity="1 MiB", groups=["work"]) as producer,
        Producer("r", capacity=4096),
        Consumer("r") as results,
        Consumer("c", group="work", shared=True) as stays,
    ):
        producer.put_many({"id": k, "poison": k == 5} for k in range(20))
        for _ in range(3):
            worker = start(poisoned, "c", "r")
            worker.join(20)
            assert worker.exitcode == -9
        producer.close()
        worker = start(poisoned, "c", "r")
        worker.join(20)
        assert worker.exitcode == 0
        assert list(stays) == []
        got: list[object] = []
        while len(got) < 19:
            try:
                got.append(results.get(timeout=20))
            except ringipc.ProducerDied:
                continue
        assert got == [k for k in range(20) if k != 5]
        with Consumer("dead", timeout=0) as letters:
            assert [letter["id"] for letter in letters] == [5]


class Killer(logging.Handler):
    """Kills the process when the first dead letter is logged: it has been moved, and is not yet released."""

    def emit(self, _: logging.LogRecord) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def killed_while_it_moves(channel: str) -> None:
    logging.getLogger("ringipc").addHandler(Killer())
    with Consumer(channel, group="work", shared=True, max_deliveries=1, dead_letters="dead") as tasks:
        tasks.get(timeout=20)


def test_a_member_killed_while_it_moves_a_message_loses_nothing(start: Start, producer: Producer) -> None:
    with Consumer("c", group="work", shared=True, max_deliveries=1, dead_letters="dead") as stays:
        producer.put_many([b"poison", b"next"])
        message = stays.message()
        message.requeue()
        worker = start(killed_while_it_moves, "c")
        worker.join(20)
        assert worker.exitcode == -9
        assert stays.get(timeout=20) == b"next"
        while stays.stats.dead == 0:  # until the death is noticed
            with pytest.raises(Empty):
                stays.get(timeout=0.1)
    got: list[object] = []
    with Consumer("dead", timeout=0) as letters:
        while True:
            try:
                got.append(letters.get(timeout=5))
            except ringipc.ProducerDied:
                continue
            except EndOfStream:
                break
    assert got == [b"poison", b"poison"]  # at least once


def test_a_worker_at_the_other_end_of_a_connection_moves_messages_too(start: Start) -> None:
    with Producer("tcp://127.0.0.1:0", capacity="1 MiB", groups=["work"]) as producer:
        with (
            Consumer(str(producer.channel), group="work", shared=True, max_deliveries=2, dead_letters="dead") as worker,
            Consumer(str(producer.channel), group="work", shared=True),
        ):
            producer.put({"id": 1})
            requeue(worker, 2)
            with pytest.raises(Empty):
                worker.get(timeout=0.1)
            assert worker.stats.dead == 1
            producer.flush(timeout=10)
            with Consumer("dead", timeout=0) as letters:
                assert letters.get(timeout=0) == {"id": 1}


def test_wrong_options_are_refused(producer: Producer) -> None:
    for limit in (0, 64):
        with pytest.raises(ValueError, match="max_deliveries must be a number of deliveries"):
            Consumer("c", shared=True, max_deliveries=limit)
    with pytest.raises(ValueError, match="dead_letters= needs max_deliveries="):
        Consumer("c", shared=True, dead_letters="dead")
    with pytest.raises(ValueError, match="dead_letters= must be another channel"):
        Consumer("c", shared=True, max_deliveries=2, dead_letters="c")
    with pytest.raises(ValueError, match="for shared and durable groups"):
        Consumer("c", max_deliveries=3)
    assert ringipc.Channel.open("c").groups == []
