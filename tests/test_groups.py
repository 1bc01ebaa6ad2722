"""Declared and durable groups; inspecting a channel, and removing it."""

import os
import signal
import time

import numpy as np
import pytest
from conftest import Start

import ringipc
from ringipc import (
    Channel,
    ChannelBusy,
    ChannelNotFound,
    Consumer,
    Empty,
    EndOfStream,
    Full,
    GroupBusy,
    Incompatible,
    Producer,
    ProducerDied,
)
from ringipc._cleanup import names
from ringipc._opening import Overflow


def test_a_declared_group_misses_nothing() -> None:
    with Producer("c", capacity=4096, groups=["late", "later"]) as producer:
        with Consumer("c") as early:
            for k in range(50):
                producer.put(b"%d" % k)
                assert early.get(timeout=1) == b"%d" % k
        assert producer.stats.backlog == 50
        with Consumer("c", group="late", start="newest") as late:
            assert late.get_many(99) == [b"%d" % k for k in range(50)]
        with Consumer("c", group="later", shared=True) as one, Consumer("c", group="later", shared=True) as two:
            assert one.get() == b"0"
            assert two.get_many(99) == [b"%d" % k for k in range(1, 50)]
        assert producer.stats.backlog == 0


@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
@pytest.mark.parametrize("overflow", ["block", "drop-old"])
def test_a_group_is_declared_also_if_its_consumer_has_joined_before(shared: bool, overflow: Overflow) -> None:
    with Channel.anonymous() as channel:
        consumer = Consumer(channel, group="work", shared=shared)
        with Producer(channel, capacity=4096, overflow=overflow, groups=["work"]) as producer:
            producer.put_many([b"first", b"second", b"third"])
        assert consumer.get(timeout=5) == b"first"
        consumer.close()
        for message in b"second", b"third":
            with Consumer(channel, group="work", shared=shared) as another:
                assert another.get(timeout=5) == message


def keep_a_view_until_killed(channel: Channel) -> None:
    with Consumer(channel, group="work") as consumer:
        consumer.get()
        view = consumer.get()
        consumer.get()  # the view is done, and kept
        consumer.get()
        assert view[0] == 1
        signal.pause()


def test_a_killed_consumer_of_a_group_that_was_declared_later_loses_nothing(start: Start) -> None:
    with Channel.anonymous() as channel:
        consumer = start(keep_a_view_until_killed, channel)
        while not channel.groups:
            time.sleep(0.01)
        with Producer(channel, capacity="1 MiB", slots=4, groups=["work"]) as producer:
            for k in range(4):
                producer.put(np.full(1000, k))
            while producer.stats.backlog > 3:
                time.sleep(0.01)
            time.sleep(0.2)
            consumer.kill()
            consumer.join()
            producer.put(np.full(1000, 4), timeout=10)  # what the view kept is free
        with Consumer(channel, group="work") as another:
            assert [int(array[0]) for array in another] == [4]


def test_a_declared_group_without_a_member_holds_the_producer_back_and_is_named() -> None:
    with Producer("c", capacity=4096, slots=2, groups=["late"]) as producer:
        with Consumer("c"):
            producer.put_many([b"", b""])
            with pytest.raises(Full, match=r"group 'late' \(without a member now\) has not released 2 messages"):
                producer.put(b"", timeout=0)
        with Consumer("c", group="late") as late:
            assert len(late.get_many(9)) == 2
        assert [group.name for group in ringipc.Channel.open("c").groups] == ["late"]  # it stays while producers come


def test_messages_for_a_declared_group_outlive_the_producer() -> None:
    with Producer("c", capacity=4096, groups=["late"]) as producer, Consumer("c") as other:
        producer.put(b"kept")
        assert other.get() == b"kept"
    with Consumer("c", group="late", timeout=0) as late:
        assert list(late) == [b"kept"]


def test_declaring_again_changes_nothing() -> None:
    with Producer("c", capacity=4096, groups=["g"]) as first, Consumer("c", group="g") as consumer:
        first.put(b"a")
        with Producer("c", capacity=4096, groups=["g"]) as second:
            second.put(b"b")
            assert {consumer.get(), consumer.get()} == {b"a", b"b"}
    with pytest.raises(TypeError, match="list of names"):
        Producer("c", groups="g")
    with pytest.raises(ValueError, match="group's name"):
        Producer("c", groups=[""])


def test_too_many_declared_groups_leave_nothing_behind() -> None:
    with pytest.raises(ringipc.TableFull, match="32 groups"):
        Producer("c", capacity=4096, groups=[f"g{k}" for k in range(33)])
    assert names() == []


