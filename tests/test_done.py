"""What a worker has got is done when it gets again, whatever kind of payload it is; until then it is redelivered."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Start

import ringipc
from ringipc import Consumer, Empty, EndOfStream, Producer, TimedOut

PAYLOADS: dict[str, Any] = {
    "bytes": b"task",
    "large bytes": bytes(1 << 17),
    "record": {"id": 7, "name": "task"},
    "record with an array": {"id": 7, "frame": np.arange(20)},
    "array": np.arange(20),
}
WAYS: dict[str, Callable[[Consumer], object]] = {
    "get": lambda c: c.get(timeout=5),
    "get_nowait": lambda c: c.get_nowait(),
    "loop": lambda c: next(iter(c)),
    "latest": lambda c: c.latest(timeout=5),
    "get_many": lambda c: c.get_many(1, timeout=5),
    "type": lambda c: c.get(timeout=5, type=0),
    "where": lambda c: c.get(timeout=5, where=lambda m: True),
    "aget": lambda c: asyncio.run(c.aget()),
}
GROUPS: list[dict[str, Any]] = [{"shared": True}, {"durable": True}, {"shared": True, "durable": True}]


def rest_of(options: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the seqs and deliveries of the messages that the next member gets."""
    rest = []
    with Consumer("c", **options) as consumer:
        try:
            while True:
                with consumer.message(timeout=0) as message:
                    rest.append((message.seq, message.deliveries))
        except (Empty, EndOfStream):
            return rest


@pytest.mark.parametrize("copy", [None, True, False])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_message_is_in_work_until_the_next_get(payload: str, way: str, copy: bool | None) -> None:
    with Producer("c", capacity="1 MiB", groups=["default"]) as producer:
        with Consumer("c", shared=True):
            leaves = Consumer("c", shared=True, copy=copy)
            for seq in range(3):
                producer.put(PAYLOADS[payload])
                WAYS[way](leaves)  # the result is gone: that ends no work
                assert producer.stats.backlog == 1 or way == "aget", seq
            leaves._end(exiting=True)
            in_work = [(0, 2), (1, 2), (2, 2)] if way == "aget" else [(2, 2)]  # each loop has a task of its own
            assert rest_of({"shared": True}) == in_work


@pytest.mark.parametrize("options", GROUPS, ids=str)
def test_a_batch_is_in_work_until_the_next_get(options: dict[str, Any]) -> None:
    with Producer("c", capacity="1 MiB") as producer:
        stays = Consumer("c", **options) if options == {"shared": True} else None
        with pytest.raises(ValueError, match="broken"), Consumer("c", **options) as leaves:
            producer.put_many([b"0", b"1", b"2", b"3", b"4"])
            assert leaves.get_many(2) == [b"0", b"1"]
            assert leaves.get_many(2) == [b"2", b"3"]
            raise ValueError("broken")
        assert rest_of(options) == [(2, 2), (3, 2), (4, 1)]
        if stays:
            stays.close()
    if "durable" in options:
        ringipc.Channel.open("c").remove()


def test_what_get_into_and_stack_have_copied_is_in_work_too(producer: Producer) -> None:
    with Consumer("c", shared=True):
        ways: list[Callable[[Consumer], object]] = [
            lambda c: c.get_into(np.empty(3)),
            lambda c: c.get_many(1, stack=True),
        ]
        for way in ways:
            with pytest.raises(ZeroDivisionError), Consumer("c", shared=True) as leaves:
                producer.put_many([np.zeros(3), np.zeros(3)])
                way(leaves)
                way(leaves)
                raise ZeroDivisionError
            (rest,) = rest_of({"shared": True})
            assert rest[1] == 2


def test_an_exclusive_group_that_is_not_durable_keeps_nothing(producer: Producer) -> None:
    with Consumer("c") as consumer:
        producer.put_many([b"0", {"id": 1}])
        assert consumer.get() == b"0"
        assert producer.stats.backlog == 1
        assert consumer.get() == {"id": 1}
        producer.flush(0)


def work_until_killed(channel: str, results: str, left: int) -> None:
    with Producer(results, capacity=1 << 16) as done, Consumer(channel, group="work", shared=True) as tasks:
        for task in tasks:
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            done.put({"id": task["id"]})


