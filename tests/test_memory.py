"""The memory of a lane: how much it allocates, and what happens if there is no more."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ringipc import Channel, Consumer, Producer, SystemRefused
from ringipc._cleanup import names

STEP = 1 << 18


def lane_memory(base: str, lane: int = 0) -> int:
    path = Path(base) / f"ringipc-{os.geteuid()}" / "c" / f"lane-{lane}"
    return path.stat().st_blocks * 512


def test_a_small_stream_takes_little_memory_and_a_stalled_one_what_it_needs(base: str) -> None:
    with Producer("c") as producer, Consumer("c") as consumer:
        for _ in range(5000):
            producer.put(b"x" * 100)
            consumer.get(timeout=0)
        assert lane_memory(base) == STEP
        assert producer.stats.capacity == 64 << 20
        assert 0 < producer.stats.allocated < STEP
        for k in range(20):
            producer.put(np.full(1 << 20, k, "u1"))
        assert 20 << 20 < producer.stats.allocated < 22 << 20
        assert 20 << 20 < lane_memory(base) < 22 << 20
        assert [message[-1] for message in consumer.get_many(20)] == list(range(20))


def test_preallocate_allocates_the_whole_capacity_at_once(base: str) -> None:
    with Producer("c", capacity="4 MiB", preallocate=True) as producer:
        assert producer.stats.allocated == producer.stats.capacity == 4 << 20
        assert lane_memory(base) > 4 << 20


def refuses_one_and_takes_another(producer: Producer, consumer: Consumer, size: int) -> None:
    """Put with too little memory for `size` bytes: the error comes at once, and everything else works."""
    producer.put(b"before")
    for timeout in (None, 0, 5):
        with (
            pytest.raises(SystemRefused, match="memory for a message of") as caught,
            producer.reserve(size, "u1", timeout),
        ):
            pass
        assert caught.value.errno == errno.ENOSPC
    producer.put(b"after")
    assert [consumer.get(timeout=0), consumer.get(timeout=0)] == [b"before", b"after"]
    assert producer.stats.allocated < 2 * STEP
    assert producer.stats.messages == 2


def test_without_memory_for_a_message_put_fails_at_once_and_the_producer_continues(base: str) -> None:
    space = os.statvfs(base)
    size = space.f_blocks * space.f_frsize + (1 << 20)
    if size > 1 << 45:
        pytest.skip("this file system has no limit")
    with Producer("c", capacity=2 * size) as producer, Consumer("c") as consumer:
        refuses_one_and_takes_another(producer, consumer, size)


def test_without_memory_put_fails_in_an_anonymous_channel_too() -> None:
    with Channel.anonymous() as channel:
        with pytest.raises(SystemRefused, match="No space left"):
            Producer(channel, capacity="16 TiB", preallocate=True)
        with Producer(channel, capacity="16 TiB") as producer, Consumer(channel) as consumer:
            refuses_one_and_takes_another(producer, consumer, 1 << 43)


def in_a_small_tmpfs(base: str, program: str) -> None:
    """Run a program with 16 MiB for its channels, in a mount namespace of its own."""
    unshare = ["unshare", "--mount", "--propagation", "private", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = [*unshare, "sh", "-c", 'mount -t tmpfs -o size=16m none "$0" && exec "$@"', base]
    try:
        subprocess.run([*mount, "true"], check=True, timeout=30, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a tmpfs of its own needs root, or user namespaces: {error}")
    subprocess.run([*mount, sys.executable, "-c", BEGIN + program], check=True, timeout=30)


BEGIN = """
import asyncio, errno, os
import numpy as np, ringipc
from ringipc import Consumer, Producer, SystemRefused
hog = os.path.join(os.environ["RINGIPC_DIR"], "hog")

