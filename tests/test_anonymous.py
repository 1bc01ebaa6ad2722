"""Anonymous channels: how they are passed to other processes, what keeps them, and what is left of them."""

import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import Start

import ringipc
from ringipc import (
    Channel,
    ChannelNotFound,
    Closed,
    Consumer,
    Corrupt,
    Empty,
    EndOfStream,
    Incompatible,
    Producer,
    SystemRefused,
)


def answer(channel: Channel, back: Channel) -> None:
    with Consumer(channel) as consumer, Producer(back, capacity="1 MiB") as producer:
        for message in consumer:
            producer.put(message + 1)
    channel.close()
    back.close()


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_an_anonymous_channel_is_passed_to_a_process_as_an_argument(start: Start, method: str) -> None:
    with Channel.anonymous() as there, Channel.anonymous() as back:
        start(answer, there, back, method=method)
        with Producer(there, capacity="1 MiB") as producer, Consumer(back) as consumer:
            for k in range(100):
                producer.put(np.full(3, k))
                assert consumer.get(timeout=20).tolist() == [k + 1] * 3
            producer.close()
            with pytest.raises(EndOfStream):
                consumer.get(timeout=20)


def test_an_anonymous_channel_is_passed_to_another_program_as_a_file_descriptor() -> None:
    program = """
import sys, ringipc
fd = int(sys.argv[1])
with ringipc.Producer(f"fd:{fd}", capacity=4096) as producer, ringipc.Channel.from_fd(fd) as channel:
    producer.put(f"{len(channel.lanes)} {channel.name}".encode())
"""
    with Channel.anonymous() as channel:
        fd = channel.fileno()
        assert not os.get_inheritable(fd)
        subprocess.run([sys.executable, "-c", program, str(fd)], pass_fds=[fd], check=True, timeout=30)
        with Consumer(channel) as consumer:
            assert consumer.get(timeout=0) == b"1 None"


def send_to(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as end, Channel.anonymous() as channel:
        end.connect(path)
        with Producer(channel, capacity=4096) as producer:
            producer.put(b"over a socket")
            socket.send_fds(end, [b"x"], [channel.fileno()])


def test_an_anonymous_channel_is_passed_over_a_socket_and_outlives_its_creator(start: Start, base: str) -> None:
    path = os.path.join(base, "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        child = start(send_to, path)
        connection, _ = listener.accept()
        with connection:
            _, (fd,), _, _ = socket.recv_fds(connection, 1, 1)
    os.unlink(path)
    child.join(20)
    with Channel.from_fd(fd) as channel:
        os.close(fd)
        assert channel.pids == []
        with Consumer(channel) as consumer:
            assert list(consumer) == [b"over a socket"]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_an_anonymous_channel_ends_with_its_last_handle() -> None:
    before = descriptors()
    channel = Channel.anonymous()
    producer = Producer(channel, capacity=4096)
    consumer = Consumer(channel)
    channel.close()
    channel.close()
    producer.put(b"it continues")
    assert consumer.get() == b"it continues"
    producer.close()
    consumer.close()
    del producer, consumer
    Channel.anonymous()
    assert descriptors() == before


def test_a_small_channel_takes_little_memory_and_one_descriptor_for_each_handle() -> None:
    before = descriptors()
    with Channel.anonymous() as channel:
        with Producer(channel, capacity="64 KiB", slots=64) as producer, Consumer(channel) as consumer:
            for k in range(1000):
                producer.put(b"%d" % k)
                assert consumer.get() == b"%d" % k
            assert descriptors() == before + 3  # of the channel and its two handles
            assert os.fstat(channel.fileno()).st_blocks * 512 <= 100_000
            for k in range(60):  # all of the capacity, when it is needed
                producer.put(bytes([k]) * 1024)
            assert [consumer.get()[0] for _ in range(60)] == list(range(60))
            assert descriptors() == before + 3
        with Producer(channel) as producer:  # of any capacity
            producer.put(bytes(1 << 20))
            assert descriptors() == before + 2
    assert descriptors() == before


def test_channels_that_were_used_and_closed_leave_nothing() -> None:
    def use() -> None:
        with (
            Channel.anonymous() as channel,
            Producer(channel, capacity="64 KiB") as producer,
            Consumer(channel) as consumer,
        ):
            producer.put(b"x")
            assert consumer.get() == b"x"

    def maps() -> int:
        with open("/proc/self/maps") as file:
            return sum("ringipc" in line for line in file)

    use()
    before = descriptors(), maps()
    start = time.perf_counter()
    for _ in range(1000):
        use()
    assert time.perf_counter() - start < 10  # a quarter of a second on an idle machine
    assert (descriptors(), maps()) == before


def test_messages_and_durable_groups_wait_while_a_handle_is_open() -> None:
    with Channel.anonymous() as channel:
        with Producer(channel, capacity=4096, groups=["later"]) as producer:
            producer.put(b"a")
        with Producer(channel, capacity=4096) as producer, Consumer(channel, group="stays", durable=True):
            producer.put(b"b")
        (later, stays) = channel.groups
        assert (later.name, later.backlog, stays.name, stays.backlog) == ("later", 2, "stays", 2)
        with Consumer(channel, group="later") as consumer:
            assert sorted(consumer) == [b"a", b"b"]
        channel.remove_group("stays")
        assert (channel.lanes, channel.groups) == ([], [])


def test_an_anonymous_channel_can_be_inspected_and_emptied() -> None:
    with Channel.anonymous() as channel:
        assert (channel.lanes, channel.groups, channel.pids, channel.name) == ([], [], [], None)
        with Producer(channel, capacity=4096) as producer:
            producer.put(b"")
            assert [(lane.pid, lane.state, lane.messages) for lane in channel.lanes] == [(os.getpid(), "live", 1)]
            with pytest.raises(ringipc.ChannelBusy, match="descriptor"):
                channel.remove()
        assert [lane.state for lane in channel.lanes] == ["ended"]
        channel.remove()
        assert channel.lanes == []
        with Consumer(channel) as consumer, pytest.raises(Empty):  # a stream without a message
            consumer.get(timeout=0)
        with pytest.raises(KeyError):
            channel.remove_group("none")


def in_child(channel: Channel, producer: Producer) -> None:
    with pytest.raises(Closed, match="parent"):
        producer.put(b"")
    with Producer(channel, capacity=4096) as own:
        own.put(b"from the child")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_forked_child_opens_handles_of_its_own(start: Start) -> None:
    with Channel.anonymous() as channel, Producer(channel, capacity=4096) as producer, Consumer(channel) as consumer:
        start(in_child, channel, producer, method="fork").join(20)
        assert consumer.get(timeout=0) == b"from the child"
        producer.put(b"from us")
        assert consumer.get(timeout=0) == b"from us"
        assert channel.pids == [os.getpid()] * 2


def make_and_fork(channel: Channel) -> None:
    producer = Producer(channel, capacity=4096)
    producer.put(b"")
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3,))
    child.start()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.long