def test_a_plain_loop_over_tasks_loses_none_when_workers_are_killed(start: Start) -> None:
    """The task in work when a worker is killed is done by another."""
    count, kills = 400, 3
    with (
        Producer("c", capacity="1 MiB", groups=["work"]) as producer,
        Producer("r", capacity=4096),
        Consumer("r") as results,
        Consumer("c", group="work", shared=True) as stays,
    ):
        producer.put_many({"id": k} for k in range(count))
        for k in range(kills):
            worker = start(work_until_killed, "c", "r", 10 * k)
            worker.join(20)
            assert worker.exitcode == -9
        worker = start(work_until_killed, "c", "r", -1)
        got: list[int] = []
        while len(set(got)) < count:
            with contextlib.suppress(ringipc.ProducerDied):
                got.append(results.get(timeout=20)["id"])
        assert got == list(range(count))  # none was done twice: workers report before they get again
        producer.close()
        worker.join(20)
        assert worker.exitcode == 0
        assert list(stays) == []


def ends_without_closing(channel: str, how: str) -> None:
    tasks = Consumer(channel, group="work", durable=True)
    assert tasks.get(timeout=20) == b"0"
    assert tasks.get(timeout=20) == b"1"
    if how == "exit":
        raise SystemExit(0)
    if how == "closed":
        tasks.close()


@pytest.mark.parametrize(("how", "rest"), [("exit", [(1, 2)]), ("return", [(1, 2)]), ("closed", [])])
def test_a_process_that_exits_without_closing_gives_its_task_back(
    start: Start, how: str, rest: list[tuple[int, int]]
) -> None:
    with Producer("c", capacity="1 MiB", groups=["work"]) as producer:
        producer.put_many([b"0", b"1"])
        worker = start(ends_without_closing, "c", how)
        worker.join(20)
        assert worker.exitcode == 0
        with Consumer("c", group="work") as consumer:
            messages = [consumer.message(timeout=0) for _ in rest]
            assert [(m.seq, m.deliveries) for m in messages] == rest
            with pytest.raises(Empty):
                consumer.get(0)
            messages.clear()
    ringipc.Channel.open("c").remove()


def test_an_exception_gives_back_what_nobody_looks_at_at_once(producer: Producer) -> None:
    with Consumer("c", shared=True) as stays:
        producer.put_many([np.zeros(100), b"1"])
        with pytest.raises(OSError), Consumer("c", shared=True) as leaves:
            background = leaves.get()
            leaves.get()
            raise OSError
        assert background.tolist() == [0] * 100  # its message is done, and only its memory stays
        with stays.message(timeout=0) as message:
            assert (message.seq, message.payload, message.deliveries) == (1, b"1", 2)


def test_a_view_in_work_is_given_back_when_it_is_gone(producer: Producer) -> None:
    with Consumer("c", shared=True) as stays:
        producer.put(np.zeros(100))
        with pytest.raises(OSError), Consumer("c", shared=True) as leaves:
            frame = leaves.get()
            raise OSError
        with pytest.raises(Empty):
            stays.get(0)
        del frame
        with stays.message(timeout=0) as message:
            assert message.deliveries == 2


def test_each_thread_has_its_own_message_in_work(producer: Producer) -> None:
    with Consumer("c", shared=True) as stays:
        leaves = Consumer("c", shared=True)
        producer.put_many([b"%d" % k for k in range(5)])
        assert leaves.get() == b"0"
        thread = threading.Thread(target=lambda: [leaves.get() for _ in range(3)])
        thread.start()
        thread.join()
        leaves._end(exiting=True)
        got = [stays.message(timeout=0) for _ in range(3)]
        assert [(m.seq, m.deliveries) for m in got] == [(0, 2), (3, 2), (4, 1)]
        got.clear()


def test_a_queue_with_one_slot_has_room_again_when_the_task_is_done() -> None:
    with Producer("c", capacity=4096, slots=1) as producer, Consumer("c", shared=True) as consumer:
        thread = threading.Thread(target=lambda: [producer.put(b"%d" % k) for k in range(50)])
        thread.start()
        assert consumer.get(timeout=5) == b"0"
        with pytest.raises(TimedOut):
            producer.flush(timeout=0.05)
        for k in range(1, 50):
            assert consumer.get(timeout=5) == b"%d" % k
        thread.join()


def test_taking_many_messages_keeps_no_memory_for_those_that_are_done(producer: Producer) -> None:
    with Consumer("c", shared=True) as consumer:
        for _ in range(20):
            producer.put_many([b"x"] * 500)
            assert len(consumer.get_many(1000)) == 500
            assert producer.stats.backlog == 500
        with pytest.raises(Empty):
            consumer.get_nowait()
        producer.flush(0)