@pytest.mark.parametrize("shared", [False, True])
def test_a_durable_group_continues_where_it_stopped(shared: bool) -> None:
    with Producer("c", capacity=1 << 16) as producer:
        with Consumer("c", shared=shared, durable=True) as first:
            producer.put_many([b"%d" % k for k in range(10)])
            assert first.get_many(3) == [b"0", b"1", b"2"]
            assert first.get(where=lambda m: m.seq == 7) == b"7"
        producer.put(b"10")
        with pytest.raises(Incompatible):
            Consumer("c", shared=not shared)
        with Consumer("c", shared=shared) as second:  # it stays durable
            assert second.get_many(4) == [b"3", b"4", b"5", b"6"]
        with Consumer("c", shared=shared) as third:
            assert third.get_many(9) == [b"8", b"9", b"10"]
        assert producer.stats.backlog == 0
    ringipc.Channel.open("c").remove()


def test_a_durable_group_outlives_everybody() -> None:
    with Producer("c", capacity=4096) as producer, Consumer("c", group="g", durable=True):
        producer.put(b"kept")
    with Producer("c", capacity=4096) as producer:
        producer.put(b"too")
    with Consumer("c", group="g", timeout=0) as consumer:
        assert {consumer.get(timeout=0), consumer.get(timeout=0)} == {b"kept", b"too"}
        with pytest.raises(EndOfStream):
            consumer.get(timeout=5)
    ringipc.Channel.open("c").remove_group("g")
    with pytest.raises(ChannelNotFound):  # nothing kept the channel
        ringipc.Channel.open("c")


def test_an_exclusive_durable_group_has_one_member(producer: Producer) -> None:
    with Consumer("c", durable=True):
        with pytest.raises(GroupBusy, match=f"pid {os.getpid()}"):
            Consumer("c", durable=True)
        with pytest.raises(GroupBusy, match=f"pid {os.getpid()}"):
            ringipc.Channel.open("c").remove_group("default")
    ringipc.Channel.open("c").remove_group("default")
    with pytest.raises(ringipc.GroupNotFound, match=r"^channel 'c' has no group"):
        ringipc.Channel.open("c").remove_group("default")


def take_and_die(shared: bool) -> None:
    consumer = Consumer("c", shared=shared, durable=True)
    held = [consumer.message(), consumer.message(), consumer.message()]
    held[1].release()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("shared", [False, True])
def test_messages_of_a_killed_last_member_are_marked_redelivered(
    start: Start, producer: Producer, shared: bool
) -> None:
    with Consumer("c", shared=shared, durable=True):
        producer.put_many([b"%d" % k for k in range(5)])
    start(take_and_die, shared).join(20)
    with Consumer("c", shared=shared) as consumer:
        messages = [consumer.message(timeout=5) for _ in range(4)]
        assert [(m.payload, m.redelivered) for m in messages] == [
            (b"0", True),
            (b"2", True),
            (b"3", False),
            (b"4", False),
        ]
        del messages
    ringipc.Channel.open("c").remove_group("default")


def select_and_die() -> None:
    with Consumer("c", copy=True) as consumer:
        assert [consumer.get(), consumer.get(type=1)] == [b"0", b"2"]
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_new_group_starts_at_the_oldest_message_that_the_last_one_had_not_released(
    start: Start, producer: Producer
) -> None:
    for k, type in enumerate([0, 0, 1, 0]):
        producer.put(b"%d" % k, type=type)
    start(select_and_die).join(20)
    with Consumer("c", group="next") as consumer:
        messages = [consumer.message(timeout=5) for _ in range(3)]
        assert [(m.payload, m.redelivered) for m in messages] == [(b"1", False), (b"2", False), (b"3", False)]
        del messages


@pytest.mark.long
def test_successive_members_of_a_durable_group_read_the_stream_once(start: Start) -> None:
    """Members join, read and are killed: no released message is redelivered, and taken ones are marked."""
    rounds, count = 5, 1200
    keeper = Producer("c", capacity=4096, groups=["g"])
    feeder = start(feed, count)
    results = Consumer("done", group="r", timeout=30)
    seen: list[tuple[int, bool]] = []
    for life in range(rounds):
        reader = start(live, life, life == rounds - 1)
        while True:
            try:
                number, redelivered = results.get(timeout=30)
            except (ProducerDied, EndOfStream):
                break
            seen.append((int(number), bool(redelivered)))
        reader.join(20)
        assert reader.exitcode == (-9 if life < rounds - 1 else 0)
    feeder.join(20)
    results.close()
    keeper.close()
    numbers = [number for number, _ in seen]
    assert sorted(set(numbers)) == list(range(count))
    twice = [k for k, (number, _) in enumerate(seen) if number in numbers[:k]]
    assert all(seen[k][1] for k in twice)
    assert len(twice) <= rounds
    ringipc.Channel.open("c").remove()


