"""Files that somebody deletes under those who have them open: whoever takes the name next is not disturbed."""

import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Start

from ringipc import Barrier, Consumer, EndOfStream, Event, Lock, Producer, Semaphore
from ringipc.leftovers import names


def directory(base: str) -> Path:
    return Path(base, f"ringipc-{os.geteuid()}", "c")


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
def test_what_took_the_name_stays_when_the_one_before_is_closed(base: str, make: Callable[[], Any]) -> None:
    old = make()
    (directory(base) / "control").unlink()
    new = make()
    there = inodes(directory(base))
    old.close()
    assert inodes(directory(base)) == there
    new.close()
    assert names() == []


def hold(what: str, ready: Event, go: Event) -> None:
    with Lock("c") if what == "lock" else Producer("c", capacity=4096) as handle:
        if isinstance(handle, Producer):
            handle.put(b"old")
        ready.set()
        assert go.wait(20)


def test_a_lock_has_one_owner_though_another_process_closes_one_that_was_deleted(base: str, start: Start) -> None:
    ready, go = Event("ready"), Event("go")
    process = start(hold, "lock", ready, go)
    assert ready.wait(20)
    (directory(base) / "control").unlink()
    with Lock("c"):
        go.set()
        process.join(20)
        other = Lock("c")
        assert not other.acquire(timeout=0.1)
        other.close()
    ready.close()
    go.close()


def is_readable(fd: int, seconds: float) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


@pytest.mark.parametrize("what", ["control", "*"])
@pytest.mark.parametrize("overflow", ["block", "drop-old"])
def test_a_pair_whose_files_are_deleted_goes_on_beside_the_next_one(base: str, what: str, overflow: Any) -> None:
    old_p = Producer("c", capacity=1 << 16, overflow=overflow)
    old_c = Consumer("c", shared=True)
    old_p.put_many([b"1", b"2", b"3"])
    assert old_c.get() == b"1"
    delete(directory(base), what)
    with Producer("c", capacity=1 << 16, overflow=overflow) as new_p, Consumer("c", shared=True) as new_c:
        new_c.fileno()
        new_p.put_many([b"a"] * 5)
        assert new_c.get_many(5) == [b"a"] * 5
        there = inodes(directory(base))
        fd = old_c.fileno()  # has no place in the directory
        assert old_c.get_many(2) == [b"2", b"3"]
        assert not is_readable(fd, 0)
        old_p.put(b"4")
        assert is_readable(fd, 0.3)  # sooner than it looks by itself
        old_p.put(b"5")
        old_p.close()
        assert list(old_c) == [b"4", b"5"]
        with pytest.raises(EndOfStream):
            old_c.get(timeout=0)
        old_c.close()
        assert inodes(directory(base)) == there
        assert not is_readable(new_c.fileno(), 0)
        new_p.put(b"b")
        assert is_readable(new_c.fileno(), 0.3)
        assert new_c.get(timeout=1) == b"b"
        with Consumer("c", group="third", timeout=0):
            new_p.put(b"c")
    assert names() == []


def test_a_descriptor_can_be_had_when_everything_is_deleted(base: str) -> None:
    with Producer("c", capacity=4096, slots=2) as producer, Consumer("c") as consumer:
        delete(directory(base), "*")
        directory(base).rmdir()
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
    """What killed processes left, but for the control file."""
    ready = Event("ready")
    process = start(work_and_stay, ready)
    assert ready.wait(20)
    process.kill()
    process.join()
    ready.close()
    (directory(base) / "control").unlink()
    assert sorted(inodes(directory(base))) == ["claims-1-0", "lane-0"]
    return directory(base)


def test_what_is_left_without_a_control_file_is_not_taken_for_a_new_channels(no_control: Path) -> None:
    with Producer("c", capacity=1 << 16) as producer, Consumer("c", shared=True) as consumer:
        for k in range(20):
            producer.put(b"%d" % k)
        assert [int(consumer.get(timeout=1)) for _ in range(20)] == list(range(20))
    assert not no_control.exists()
