"""Pollfds: when they are readable, for every way to wait, what they cost, and what they leave."""

import os
import select
import selectors
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import AnyChannel, Start, is_readable

from ringipc import Channel, Closed, Consumer, Empty, EndOfStream, Full, Producer, ProducerDied


def next_by(consumer: Consumer) -> bytes:
    """Get the next message by waiting for the pollfd."""
    while is_readable(consumer, 20):
        try:
            message: bytes = consumer.get(timeout=0)
        except Empty:
            continue
        return message
    raise AssertionError("not woken")


def put_by(producer: Producer) -> None:
    """Put by waiting for the pollfd."""
    while is_readable(producer, 20):
        try:
            producer.put(b"", timeout=0)
        except Full:
            continue
        return
    raise AssertionError("not woken")


def test_a_consumers_pollfd_is_readable_while_there_is_a_message(producer: Producer, consumer: Consumer) -> None:
    assert consumer.fileno() == consumer.fileno()
    assert not is_readable(consumer)
    for _ in range(3):
        producer.put(b"a")
        assert is_readable(consumer)
        producer.put_many([b"b", b"c"])
        assert consumer.get() == b"a"
        assert is_readable(consumer)
        assert consumer.get_many(9) == [b"b", b"c"]
        assert not is_readable(consumer)
    producer.put(np.zeros(3))
    view = consumer.get()
    assert not is_readable(consumer)  # a message that is taken does not count
    del view
    producer.put(b"", type=1)
    producer.put(b"", type=2)
    consumer.get(type=2)
    assert is_readable(consumer)
    consumer.latest()
    assert not is_readable(consumer)
    with pytest.raises(Empty):
        consumer.get_nowait()
    assert not is_readable(consumer)
    producer.put(b"")
    with consumer.message():
        assert not is_readable(consumer)


def test_a_message_put_before_fileno_makes_the_pollfd_readable(producer: Producer, consumer: Consumer) -> None:
    producer.put(b"a")
    assert is_readable(consumer)


def test_a_producers_pollfd_is_readable_while_there_is_room() -> None:
    with Producer("c", capacity=4096, slots=2) as producer, Consumer("c") as consumer:
        assert is_readable(producer)
        producer.put(b"x")
        assert is_readable(producer)
        producer.put(b"x")
        assert not is_readable(producer)
        consumer.get()
        assert is_readable(producer)
        with pytest.raises(Full):
            producer.put(bytes(4096), timeout=0)
        assert not is_readable(producer)  # there is no room for that size
        consumer.get()
        assert is_readable(producer)
        with producer.reserve(4000):
            pass
        assert not is_readable(producer)
        consumer.latest()
        assert is_readable(producer)


def test_the_end_of_the_stream_makes_the_pollfd_readable() -> None:
    with Producer("c", capacity=4096) as producer:
        consumer = Consumer("c")
        assert not is_readable(consumer)
    assert is_readable(consumer)
    with pytest.raises(EndOfStream):
        consumer.get(timeout=0)
    assert is_readable(consumer)
    assert producer.closed
    consumer.close()


def hold_then_die(channel: AnyChannel, messages: int) -> None:
    producer = Producer(channel, capacity=4096)
    for k in range(messages):
        producer.put(b"%d" % k)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_producers_death_makes_the_pollfd_readable(any_channel: AnyChannel, start: Start) -> None:
    with Producer(any_channel, capacity=4096), Consumer(any_channel) as consumer:
        assert not is_readable(consumer)
        start(hold_then_die, any_channel, 1)
        assert next_by(consumer) == b"0"
        assert not is_readable(consumer)
        before = time.monotonic()
        with pytest.raises(ProducerDied):
            next_by(consumer)
        assert time.monotonic() - before < 2.5
        assert not is_readable(consumer)


def test_a_death_before_fileno_makes_the_pollfd_readable(start: Start) -> None:
    with Producer("c", capacity=4096), Consumer("c") as consumer:
        start(hold_then_die, "c", 0).join(20)
        with pytest.raises(ProducerDied):
            next_by(consumer)


def read_one_and_die(channel: AnyChannel) -> None:
    consumer = Consumer(channel, group="dies", timeout=20)
    consumer.get(timeout=20)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_consumers_death_makes_room_and_the_pollfd_readable(any_channel: AnyChannel, start: Start) -> None:
    with (
        Producer(any_channel, capacity=4096, slots=4) as producer,
        Consumer(any_channel, group="stays") as stays,
    ):
        start(read_one_and_die, any_channel)
        channel = Channel.open(any_channel) if isinstance(any_channel, str) else any_channel
        while len(channel.groups) < 2:
            time.sleep(0.01)
        producer.put_many([b""] * 4)
        assert len(stays.get_many(4)) == 4
        put_by(producer)
        before = time.monotonic()
        put_by(producer)
        assert time.monotonic() - before < 2.5