def feed(count: int) -> None:
    with Producer("done", capacity=4096, groups=["r"]), Producer("c", capacity=1 << 16, slots=32) as producer:
        for k in range(count):
            producer.put(np.array([k]), timeout=30)
        producer.flush(timeout=30)


def live(life: int, last: bool) -> None:
    rng = np.random.default_rng(life)
    left = int(rng.integers(1, 100))
    with Producer("done", capacity=1 << 16) as done, Consumer("c", group="g", durable=True) as consumer:
        while True:
            try:
                message = consumer.message(timeout=0.2 if last else 30)
            except Empty:
                return
            done.put(np.array([message.payload[0], message.redelivered]), timeout=30)
            left -= 1
            if left == 0 and not last:
                os.kill(os.getpid(), signal.SIGKILL)
            message.release()


def test_inspecting_shows_the_lanes_groups_and_pids_of_a_channel(producer: Producer) -> None:
    channel = ringipc.Channel.open("c")
    with Consumer("c", group="work", shared=True), Consumer("c", group="work", shared=True, durable=True):
        producer.put_many([b"a", b"b"])
        (lane,) = channel.lanes
        assert (lane.pid, lane.state, lane.messages) == (os.getpid(), "live", 2)
        (group,) = channel.groups
        assert (group.name, group.shared, group.durable, group.backlog) == ("work", True, True, 2)
        assert group.pids == [os.getpid()] * 2
        assert channel.pids == [os.getpid()] * 3
        with pytest.raises(ChannelBusy, match=f"has members: pid {os.getpid()}"):
            channel.remove()
    producer.close()
    assert [lane.state for lane in channel.lanes] == ["ended"]
    assert channel.groups[0].pids == []
    channel.remove()
    for what in (lambda: channel.lanes, channel.remove, lambda: channel.remove_group("work")):
        with pytest.raises(ChannelNotFound):
            what()
    assert repr(channel) == "<Channel 'c'>"


def die() -> None:
    producer = Producer("c", capacity=4096)
    producer.put(b"left behind")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_channel_that_dead_processes_left_can_be_inspected_and_removed(start: Start) -> None:
    start(die).join(20)
    channel = ringipc.Channel.open("c")
    assert [lane.state for lane in channel.lanes] == ["dead"]
    channel.remove()


def test_selecting_by_type_does_not_count_as_missing(producer: Producer) -> None:
    with Consumer("c", durable=True) as consumer:
        for k in range(3000):
            producer.put(b"%d" % k, type=k % 2)
            if k % 2:
                assert consumer.get(type=1) == b"%d" % k
            elif k > 100:
                with consumer.message() as message:
                    assert message.missed == 0
    ringipc.Channel.open("c").remove_group("default")


def test_a_declared_group_keeps_what_its_only_worker_has_not_done(start: Start) -> None:
    """The worker leaves, another is killed, and the producer has gone: the rest waits for the next worker."""
    with Producer("c", capacity="1 MiB", groups=["work"]) as producer:
        producer.put_many([{"id": k} for k in range(6)])
        with Consumer("c", group="work", shared=True) as first:
            assert [first.get()["id"], first.get()["id"]] == [0, 1]
        start(get_two_and_die).join(20)
        with pytest.raises(Incompatible):  # the first consumer has decided what it is
            Consumer("c", group="work")
    with Consumer("c", group="work", shared=True, timeout=0) as last:
        messages = [last.message(timeout=5) for _ in range(3)]
        assert [(m.payload["id"], m.deliveries) for m in messages] == [(3, 2), (4, 1), (5, 1)]
        for message in messages:
            message.release()
        with pytest.raises(EndOfStream):
            last.get(timeout=5)
    assert names() == []  # all is done, and nobody is there


def get_two_and_die() -> None:
    consumer = Consumer("c", group="work", shared=True)
    assert [consumer.get()["id"], consumer.get()["id"]] == [2, 3]
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_declared_group_that_has_read_all_gets_what_is_put_later() -> None:
    with Producer("c", capacity=4096, groups=["g"]) as producer:
        producer.put(b"1")
        with Consumer("c", group="g") as first:
            assert first.get() == b"1"
        producer.put(b"2")
    with Producer("c", capacity=4096) as producer:
        producer.put(b"3")
    with Consumer("c", group="g", timeout=0) as second:
        assert {second.get(timeout=5), second.get(timeout=5)} == {b"2", b"3"}
    assert names() == []


def test_a_declared_group_with_a_durable_member_stays_until_it_is_removed() -> None:
    with Producer("c", capacity=4096, groups=["g"]), Consumer("c", group="g", durable=True):
        pass
    assert [group.durable for group in ringipc.Channel.open("c").groups] == [True]
    ringipc.Channel.open("c").remove_group("g")
    assert names() == []
