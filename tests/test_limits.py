"""Errors for full tables and for lack of space: what they report, and that they leave no files."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import ringipc
from ringipc import Channel, Consumer, GroupBusy, Lock, Producer, RingError, SystemRefused, TableFull

# ---- tables ----


def test_a_producer_beyond_the_table_is_refused_with_the_maximum_and_what_to_do() -> None:
    for k in range(1024):
        with Producer("c", capacity=4096, slots=1) as producer:
            producer.put(b"%d" % k)
    with pytest.raises(
        TableFull,
        match=r"channel 'c' is full: it has 1024 lanes.*let every group read the messages of those that have closed",
    ) as caught:
        Producer("c", capacity=4096)
    assert isinstance(caught.value, RingError)
    assert not isinstance(caught.value, OSError)
    with Consumer("c") as consumer:
        assert sorted(int(consumer.get(timeout=0)) for _ in range(1024)) == list(range(1024))
        with Producer("c", capacity=4096) as producer:
            producer.put(b"more")
        assert list(consumer) == [b"more"]


def test_a_33rd_group_is_refused_with_the_maximum(producer: Producer) -> None:
    consumers = [Consumer("c", group=f"{k}") for k in range(32)]
    producer.put(b"x")
    with pytest.raises(TableFull, match=r"channel 'c' is full: it has 32 groups.*remove_group"):
        Consumer("c", group="more")
    with pytest.raises(TableFull, match="32 groups"):
        Producer("c", capacity=4096, groups=["another"])
    for consumer in consumers:
        assert consumer.get(timeout=0) == b"x"
        consumer.close()
    assert len(ringipc.Channel.open("c").lanes) == 1


def test_a_257th_consumer_is_refused_with_the_maximum(producer: Producer) -> None:
    consumers = [Consumer("c", shared=True) for _ in range(256)]
    with pytest.raises(TableFull, match="channel 'c' is full: it has 256 consumers"):
        Consumer("c", shared=True)
    Producer("c", capacity=4096).close()
    assert len(ringipc.Channel.open("c").pids) == 257
    for consumer in consumers:
        consumer.close()


def test_a_full_table_is_reported_over_a_connection_too(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.setenv("RINGIPC_RING", "0")
    url = f"unix://{base}/socket"
    with Producer(url, capacity=4096) as producer:
        consumers = [Consumer(url, group=f"{k}", timeout=10) for k in range(32)]
        with pytest.raises(TableFull, match="it has 32 groups"):
            Consumer(url, group="more", timeout=10)
        for consumer in consumers:
            consumer.close()
        producer.close()


# ---- groups ----


def test_the_error_for_a_group_kept_by_views_of_this_process_says_so(producer: Producer) -> None:
    producer.put(bytes(9))
    consumer = Consumer("c", copy=False)
    view = consumer.get()
    consumer.close()
    with pytest.raises(GroupBusy, match=f"this process, pid {os.getpid()}, is its member.*delete the views"):
        Consumer("c")
    view.release()
    Consumer("c").close()


# ---- space ----


def mount(options: str) -> Iterator[Path]:
    where = tempfile.mkdtemp(prefix="test-ringipc-tmpfs-")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "ringipc", where], capture_output=True).returncode:
        os.rmdir(where)
        pytest.skip("only root can mount a file system, and not in every container")
    try:
        yield Path(where)
    finally:
        subprocess.run(
            ["umount", "--lazy", where], check=True
        )  # an exception that was caught may keep a mapping for a while
        os.rmdir(where)


@pytest.fixture
def small(base: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for where in mount("size=4m"):
        monkeypatch.setenv("RINGIPC_DIR", str(where))
        yield where


def test_an_update_of_an_array_in_a_file_says_where_there_is_no_room(small: Path) -> None:
    with ringipc.SharedArray(2_500_000, "u1", path=small / "a") as shared:
        text = f"shared array '{small}/a': 2500000 bytes are needed and [0-9]* are free on its file system"
        with pytest.raises(ringipc.SystemRefused, match=text) as failure, shared.update():
            pass
        assert failure.value.filename == f"{small}/a"
        assert not shared.lock.locked()


def fill(where: Path, leave: int) -> Path:
    """Write a file that leaves this number of bytes free."""
    space = os.statvfs(where)
    hog = where / "hog"
    with hog.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - leave)
    return hog


def numbers(error: SystemRefused, where: Path) -> tuple[int, int]:
    """Return the numbers of bytes needed and free that an error reports."""
    found = re.search(rf"(\d+) bytes are needed and (\d+) are free in {where}; .*RINGIPC_DIR", str(error))
    assert found, str(error)
    return int(found[1]), int(found[2])


def test_a_lane_that_does_not_fit_reports_what_it_needs_and_leaves_nothing(small: Path) -> None:
    with pytest.raises(SystemRefused, match=r"channel 'c': a lane of 8388608 bytes: No space.*smaller capacity="):
        Producer("c", capacity="8 MiB", preallocate=True)
    with pytest.raises(SystemRefused, match=r"channel 'c': a lane's 262144 slots: No space.*fewer slots=") as caught:
        Producer("c", capacity=4096, slots=1 << 18)  # 8 MiB of descriptors
    needed, free = numbers(caught.value, small)
    assert needed > 8 << 20
    assert free < 4 << 20
    assert os.listdir(small) == []


def test_tables_that_do_not_fit_are_reported_as_tables_and_leave_nothing(small: Path) -> None:
    hog = fill(small, 32 << 10)
    with pytest.raises(SystemRefused, match="channel 'c': its tables: No space") as caught:
        Producer("c", capacity=4096)
    assert "capacity=" not in str(caught.value)
    needed, free = numbers(caught.value, small)
    assert free <= 32 << 10 < needed < 1 << 20
    assert os.listdir(small) == ["hog"]
    hog.unlink()
    fill(small, 4096)
    with pytest.raises(SystemRefused, match="lock 'l': No space") as caught:
        Lock("l")
    assert numbers(caught.value, small)[1] <= 4096
    assert os.listdir(small) == ["hog"]


def test_claims_that_do_not_fit_are_reported_and_the_producer_continues(small: Path) -> None:
    with Producer("c", capacity=4096, slots=1 << 15, groups=["g"]) as producer:
        hog = fill(small, 4096)
        with pytest.raises(SystemRefused, match=r"claims of its group.*fewer slots=") as caught:
            Consumer("c", group="h", shared=True)
        assert numbers(caught.value, small)[0] >= 8 << 15
        producer.put(b"on")
        hog.unlink()
        with Consumer("c", group="g", shared=True) as consumer:
            assert consumer.get(timeout=1) == b"on"
    assert os.listdir(small) == []


def test_a_file_system_without_room_for_more_files_is_reported(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for where in mount("size=4m,nr_inodes=3"):
        monkeypatch.setenv("RINGIPC_DIR", str(where))
        with pytest.raises(SystemRefused, match=f"{where} has its maximum of files; remove some"):
            Producer("c", capacity=4096)
        assert os.listdir(where) == []


def test_insufficient_memory_is_reported() -> None:
    with (
        Channel.anonymous() as channel,
        pytest.raises(SystemRefused, match=r"\d+ bytes of memory are needed and \d+ are avail"),
    ):
        Producer(channel, capacity="64 TiB", preallocate=True)


# ---- limits of a process ----


def said(limit: str, value: int, code: str) -> str:
    start = f"import resource, ringipc\nresource.setrlimit(resource.{limit}, ({value}, {value}))\n"
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


@pytest.mark.parametrize(("most", "what"), [(4 << 20, "a lane of 8388608 bytes"), (100_000, "its tables")])
def test_a_file_beyond_the_limit_on_sizes_is_reported_and_leaves_nothing(base: str, most: int, what: str) -> None:
    text = said(
        "RLIMIT_FSIZE",
        most,
        """
try:
    ringipc.Producer("c", capacity="8 MiB", slots=1 << 15)
except ringipc.SystemRefused as error:
    print(error)
""",
    )
    assert f"channel 'c': {what}: File too large: a file of " in text
    assert f"may only create files of {most} bytes" in text
    assert "ulimit -f" in text
    assert os.listdir(base) == []


def test_too_many_file_descriptors_are_reported_with_the_limit(base: str) -> None:
    text = said(
        "RLIMIT_NOFILE",
        40,
        """
kept = []
for make in (lambda: ringipc.Producer("c", capacity=4096), lambda: ringipc.Consumer("c", group=str(len(kept))),
             lambda: ringipc.Lock("l" + str(len(kept)))):
    try:
        while True:
            kept.append(make())
    except ringipc.SystemRefused as error:
        print(error)
    del kept[2:]
""",
    )
    assert text.count("this process may have 40 file descriptors open") == 3, text
    assert text.count("ulimit -n") == 3
