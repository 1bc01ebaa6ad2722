"""Producers that fail: consumers get an error, and do not take this for the end of a complete stream."""

import asyncio
import contextlib
import signal
import subprocess
import sys

import pytest
from conftest import DIE, Start

import ringipc
from ringipc import Consumer, EndOfStream, Producer, ProducerDied, ProducerFailed


def fail(channel: str) -> None:
    with contextlib.suppress(OSError), Producer(channel, capacity=4096) as producer:
        producer.put(b"half")
        raise OSError("the camera is gone")


def leave_by(error: BaseException | None, message: bytes = b"half") -> None:
    try:
        with Producer("c", capacity=4096) as producer:
            producer.put(message)
            if error is not None:
                raise error
    except BaseException as raised:  # noqa: BLE001
        assert raised is error  # noqa: PT017


def test_an_exception_in_a_process_is_reported_once_after_the_last_message(start: Start) -> None:
    start(fail, "c")
    with Consumer("c", timeout=20) as consumer:
        assert consumer.get(timeout=20) == b"half"
        with pytest.raises(ProducerFailed, match=r"channel 'c': the producer with pid \d+ failed") as caught:
            consumer.get(timeout=20)
        assert not isinstance(caught.value, ProducerDied | EOFError)
        with pytest.raises(EndOfStream):
            consumer.get(timeout=20)
        assert consumer.stats.deaths == 1


@pytest.mark.parametrize(
    ("error", "fails"),
    [
        (None, False),
        (SystemExit(), False),
        (SystemExit(0), False),
        (SystemExit(1), True),
        (SystemExit("no camera"), True),
        (KeyboardInterrupt(), True),
        (GeneratorExit(), True),
        (ValueError(), True),
    ],
)
def test_which_exceptions_are_failures(error: BaseException | None, fails: bool) -> None:
    leave_by(error)
    with Consumer("c") as consumer:
        assert consumer.get(timeout=5) == b"half"
        with pytest.raises(ProducerFailed if fails else EndOfStream):
            consumer.get(timeout=5)


def test_close_can_say_that_the_stream_is_not_complete() -> None:
    producer = Producer("c", capacity=4096)
    with Consumer("c") as consumer:
        producer.close(failed=True)
        producer.close()
        with pytest.raises(ProducerFailed):
            list(consumer)
        assert list(consumer) == []


def test_a_failure_without_a_message_waits_for_the_first_consumer() -> None:
    Producer("c", capacity=4096).close(failed=True)
    assert [lane.state for lane in ringipc.Channel.open("c").lanes] == ["failed"]
    with Consumer("c", timeout=5) as consumer, pytest.raises(ProducerFailed):
        consumer.get(timeout=5)


def test_one_except_clause_catches_failures_and_deaths(producer: Producer, consumer: Consumer) -> None:
    assert issubclass(ProducerDied, ProducerFailed)
    leave_by(ValueError())
    assert subprocess.run([sys.executable, "-c", DIE]).returncode == -signal.SIGKILL
    producer.close()
    got, failures = [], 0
    while failures < 2:
        try:
            for message in consumer:
                got.append(message)
            break
        except ProducerFailed:
            failures += 1
    assert list(consumer) == []
    assert (got, failures, consumer.stats.deaths) == ([b"half"], 2, 2)


def test_deaths_can_be_skipped_and_are_counted(producer: Producer) -> None:
    with Consumer("c", deaths="skip") as consumer:
        leave_by(ValueError(), b"1")
        assert subprocess.run([sys.executable, "-c", DIE]).returncode == -signal.SIGKILL
        leave_by(None, b"2")
        producer.close()
        assert sorted(consumer) == [b"1", b"2"]
        assert consumer.stats.deaths == 2
    with pytest.raises(ValueError, match='deaths must be "raise" or "skip"'):
        Consumer("c", deaths="ignore")  # type: ignore[arg-type]


def test_a_task_gets_the_failure() -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with await Producer.aopen("c", capacity=4096) as producer:
                consumer = await Consumer.aopen("c", timeout=5)
                waits = asyncio.create_task(consumer.aget())
                await asyncio.sleep(0)
                assert not producer.closed
                1 / 0  # noqa: B018
        with pytest.raises(ProducerFailed):
            await waits
        consumer.close()

    asyncio.run(main())
