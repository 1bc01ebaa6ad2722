"""The end of a stream without messages, for consumers that join after its producer has closed."""

import signal
import subprocess
import sys

import pytest
from conftest import DIE, AnyChannel

import ringipc
from ringipc import Consumer, Empty, EndOfStream, Producer, ProducerDied
from ringipc._cleanup import names
from ringipc.cli import main


def put_nothing(channel: AnyChannel, groups: list[str]) -> None:
    Producer(channel, capacity=4096, groups=groups).close()


@pytest.mark.parametrize("anonymous", [False, True])
def test_an_end_waits_for_the_first_group(anonymous: bool) -> None:
    channel = ringipc.Channel.anonymous() if anonymous else "c"
    put_nothing(channel, [])
    with Consumer(channel, timeout=5) as consumer, pytest.raises(EndOfStream):
        consumer.get(timeout=5)
    if anonymous:  # the end was reported, and the channel is as new
        with Consumer(channel) as consumer, pytest.raises(Empty):
            consumer.get(timeout=0.1)
    else:
        assert names() == []


@pytest.mark.parametrize("anonymous", [False, True])
def test_an_end_waits_for_each_declared_group(anonymous: bool) -> None:
    channel = ringipc.Channel.anonymous() if anonymous else "c"
    put_nothing(channel, ["a", "b"])
    for group in ("a", "b"):
        with Consumer(channel, group=group, shared=group == "b", timeout=5) as consumer:
            assert list(consumer) == []
    assert anonymous or names() == []


def test_the_next_producer_continues_a_stream_whose_end_waits() -> None:
    put_nothing("c", [])
    with Producer("c", capacity=4096) as producer, Consumer("c") as consumer:
        with pytest.raises(Empty):
            consumer.get(timeout=0.1)
        producer.put(b"x")
        producer.close()
        assert list(consumer) == [b"x"]
    assert names() == []


def test_many_streams_without_messages_take_one_file() -> None:
    for _ in range(100):  # more than the table of lanes has entries
        put_nothing("c", [])
    (named,) = names()
    assert named.bytes < 200_000
    with Consumer("c", timeout=5) as consumer:
        assert list(consumer) == []


def test_the_death_of_a_producer_waits_too() -> None:
    assert subprocess.run([sys.executable, "-c", DIE]).returncode == -signal.SIGKILL
    with Consumer("c", timeout=5) as consumer:
        with pytest.raises(ProducerDied):
            consumer.get(timeout=5)
        with pytest.raises(EndOfStream):
            consumer.get(timeout=5)
    assert names() == []


def test_clean_keeps_an_end_as_it_keeps_messages(capsys: pytest.CaptureFixture[str]) -> None:
    put_nothing("c", [])
    assert main(["clean"]) == 1
    assert "the end of its stream waits for a first consumer (--messages removes it)" in capsys.readouterr().out
    assert ringipc.Channel.open("c").end_waits
    assert main(["ls"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[3:] == ["end", "-"]
    with Consumer("c", timeout=5) as consumer:
        assert list(consumer) == []
    put_nothing("c", [])
    assert main(["clean", "--messages"]) == 0
    assert names() == []


def test_no_end_waits_if_a_group_has_seen_it() -> None:
    with Producer("c", capacity=4096), Consumer("c"):
        pass
    assert names() == []
