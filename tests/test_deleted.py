"""Files that are deleted while handles have them open: the next one to take the name is not disturbed."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Start, directory_of, is_readable

import ringipc
from ringipc import Barrier, ChannelBusy, Consumer, EndOfStream, Event, Lock, Producer, Semaphore
from ringipc._cleanup import names
from ringipc.cli import main


def inodes(where: Path) -> dict[str, int]:
    return {file.name: file.stat().st_ino for file in where.iterdir()}


def delete(where: Path, what: str) -> None:
    for file in where.glob(what):
        file.unlink()


MAKERS: list[Callable[[], Any]] = [
    lambda: Lock("c"),
    lambda: Semaphore("c", 1, undo=True),
    lambda: Event("c"),
    lambda: Barrier("c", 2),
    lambda: Producer("c", capacity=4096),
]


@pytest.mark.parametrize("make", MAKERS, ids=["lock", "semaphore", "event", "barrier", "channel"])
def test_closing_a_deleted_object_leaves_the_new_one_of_its_name(base: str, make: Callable[[], Any]) -> None:
    old = make()
    (directory_of(base) / "control").unlink()
    new = make()
    there = inodes(directory_of(base))
    old.close()
    assert inodes(directory_of(base)) == there
    new.close()
    if isinstance(new, Producer):  # the end of its stream waits for a consumer
        with Consumer("c") as consumer:
            assert list(consumer) == []
    assert names() == []


def hold(what: str, ready: Event, go: Event) -> None:
    with Lock("c") if what == "lock" else Producer("c", capacity=4096) as handle:
        if isinstance(handle, Producer):
            handle.put(b"old")
        ready.set()
        assert go.wait(20)


def test_closing_a_deleted_lock_does_not_release_the_new_one_of_its_name(base: str, start: Start) -> None:
    ready, go = Event("ready"), Event("go")
    process = start(hold, "lock", ready, go)
    assert ready.wait(20)
    (directory_of(base) / "control").unlink()
    with Lock("c"):
        go.set()
        process.join(20)
        other = Lock("c")
        assert not other.acquire(timeout=0.1)
        other.close()
    ready.close()
    go.close()


@pytest.mark.parametrize("what", ["control", "*"])
@pytest.mark.parametrize("overflow", ["block", "drop-old"])
def test_a_pair_whose_files_are_deleted_continues_beside_the_next_one(base: str, what: str, overflow: Any) -> None:
    old_p = Producer("c", capacity=1 << 16, overflow=overflow)
    old_c = Consumer("c", shared=True)
    old_p.put_many([b"1", b"2", b"3"])
    assert old_c.get() == b"1"
    delete(directory_of(base), what)
    with Producer("c", capacity=1 << 16, overflow=overflow) as new_p, Consumer("c", shared=True) as new_c:
        new_c.fileno()
        new_p.put_many([b"a"] * 5)
        assert new_c.get_many(5) == [b"a"] * 5
        there = inodes(directory_of(base))
        fd = old_c.fileno()  # there is no directory for its named pipe
        assert old_c.get_many(2) == [b"2", b"3"]
        assert not is_readable(fd, 0)
        old_p.put(b"4")
        assert is_readable(fd, 0.3)  # sooner than its own periodic check
        old_p.put(b"5")
        old_p.close()
        assert list(old_c) == [b"4", b"5"]
        with pytest.raises(EndOfStream):
            old_c.get(timeout=0)
        old_c.close()
        assert inodes(directory_of(base)) == there
        assert not is_readable(new_c.fileno(), 0)
        new_p.put(b"b")
        assert is_readable(new_c.fileno(), 0.3)
        assert new_c.get(timeout=1) == b"b"
        with Consumer("c", group="third", timeout=0):
            new_p.put(b"c")
    assert names() == []


def test_a_pollfd_works_after_all_files_are_deleted(base: str) -> None:
    with Producer("c", capacity=4096, slots=2) as producer, Consumer("c") as consumer:
        delete(directory_of(base), "*")
        directory_of(base).rmdir()
        assert not is_readable(consumer.fileno(), 0)
        producer.put_many([b"1", b"2"])
        assert is_readable(consumer.fileno(), 0.3)
        assert not is_readable(producer.fileno(), 0)
        assert consumer.get_many(2) == [b"1", b"2"]
        assert is_readable(producer.fileno(), 0.3)
    assert names() == []


def work_and_stay(ready: Event) -> None:
    producer, consumer = Producer("c", capacity=1 << 16), Consumer("c", shared=True)
    producer.put_many([np.arange(9)] * 5)
    consumer.get_many(5)
    ready.set()
    time.sleep(60)


@pytest.fixture
def no_control(base: str, start: Start) -> Path:
    """The files that killed processes left, without the control file."""
    ready = Event("ready")
    process = start(work_and_stay, ready)
    assert ready.wait(20)
    process.kill()
    process.join()
    ready.close()
    (directory_of(base) / "control").unlink()
    assert sorted(inodes(directory_of(base))) == ["claims-1-0", "lane-0"]
    return directory_of(base)


def test_files_without_a_control_file_are_not_mistaken_for_a_new_channel(no_control: Path) -> None:
    with Producer("c", capacity=1 << 16) as producer, Consumer("c", shared=True) as consumer:
        for k in range(20):
            producer.put(b"%d" % k)
        assert [int(consumer.get(timeout=1)) for _ in range(20)] == list(range(20))
    assert not no_control.exists()


def test_files_without_a_control_file_are_listed_and_removed(
    no_control: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [(named.name, named.kind, named.bytes > 1 << 16) for named in names()] == [("c", "damaged", True)]
    assert main(["clean"]) == 0
    assert "removed damaged 'c'" in capsys.readouterr().out
    assert names() == []


def damage(where: Path, at: int = 0, what: bytes = b"damaged!") -> None:
    with (where / "control").open("r+b") as file:
        file.seek(at)
        file.write(what)


def test_a_damaged_channel_can_be_removed_but_not_while_a_process_has_it_open(
    base: str, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    ready, go = Event("ready"), Event("go")
    process = start(hold, "channel", ready, go)
    assert ready.wait(20)
    damage(directory_of(base))
    with pytest.raises(ringipc.Corrupt, match=str(directory_of(base))):
        Consumer("c")
    channel = ringipc.Channel.open("c")
    with pytest.raises(ChannelBusy, match=f"has members: pid {process.pid};"):
        channel.remove()
    assert main(["clean"]) == 1
    assert f"kept damaged 'c': process {process.pid} has it open" in capsys.readouterr().out
    process.kill()
    process.join()
    channel.remove()
    assert not directory_of(base).exists()
    for event in (ready, go):
        event.close()


def test_a_channel_of_another_version_is_removed_only_on_request(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    for by_command in (True, False):
        with Producer("c", capacity=4096) as producer:
            producer.put(b"x")
        damage(directory_of(base), 8, b"\x63")
        assert main(["clean"]) == 1
        assert "another version" in capsys.readouterr().out
        if by_command:
            assert main(["clean", "--messages"]) == 0
        else:
            ringipc.Channel.open("c").remove()
        assert not directory_of(base).exists()


def test_a_directory_with_files_of_other_programs_is_kept(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    directory_of(base).mkdir(parents=True)
    (directory_of(base) / "notes").write_text("not ringipc's")
    assert main(["clean"]) == 1
    assert f"{directory_of(base)} has files that do not belong to ringipc" in capsys.readouterr().out
    assert os.listdir(directory_of(base)) == ["notes"]
    (directory_of(base) / "control").write_bytes(b"damaged")
    with pytest.raises(ringipc.SystemRefused, match=f"{directory_of(base)} has files that do not belong"):
        ringipc.Channel.open("c").remove()
    (directory_of(base) / "notes").unlink()
    assert main(["clean"]) == 0
    assert names() == []
