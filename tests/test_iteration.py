"""`Consumer.messages`: each message is in work until the next one is asked for."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Start, rest
from test_async import LOOPS, Run

from ringipc import Channel, Consumer, Empty, Producer, ProducerDied

anyio = pytest.importorskip("anyio")


def test_the_loop_ends_with_the_stream(producer: Producer, consumer: Consumer) -> None:
    producer.put_many([b"a", b"b"], type=3)
    producer.close()
    assert [(message.payload, message.type) for message in consumer.messages()] == [(b"a", 3), (b"b", 3)]
    assert consumer.stats.held == 0


@pytest.fixture(params=[{}, {"shared": True}, {"durable": True}], ids=str)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


def test_a_message_is_acknowledged_when_the_next_is_asked_for(producer: Producer, options: dict[str, Any]) -> None:
    with Consumer("c", group="default", **options) as consumer:
        producer.put_many([b"0", b"1", b"2"])
        for message in consumer.messages():
            assert consumer.stats.held == 1
            assert message.seq == int(message.payload)
            with pytest.raises(TimeoutError):
                producer.flush(0)
            if message.seq == 2:
                message.release()
                break
        producer.flush(0)
    if options.get("durable"):
        Channel.open("c").remove_group("default")


class Failed(Exception):
    pass


def leave_by_exception(consumer: Consumer) -> None:
    with pytest.raises(Failed):
        for message in consumer.messages():
            if message.payload == b"1":
                raise Failed


def leave_by_break(consumer: Consumer) -> None:
    for message in consumer.messages():
        if message.payload == b"1":
            break


def leave_by_return(consumer: Consumer) -> None:
    def loop() -> Any:
        for message in consumer.messages():
            if message.payload == b"1":
                return message
        return None

    loop()


@pytest.mark.parametrize("leave", [leave_by_exception, leave_by_break, leave_by_return])
def test_a_loop_that_is_left_gives_its_message_back(
    producer: Producer, options: dict[str, Any], leave: Callable[[Consumer], None]
) -> None:
    with Consumer("c", group="default", **options) as consumer:
        producer.put_many([b"0", b"1", b"2"])
        leave(consumer)
        assert consumer.stats.held == 0
        with consumer.message(0) as again:
            assert again.payload == b"1"
            assert again.redelivered == bool(options)
        assert rest(consumer) == [2]
    if options.get("durable"):
        Channel.open("c").remove_group("default")


def test_views_that_are_alive_keep_a_message_that_is_given_back(producer: Producer) -> None:
    with Consumer("c", group="work", shared=True) as consumer:
        producer.put_many([np.full(100, 7), b"1"])
        for message in consumer.messages():
            view = message.payload[3:]
            break
        assert rest(consumer) == [1]
        producer.put_many([b"2"] * 3)
        assert (view == 7).all()
        assert consumer.stats.held == 1
        del view, message
        with consumer.message(0) as again:
            assert again.redelivered
            assert (again.payload == 7).all()
        assert rest(consumer) == [2] * 3
        producer.flush(0)


def test_a_consumer_that_closes_after_a_failed_loop_leaves_the_message_to_the_others(producer: Producer) -> None:
    with Consumer("c", group="work", shared=True) as other:
        producer.put_many([np.zeros(100)])
        with pytest.raises(Failed) as caught, Consumer("c", group="work", shared=True) as consumer:
            for message in consumer.messages():
                _view = message.payload
                raise Failed
        with pytest.raises(Empty):
            other.get(0)
        del caught, message, _view, consumer
        with other.message(0) as again:
            assert again.redelivered


def test_selected_messages(producer: Producer, consumer: Consumer) -> None:
    for k in range(6):
        producer.put(b"%d" % k, type=k % 2)
    producer.close()
    assert [message.seq for message in consumer.messages(type=1)] == [1, 3, 5]
    assert [message.seq for message in consumer.messages(where=lambda m: m.seq > 2)] == [4]
    assert [message.seq for message in consumer.messages()] == [0, 2]


def work_and_hang(shared: str) -> None:
    with Consumer("c", group="work", shared=True, timeout=20) as consumer:
        for message in consumer.messages():
            if message.payload == b"1":
                with Producer(shared, capacity=4096) as report:
                    report.put(os.getpid().to_bytes(8, "little"))
                    time.sleep(60)


def test_the_message_of_a_worker_that_is_killed_goes_to_another(producer: Producer, start: Start) -> None:
    with Consumer("c", group="work", shared=True) as survivor:
        worker = start(work_and_hang, "report")
        producer.put_many([b"0", b"1"])
        with Consumer("report", timeout=20) as report:
            pid = int.from_bytes(report.get(20), "little")
            assert pid == worker.pid
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ProducerDied):
                report.get(20)
        producer.put(b"2")
        producer.close()
        got = {message.payload: message.redelivered for message in survivor.messages()}
    assert got in ({b"1": True, b"2": False}, {b"0": False, b"1": True, b"2": False})


@LOOPS
def test_tasks_iterate(run: Run) -> None:
    async def main() -> None:
        with Producer("c", capacity=1 << 16) as producer, Consumer("c") as consumer:
            got: list[bytes] = []

            async def read() -> None:
                async for message in consumer.messages():
                    await anyio.sleep(0)
                    assert consumer.stats.held == 1
                    got.append(message.payload)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                for k in range(5):
                    await producer.aput(b"%d" % k)
                    await anyio.sleep(0.001)
                producer.close()
            assert got == [b"0", b"1", b"2", b"3", b"4"]
            assert consumer.stats.held == 0

    run(main)


@LOOPS
def test_a_task_that_is_cancelled_gives_its_message_back(run: Run) -> None:
    async def main() -> None:
        with Producer("c", capacity=1 << 16) as producer, Consumer("c", group="w", shared=True) as consumer:
            producer.put(b"0")
            with anyio.move_on_after(0.02):
                async for _ in consumer.messages():
                    await anyio.sleep(60)
            with consumer.message(0) as again:
                assert again.redelivered
                assert again.payload == b"0"
            with anyio.move_on_after(0.02):
                async for _ in consumer.messages():
                    pass
            assert consumer.stats.held == 0

    run(main)