def test_a_forked_child_does_not_keep_its_parent_alive(start: Start) -> None:
    with Channel.anonymous() as channel, Producer(channel, capacity=4096), Consumer(channel) as consumer:
        start(make_and_fork, channel).join(20)
        assert consumer.get(timeout=20) == b""
        with pytest.raises(ringipc.ProducerDied):
            consumer.get(timeout=2)


def test_a_file_descriptor_of_another_file_is_refused() -> None:
    with open("/dev/null") as null, pytest.raises(Corrupt):
        Channel.from_fd(null.fileno())
    with pytest.raises(SystemRefused):
        Channel.from_fd(1 << 20)
    for name in ("fd:", "fd:x", "fd:-1", f"fd:{1 << 40}"):
        for make in (Channel.open, Producer, Consumer):
            with pytest.raises(ValueError, match='"fd:"'):
                make(name)
    with pytest.raises(ValueError, match='"fd:"'):
        ringipc.Semaphore("fd:3")
    event = ringipc.Event()
    with pytest.raises(Incompatible):
        Channel.from_fd(event._descriptor())
    event.close()


def test_calls_on_closed_handles_raise_closed() -> None:
    channel = Channel.anonymous()
    assert repr(channel) == f"<anonymous Channel, file descriptor {channel.fileno()}>"
    channel.close()
    assert repr(channel) == "<anonymous Channel, closed>"
    for what in (
        channel.fileno,
        channel.remove,
        lambda: channel.lanes,
        lambda: Producer(channel),
        lambda: pickle.dumps(channel),
    ):
        with pytest.raises(Closed):
            what()


def test_a_channel_cannot_be_constructed_directly() -> None:
    with pytest.raises(TypeError, match=r"Channel\.open\(name\).*Channel\.anonymous\(\)"):
        Channel()
    with pytest.raises(ChannelNotFound):
        Channel.open("absent")
    with Channel.anonymous() as one, Channel.anonymous() as other, Channel.open(f"fd:{one.fileno()}") as same:
        assert len({one.fileno(), other.fileno(), same.fileno()}) == 3
        with Producer(one, capacity=4096):
            assert [len(channel.lanes) for channel in (one, other, same)] == [1, 0, 1]


def test_a_named_channel_is_passed_by_name(producer: Producer) -> None:
    with ringipc.Channel.open("c") as named:
        with pytest.raises(ValueError, match="name"):
            named.fileno()
        with Consumer(pickle.loads(pickle.dumps(named))) as consumer:
            producer.put(b"x")
            assert consumer.get() == b"x"


def test_more_memory_than_is_available_is_refused_at_once() -> None:
    with Channel.anonymous() as channel:
        with pytest.raises(SystemRefused, match="lane of"):
            Producer(channel, capacity="64 TiB", preallocate=True)
        assert os.fstat(channel.fileno()).st_blocks * 512 < 1 << 20