def echo(channel: AnyChannel, count: int, seed: int) -> None:
    """Wait in epoll for each message, and for room for each answer."""
    rng = np.random.default_rng(seed)
    with Consumer(channel, group=f"g{seed}", timeout=20) as consumer, Producer("back", capacity=4096, slots=4) as back:
        poller = select.epoll()
        poller.register(consumer, select.EPOLLIN)
        done = 0
        while done < count:
            assert poller.poll(20), "not woken"
            for _ in range(rng.integers(1, 4)):
                try:
                    message = consumer.get_nowait()
                except (Empty, EndOfStream):
                    break
                while True:
                    try:
                        back.put_nowait(message)
                        break
                    except Full:
                        assert is_readable(back, 20), "not woken"
                done += 1
            if rng.random() < 0.05:
                time.sleep(float(rng.random()) * 1e-3)
        poller.close()


def test_no_wake_up_is_lost_between_processes(any_channel: AnyChannel, start: Start) -> None:
    count, echoes = 4000, 2
    with (
        Producer(any_channel, capacity=1 << 16, slots=16, groups=[f"g{k}" for k in range(echoes)]) as there,
        Producer("back", capacity=4096) as own,
        Consumer("back") as back,
    ):
        for seed in range(echoes):
            start(echo, any_channel, count, seed)
        selector = selectors.DefaultSelector()
        selector.register(back, selectors.EVENT_READ, "get")
        selector.register(there, selectors.EVENT_READ, "put")
        put = got = 0
        while got < count * echoes:
            ready = selector.select(20)
            assert ready, f"a wake-up was lost: {put} put, {got} got"
            for key, _ in ready:
                if key.data == "get":
                    try:
                        back.get_nowait()
                        own.close()
                        got += 1
                    except Empty:
                        pass
                elif put < count:
                    try:
                        there.put_nowait(b"%d" % put)
                    except Full:  # spurious: the waker was slower than the room that it reported
                        continue
                    put += 1
                    if put == count:
                        selector.unregister(there)
        selector.close()
        back.close()


def test_a_pollfd_is_written_once_per_idle_period(producer: Producer, consumer: Consumer, tmp_path: object) -> None:
    consumer.fileno()
    producer.put_many([b""] * 10)
    for _ in range(1000):
        producer.put(b"")
    base = os.environ["RINGIPC_DIR"]
    (pipe,) = [
        os.path.join(where, name) for where, _, names in os.walk(base) for name in names if name.startswith("pollfd-")
    ]
    fd = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(fd, 100) == b"\0"
    os.close(fd)
    consumer.get_many(2000)


def test_a_pollfd_is_closed_with_its_handle() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with Producer("c", capacity=4096) as producer, Consumer("c") as consumer:
            producer.fileno()
            fd = consumer.fileno()
            assert not os.get_inheritable(fd)
        with pytest.raises(Closed):
            consumer.fileno()
        with pytest.raises(OSError):
            os.fstat(fd)
    assert set(os.listdir("/proc/self/fd")) == before


def inherited(fd: int) -> None:
    with pytest.raises(OSError):
        os.fstat(fd)


@pytest.mark.filterwarnings("ignore:This process")
def test_a_child_inherits_no_pollfd(producer: Producer, consumer: Consumer, start: Start) -> None:
    start(inherited, consumer.fileno(), method="fork").join(20)
    code = f"import os\ntry: os.fstat({consumer.fileno()})\nexcept OSError: print('closed')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "closed\n"
    producer.put(b"")
    assert is_readable(consumer)


def test_each_member_of_a_shared_group_has_a_pollfd(producer: Producer) -> None:
    with Consumer("c", shared=True) as one, Consumer("c", shared=True) as two:
        assert not is_readable(one)
        assert not is_readable(two)
        producer.put(b"a")
        assert is_readable(one)
        assert is_readable(two)
        held = one.message()
        with pytest.raises(Empty):
            two.get_nowait()
        assert not is_readable(two)
        held.release()
        producer.put(b"b")
        assert two.get() == b"b"


def test_without_fileno_no_pollfd_is_made(producer: Producer, consumer: Consumer) -> None:
    with pytest.raises(Empty):
        consumer.get(timeout=0.01)
    producer.put(b"")
    assert not [name for _, _, names in os.walk(os.environ["RINGIPC_DIR"]) for name in names if "pollfd" in name]