def fill_up():
    with open(hog, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC

def refused(call):
    try:
        call()
    except SystemRefused as error:
        assert error.errno == errno.ENOSPC and "'c'" in str(error), error
        return True
    return False

"""


def test_a_producer_with_default_settings_works_in_little_space_and_loses_nothing(base: str) -> None:
    in_a_small_tmpfs(
        base,
        """
other = hog + "-of-1-MiB"
with open(other, "wb") as file:
    file.write(bytes(1 << 20))
with Producer("c") as producer, Consumer("c") as consumer:
    for k in range(3000):
        producer.put(b"x" * 100)
        consumer.get(timeout=0)
    sent = 0
    while not refused(lambda: producer.put(np.full(1 << 20, sent, "u1"))):  # fails instead of waiting for room
        sent += 1
    assert 12 <= sent <= 14, sent
    frame = np.zeros(1 << 20, "u1")
    assert refused(lambda: producer.put_nowait(frame))
    assert refused(lambda: producer.put(frame, timeout=5))
    assert refused(lambda: producer.reserve(1 << 20).__enter__())
    assert refused(lambda: asyncio.run(producer.aput(frame)))
    try:
        producer.put_many([b"in", frame, b"not in"])
        raise SystemExit("it was not refused")
    except SystemRefused as error:
        assert "1 message(s) had been put before it" in error.__notes__[0], error.__notes__
    assert not producer.closed
    fill_up()
    for k in range(sent):
        assert (consumer.get(timeout=0) == k).all()
    assert consumer.get(timeout=0) == b"in"
    for k in range(100):  # in the memory that it has
        producer.put(np.full(1 << 20, k, "u1"))
        assert (consumer.get(timeout=0) == k).all()
    large = np.ones(producer.stats.allocated, "u1")  # a header more than that
    assert refused(lambda: producer.put(large))
    os.unlink(other)
    os.unlink(hog)
    producer.put(large)
    assert consumer.get(timeout=0).all()
""",
    )


def test_preallocate_in_little_space_is_refused_when_opening(base: str) -> None:
    in_a_small_tmpfs(
        base,
        """
assert refused(lambda: Producer("c", preallocate=True))
assert os.listdir(os.environ["RINGIPC_DIR"]) == []
with Producer("c", capacity="8 MiB", preallocate=True) as producer, Consumer("c") as consumer:
    fill_up()
    for k in range(7):
        producer.put(np.full(1 << 20, k, "u1"))
    assert [m[0] for m in consumer.get_many(7)] == list(range(7))
    os.unlink(hog)
""",
    )


@pytest.mark.parametrize("overflow", ["drop-new", "drop-old"])
def test_a_lane_that_drops_treats_a_lack_of_memory_as_a_lack_of_room(base: str, overflow: str) -> None:
    in_a_small_tmpfs(
        base,
        f"""
with Producer("c", overflow={overflow!r}) as producer, Consumer("c") as consumer:
    producer.put(b"first")
    assert consumer.get(timeout=0) == b"first"
    fill_up()
    for k in range(5000):
        producer.put(k.to_bytes(4, "little") * 250)
    stats = producer.stats
    assert stats.allocated < 1 << 18
    got = [int.from_bytes(m[:4], "little") for m in consumer.get_many(5000)]
    if {overflow!r} == "drop-new":
        assert stats.refused > 4000 and got == list(range(len(got))) and len(got) + stats.refused == 5000
    else:
        assert stats.dropped > 4000 and got == list(range(5000 - len(got), 5000)) and len(got) + stats.dropped == 5000
    os.unlink(hog)
    for k in range(5):
        producer.put(bytes(1 << 20))
    assert [len(m) for m in consumer.get_many(5)] == [1 << 20] * 5
""",
    )


def test_short_lived_producers_without_a_consumer_keep_only_their_messages() -> None:
    for k in range(100):
        with Producer("cron", capacity="64 KiB") as producer:
            producer.put(b"%d" % k)
    (named,) = names()
    assert named.bytes < 100 * 40 * 1024 + 400_000
    with Consumer("cron", producers=100) as consumer:
        assert sorted(map(int, consumer)) == list(range(100))
