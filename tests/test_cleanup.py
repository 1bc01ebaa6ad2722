"""Files that killed processes leave, and the commands that list and remove them."""

import os
import signal
import time
from pathlib import Path

import pytest
from conftest import Start

from ringipc import Barrier, Channel, Consumer, Event, Lock, Producer, Semaphore
from ringipc._cleanup import names
from ringipc._opening import Overflow
from ringipc.cli import main


def leave_all_behind(ready: Event) -> None:
    kept: list[object] = [Producer("frames", capacity=4096, groups=["later"]), Producer("empty", capacity=4096)]
    kept += [Consumer("empty"), Semaphore("s", 3), Lock("l"), Event("e"), Barrier("b", 2)]
    kept[0].put(b"x")  # type: ignore[attr-defined]
    ready.set()
    time.sleep(60)


@pytest.fixture
def left(start: Start) -> None:
    ready = Event("ready")
    process = start(leave_all_behind, ready)
    assert ready.wait(20)
    process.kill()
    process.join()
    ready.close()


def test_what_killed_processes_left_is_listed_and_removed(left: None, capsys: pytest.CaptureFixture[str]) -> None:
    with Producer("alive", capacity=4096), Lock("held") as held:
        assert main(["ls"]) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert lines[0] == ["NAME", "KIND", "BYTES", "WAITING", "PIDS"]
        seen = {line[0]: (line[1], line[3], line[4]) for line in lines[1:]}
        us = str(os.getpid())
        assert seen == {
            "alive": ("channel", "0", us),
            "held": ("lock", "-", us),
            "frames": ("channel", "1", "-"),
            "empty": ("channel", "0", "-"),
            "s": ("semaphore", "-", "-"),
            "l": ("lock", "-", "-"),
            "e": ("event", "-", "-"),
            "b": ("barrier", "-", "-"),
        }
        assert main(["clean"]) == 1
        assert "kept channel 'frames': 1 messages wait for the group 'later' (--mess" in capsys.readouterr().out
        assert [named.name for named in names()] == ["alive", "frames", "held"]
        assert main(["clean", "--messages"]) == 0
        assert [named.name for named in names()] == ["alive", "held"]
    held.close()
    assert [(named.name, named.backlog) for named in names()] == [("alive", 0)]  # the end of its stream waits
    assert main(["clean", "--messages"]) == 0
    assert names() == []


def test_a_new_process_takes_over_what_killed_ones_left(left: None) -> None:
    with Consumer("frames", group="later") as consumer:
        assert consumer.get() == b"x"
    with Producer("empty", capacity=4096) as producer, Consumer("empty") as consumer:
        producer.put(b"y")
        assert consumer.get() == b"y"
    for handle in (Semaphore("s"), Lock("l"), Event("e"), Barrier("b", 3)):
        handle.close()
    assert names() == []


def get_all_and_die(count: int) -> None:
    consumer = Consumer("c")
    for _ in range(count):
        consumer.get(timeout=20)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("how", ["left", "killed"])
@pytest.mark.parametrize("overflow", ["block", "drop-old"])
def test_only_unread_messages_wait(start: Start, how: str, overflow: Overflow) -> None:
    def waiting() -> int:
        (named,) = names()
        return named.backlog

    with Producer("c", capacity=4096, slots=16, overflow=overflow) as producer:
        producer.put_many([b"x"] * 5)
        assert waiting() == 5
        if how == "killed":
            start(get_all_and_die, 5).join(20)
        else:
            with Consumer("c") as consumer:
                assert len(consumer.get_many(9)) == 5
        assert waiting() == 0
        producer.put(b"unread")
        assert waiting() == 1
        if overflow == "drop-old":
            producer.put_many([b"x"] * 50)
            assert waiting() == 16
        assert [lane.backlog for lane in Channel.open("c").lanes] == [waiting()]
        with Consumer("c") as consumer:
            assert consumer.stats.backlog == waiting()
            consumer.get_many(99)


def test_damaged_files_are_listed_and_removed(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Producer("whole", capacity=4096) as producer:
        (user,) = Path(base).iterdir()
        for name, content in (("bad", b"something else"), ("none", None)):
            (user / name).mkdir()
            if content is not None:
                (user / name / "control").write_bytes(content)
        assert [(named.name, named.kind) for named in names()] == [
            ("bad", "damaged"), ("none", "damaged"), ("whole", "channel"),
        ]  # fmt: skip
        assert main(["clean"]) == 0
        assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == [
            "removed damaged 'bad'", "removed damaged 'none'",
        ]  # fmt: skip
        assert [named.name for named in names()] == ["whole"]
        producer.put(b"undisturbed")
        with Consumer("whole") as consumer:
            assert consumer.get() == b"undisturbed"


def test_clean_names_the_reason_why_it_keeps_a_channel(capsys: pytest.CaptureFixture[str]) -> None:
    with Producer("first", capacity=4096) as producer:
        producer.put(b"x")
    with Producer("durable", capacity=4096) as producer, Consumer("durable", group="d", durable=True):
        producer.put(b"x")
    Producer("declared", capacity=4096, groups=["g"]).close()
    assert main(["clean"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "kept channel 'declared': the end of its stream waits for the group 'g' (--messages removes it)",
        "kept channel 'durable': it has a durable group, 'd', for which 1 messages wait (--messages removes it)",
        "kept channel 'first': 1 messages wait for a consumer (--messages removes it)",
    ]
    assert [(named.name, named.backlog, named.end_waits) for named in names()] == [
        ("declared", 0, True), ("durable", 1, False), ("first", 1, True),
    ]  # fmt: skip
    assert main(["clean", "--messages"]) == 0


def test_the_listed_size_is_the_allocated_memory() -> None:
    with Producer("c") as producer:
        (named,) = names()
        assert 0 < named.bytes < 1 << 20 < producer.stats.capacity


def test_without_a_directory_nothing_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    assert capsys.readouterr().out.startswith("NAME")
    assert main(["clean"]) == 0
