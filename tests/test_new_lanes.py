"""New lanes that a consumer cannot map at once: the table is locked, or resources are missing."""

import errno
import fcntl
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import DIE, Start, directory_of

from ringipc import Channel, Consumer, Corrupt, Empty, EndOfStream, Event, Producer, ProducerDied, SystemRefused

F_OFD_GETLK, F_OFD_SETLK = 36, 37
ON_A_SMALL_DISK = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"', "sh"]


def table(base: str) -> int:
    return os.open(directory_of(base) / "control", os.O_RDWR)


def lock(fd: int, kind: int) -> None:
    fcntl.fcntl(fd, F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 1, 0))


def is_locked(fd: int) -> bool:
    found = fcntl.fcntl(fd, F_OFD_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
    return bool(struct.unpack_from("h", found)[0] != fcntl.F_UNLCK)


@contextmanager
def locked(base: str) -> Iterator[None]:
    """Lock the table of lanes, as a process does that is stopped while it changes the table."""
    fd = table(base)
    lock(fd, fcntl.F_WRLCK)
    try:
        yield
    finally:
        os.close(fd)


def lock_again_and_again(base: str, ready: Event, enough: Event) -> None:
    fd = table(base)
    ready.set()
    while not enough.is_set():
        try:
            lock(fd, fcntl.F_WRLCK)
            time.sleep(0.002)
            lock(fd, fcntl.F_UNLCK)
        except BlockingIOError:
            pass  # lets others lock it
        time.sleep(0.0005)


def test_a_message_can_be_got_at_once_while_others_lock_the_table_for_moments(base: str, start: Start) -> None:
    ready, enough = Event("ready"), Event("enough")
    with Producer("c", capacity=4096), Consumer("c") as consumer:
        start(lock_again_and_again, base, ready, enough)
        assert ready.wait(20)
        fd = table(base)
        for k in range(8):
            with Producer("c", capacity=4096) as producer:
                producer.put(b"%d" % k)
                while not is_locked(fd):
                    pass
                assert consumer.get_nowait() == b"%d" % k
        os.close(fd)
        enough.set()
    ready.close()
    enough.close()


def test_a_get_beside_a_stopped_process_neither_spins_nor_freezes(base: str) -> None:
    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    with Producer("c", capacity=4096) as known, Consumer("c") as consumer, Producer("c", capacity=4096) as new:
        new.put(b"new")
        with locked(base):
            before = time.monotonic()
            with pytest.raises(Empty):
                consumer.get_nowait()
            assert time.monotonic() - before < 5  # a wait for the lock would not end
            cpu = time.process_time()
            with pytest.raises(Empty):
                consumer.get(timeout=0.7)
            assert time.process_time() - cpu < 0.35  # spinning would take 0.7 s
            known.put(b"known")
            assert consumer.get(timeout=5) == b"known"
            was = signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            before = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                consumer.get()
            assert time.monotonic() - before < 5  # else it would not end
            signal.signal(signal.SIGALRM, was)
        assert consumer.get(timeout=5) == b"new"


def test_a_new_lane_is_found_soon_after_the_table_is_free_again(base: str) -> None:
    took = []
    with Producer("c", capacity=4096), Consumer("c") as consumer:
        for _ in range(5):
            with Producer("c", capacity=4096) as new:
                new.put(b"new")
                with locked(base), pytest.raises(Empty):
                    consumer.get(timeout=0.05)
                before = time.monotonic()
                assert consumer.get(timeout=5) == b"new"
                took.append(time.monotonic() - before)
    assert min(took) < 0.3  # sooner than the next check for dead members, half a second later


def wakes(consumer: Consumer, seconds: float) -> int:
    """Count how often the pollfd is readable without a message, until there is one, or the time is up."""
    poll = select.poll()
    poll.register(consumer.fileno(), select.POLLIN)
    end = time.monotonic() + seconds
    in_vain = 0
    while (left := end - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            try:
                consumer.get_nowait()
                break
            except Empty:
                in_vain += 1
            except ProducerDied:
                continue
    return in_vain


def test_a_pollfd_beside_a_stopped_process_is_not_readable_all_the_time(base: str) -> None:
    with Producer("c", capacity=4096), Consumer("c") as consumer:
        consumer.fileno()
        with Producer("c", capacity=4096) as new:
            with locked(base):
                new.put(b"new")
                assert wakes(consumer, 0.3) < 20
            assert wakes(consumer, 2) < 20
            assert consumer.stats.messages == 1


OPEN_WHEN_TOLD = """
import ringipc, sys
print("ready", flush=True)
input()
with ringipc.Producer("c", capacity=4096) as producer:
    print("open", flush=True)
    input()
"""


@pytest.mark.long
def test_a_new_member_that_reaps_the_dead_does_not_make_pollfds_spin() -> None:
    with Producer("c", capacity=4096) as producer, Consumer("c") as consumer:
        for _ in range(3):
            consumer.fileno()
            with subprocess.Popen(
                [sys.executable, "-c", OPEN_WHEN_TOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as newcomer:
                assert newcomer.stdin
                assert newcomer.stdout
                assert newcomer.stdout.readline() == "ready\n"
                subprocess.run([sys.executable, "-c", DIE])
                newcomer.stdin.write("\n")
                newcomer.stdin.flush()
                assert wakes(consumer, 0.3) < 30
                producer.put(b"x")
                assert wakes(consumer, 2) < 30
                newcomer.stdin.write("\n")


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("shared", [False, True])
def test_a_lane_that_cannot_be_mapped_is_reported_once_and_the_others_continue(shared: bool) -> None:
    with Producer("c", capacity=4096) as known, Consumer("c", shared=shared) as consumer:
        consumer.fileno()
        with Producer("c", capacity=4096) as new:
            new.put(b"new")
            known.put(b"0")
            with no_more_descriptors():
                reported = 0
                for k in range(20):
                    try:
                        assert consumer.get(timeout=1) == b"%d" % k
                    except SystemRefused as error:
                        reported += error.errno == errno.EMFILE
                        assert consumer.get(timeout=1) == b"%d" % k
                    known.put(b"%d" % (k + 1))
                assert reported == 1
                assert consumer.get(timeout=1) == b"20"
                cpu = time.process_time()
                with pytest.raises(Empty):
                    consumer.get(timeout=0.5)  # it is not the end of the stream either
                assert time.process_time() - cpu < 0.25  # spinning would take 0.5 s
            assert consumer.get(timeout=1) == b"new"
            new.close()
            known.close()
            assert list(consumer) == []


FULL = """
import os, ringipc, sys
from ringipc import Consumer, Producer
base = os.environ["RINGIPC_DIR"]
how = {"shared": True} if sys.argv[1] == "shared" else {"durable": True}
known = Producer("q", capacity=4096, slots=64)
consumer = Consumer("q", **how)
new = Producer("q", capacity=4096, slots=64)
new.put(b"new")
with open(f"{base}/hog", "wb", buffering=0) as hog:
    try:
        while True:
            hog.write(bytes(4096))
    except OSError:
        pass
reported = 0
for k in range(20):
    known.put(b"%d" % k)
    try:
        got = consumer.get(timeout=1)
    except ringipc.SystemRefused as error:
        assert error.errno == 28
        reported += 1
        got = consumer.get(timeout=1)
    assert got == b"%d" % k, got
assert reported == 1
os.unlink(f"{base}/hog")
assert consumer.get(timeout=1) == b"new"
"""


@pytest.mark.skipif(
    subprocess.run([*ON_A_SMALL_DISK, "/mnt", "true"], capture_output=True).returncode != 0,
    reason="the kernel refuses a mount namespace",
)
@pytest.mark.parametrize("how", ["shared", "durable"])
def test_claims_without_space_are_reported_once_and_the_other_lanes_continue(base: str, how: str) -> None:
    subprocess.run([*ON_A_SMALL_DISK, base, sys.executable, "-c", FULL, how], check=True, timeout=20)


def unlink(base: str, name: str) -> None:
    (path,) = Path(base).glob(f"*/c/{name}")
    path.unlink()


def test_a_group_that_could_not_read_a_lane_is_not_made(base: str) -> None:
    with Producer("c", capacity=4096, slots=4) as producer, Consumer("c") as consumer:
        unlink(base, "lane-0")
        with pytest.raises(Corrupt):
            Consumer("c", group="late")
        with pytest.raises(Corrupt):
            Producer("c", capacity=4096, groups=["declared"])
        assert [group.name for group in Channel.open("c").groups] == ["default"]
        for k in range(20):  # no group holds it back
            producer.put(b"%d" % k, timeout=1)
            assert consumer.get(timeout=1) == b"%d" % k


def test_a_live_lane_without_its_file_is_reported_and_does_not_end_the_stream(base: str) -> None:
    with Producer("c", capacity=4096) as known, Consumer("c") as consumer, Producer("c", capacity=4096) as lost:
        unlink(base, "lane-1")
        known.put(b"x")
        known.close()
        got = []
        with pytest.raises(Corrupt):
            while True:
                got.append(consumer.get(timeout=1))
        got += [consumer.get(timeout=1)] if not got else []
        assert got == [b"x"]
        with pytest.raises(Empty):
            consumer.get(timeout=0.3)
        lost.put(b"no consumer can read this")
        lost.close()
        with pytest.raises(EndOfStream):
            consumer.get(timeout=2)
