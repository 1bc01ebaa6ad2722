"""Several producers, several groups, and full lanes, over every transport."""

import contextlib
import os
import queue
import random
import threading
import time
from collections import Counter

import numpy as np
import pytest

import ringipc
from ringipc import Consumer, Empty, EndOfStream, Full, GroupBusy, Incompatible, Producer, TimedOut

from .ways import LISTENING, MANY, Way, certificate, eventually, no_trace, over, way

__all__ = ["certificate", "no_trace", "way"]
pytestmark = pytest.mark.usefixtures("no_trace")


def numbers(consumer: Consumer, count: int) -> list[int]:
    return [int(consumer.get(timeout=5)[-6:]) for _ in range(count)]


def put_until_full(producer: Producer, size: int) -> int:
    """Put messages of this size until the lane is full; return their number. Each contains its number."""
    for k in range(100_000):
        try:
            producer.put(b"%0*d" % (size, k), timeout=0.05)
        except Full:
            return k
    pytest.fail("no end")


def test_a_consumer_that_does_not_read_stops_the_producer(way: Way) -> None:
    """The backlog is bounded, and no message is lost when it reads again."""
    with way.both({"capacity": 1 << 18}) as (producer, consumer):
        sent = put_until_full(producer, 8192)
        assert 20 <= sent <= (4 * (1 << 18) + (1 << 20)) // 8192
        with pytest.raises(Full):
            producer.put_nowait(bytes(8192))
        with pytest.raises(TimedOut):
            producer.flush(timeout=0.01)
        assert numbers(consumer, sent) == list(range(sent))
        producer.put(b"%d" % sent, timeout=5)
        assert numbers(consumer, 1) == [sent]
        producer.flush(timeout=5)


def test_a_lack_of_slots_stops_the_producer_too(way: Way) -> None:
    with way.both({"slots": 4}) as (producer, consumer):
        if way.name not in ("pipe", "fifo"):
            assert put_until_full(producer, 1) == 4
            assert numbers(consumer, 4) == [0, 1, 2, 3]
        got: list[int] = []
        reader = threading.Thread(target=lambda: got.extend(numbers(consumer, 3000)))
        reader.start()
        for k in range(3000):
            producer.put(b"%d" % k, timeout=5)
        reader.join(10)
        assert got == list(range(3000))


@pytest.mark.long
@pytest.mark.parametrize("overflow", ["drop-new", "drop-old"])
def test_losses_of_a_full_lane_are_counted(way: Way, overflow: str) -> None:
    with way.both({"capacity": 1 << 16, "slots": 8, "overflow": overflow}) as (producer, consumer):
        rng = random.Random(1)
        got: list[int] = []
        missed = 0

        def read(timeout: float) -> None:
            nonlocal missed
            with consumer.message(timeout=timeout) as message:
                got.append(int(message.payload))
                missed += message.missed

        for k in range(3000):
            producer.put(b"%0*d" % (rng.randrange(4, 4000), k))
            if rng.random() < 0.2:
                with contextlib.suppress(Empty):
                    read(0)
        with contextlib.suppress(Empty):
            while True:
                read(0.1)
        producer.put(b"3000")
        read(5)
        assert got == sorted(set(got))
        assert got[-1] == 3000
        assert missed > 1000 or way.name in ("pipe", "fifo")  # the buffer of the kernel holds many
        stats = producer.stats
        assert len(got) + stats.refused + stats.dropped == 3001
        if overflow == "drop-new":
            assert missed == consumer.stats.missed == stats.refused
        else:  # refusals that only a dropped message would report are not reported
            assert stats.dropped <= missed <= consumer.stats.missed <= stats.dropped + stats.refused


@over(*MANY)
def test_each_group_gets_every_message(way: Way) -> None:
    with way.producer(slots=64) as producer:
        with contextlib.ExitStack() as stack:
            groups = [stack.enter_context(way.consumer(group=f"group {k}")) for k in range(3)]
            producer.put_many([b"%d" % k for k in range(50)])
            assert [numbers(each, 50) for each in groups] == [list(range(50))] * 3
            sent = put_until_full(producer, 1)  # until the slowest group holds the producer back
            assert numbers(groups[0], sent) == list(range(sent))
            with pytest.raises(Full):
                producer.put(b"", timeout=0.05)
            for each in groups[1:]:
                assert numbers(each, sent) == list(range(sent))
            producer.put(b"0", timeout=5)
            assert [numbers(each, 1) for each in groups] == [[0]] * 3


@over(*MANY)
def test_an_exclusive_group_admits_one_member_and_names_it(way: Way) -> None:
    with way.producer() as producer, way.consumer(group="one") as consumer:
        with pytest.raises(GroupBusy, match=f"'one'.*{os.getpid()}"):
            way.consumer(group="one")
        with pytest.raises(Incompatible, match="'one'"):
            way.consumer(group="one", shared=True)
        producer.put(b"1")
        assert numbers(consumer, 1) == [1]
        consumer.close()

        def come() -> bool:
            with contextlib.suppress(GroupBusy), way.consumer(group="one") as another:
                producer.put(b"2")
                return numbers(another, 1) == [2]
            return False

        eventually(come)


@over(*MANY)
def test_members_of_a_shared_group_share_the_messages(way: Way) -> None:
    with contextlib.ExitStack() as stack:
        producer = stack.enter_context(way.producer())
        members = [stack.enter_context(way.consumer(group="work", shared=True)) for _ in range(3)]
        got: list[list[int]] = [[], [], []]

        def work(which: int) -> None:
            for message in members[which]:
                got[which].append(int(message))
                time.sleep(0.0005)

        threads = [threading.Thread(target=work, args=[which]) for which in range(3)]
        for thread in threads:
            thread.start()
        producer.put_many([b"%d" % k for k in range(300)], timeout=10)
        producer.flush(timeout=10)
        producer.close()
        for thread in threads:
            thread.join(10)
        assert sorted(got[0] + got[1] + got[2]) == list(range(300))
        assert min(map(len, got)) > 10
        assert all(each == sorted(each) for each in got)


@over(*MANY)
def test_a_message_in_work_is_not_acknowledged_however_many_came_before(way: Way) -> None:
    with way.producer(groups=["work"]) as producer, way.consumer(group="work", shared=True) as consumer:
        for k in range(10):
            producer.put_many([b"%d" % (100 * k + n) for n in range(100)], timeout=5)
            assert numbers(consumer, 100) == list(range(100 * k, 100 * k + 100))
        producer.put(b"1000")
        with consumer.message(timeout=5) as message:
            assert message.payload == b"1000"
            with pytest.raises(TimedOut):
                producer.flush(timeout=0.2)
        producer.flush(timeout=5)


@over(*MANY)
@pytest.mark.parametrize("options", [{"shared": True}, {"durable": True}], ids=str)
def test_flush_does_not_wait_for_views(way: Way, options: dict[str, bool]) -> None:
    with way.producer(groups=["work"]) as producer, way.consumer(group="work", **options) as consumer:
        producer.put(np.zeros(100))
        with consumer.message(timeout=5) as message:
            view = message.payload
            with pytest.raises(TimedOut, match=r"'work'.*has not acknowledged 1 messages"):
                producer.flush(timeout=0.05)
        producer.flush(timeout=5)
        assert (view == 0).all()
        del view
    if "durable" in options and way.name in ("ring", "anonymous"):  # over connections it ends with the producer
        (ringipc.Channel.open("c") if way.name == "ring" else way.of).remove_group("work")  # type: ignore[union-attr]


@over(*MANY)
def test_workers_that_keep_their_last_arrays_reach_the_end_of_the_stream(way: Way) -> None:
    with contextlib.ExitStack() as stack:
        producer = stack.enter_context(way.producer(groups=["work"]))
        members = [stack.enter_context(way.consumer(group="work", shared=True)) for _ in range(2)]
        got: list[list[int]] = [[], []]
        kept = []
        started = threading.Barrier(2)

        def work(which: int) -> None:
            array = members[which].get()
            got[which].append(int(array[0]))
            started.wait(10)
            for array in members[which]:
                got[which].append(int(array[0]))
            kept.append(array)

        threads = [threading.Thread(target=work, args=[which], daemon=True) for which in range(2)]
        for thread in threads:
            thread.start()
        for k in range(40):
            producer.put(np.full(100, k), timeout=10)
        producer.close()
        for thread in threads:
            thread.join(10)
        assert sorted(got[0] + got[1]) == list(range(40))
        assert all((array == array[0]).all() for array in kept)
        kept.clear()


@over(*MANY)
def test_a_durable_group_continues_where_it_stopped(way: Way) -> None:
    with way.producer() as producer:
        producer.put_many([b"%d" % k for k in range(30)])
        for life in range(3):
            with way.consumer(group="d", durable=True) as consumer:
                assert numbers(consumer, 10) == list(range(10 * life, 10 * life + 10))
            # closing the consumer has ended its last message
            eventually(lambda left=20 - 10 * life: producer.stats.backlog == left)  # type: ignore[misc]
        if way.name in ("ring", "anonymous"):  # over connections it ends with the producer
            (ringipc.Channel.open("c") if way.name == "ring" else way.of).remove_group("d")  # type: ignore[union-attr]


@over(*MANY)
def test_a_group_can_start_at_the_newest_message(way: Way) -> None:
    with way.producer() as producer, way.consumer(group="all") as everything:
        producer.put(b"1")
        assert numbers(everything, 1) == [1]
        with way.consumer(group="late", start="newest") as late:
            producer.put(b"2")
            assert numbers(late, 1) == numbers(everything, 1) == [2]


@over(*LISTENING)
def test_several_producers_connect_to_one_consumer(way: Way) -> None:
    """The order of each producer is kept, and each one ends separately."""
    taken: queue.Queue[Consumer] = queue.Queue()
    opening = threading.Thread(target=lambda: taken.put(way.consumer(bind=True)))
    opening.start()
    with way.producer(bind=False) as first, taken.get(timeout=10) as consumer:
        opening.join()
        others = [way.producer(bind=False) for _ in range(2)]
        producers = [first, *others]
        for k in range(100):
            for which, producer in enumerate(producers):
                producer.put(b"%d" % k, type=which, timeout=5)
        following: Counter[int] = Counter()
        for _ in range(300):
            with consumer.message(timeout=5) as message:
                assert int(message.payload) == following[message.type]
                following[message.type] += 1
        first.close()
        others[0].put(b"still there")
        assert consumer.get(timeout=5) == b"still there"
        for producer in others:
            producer.close()
        with pytest.raises(EndOfStream):
            consumer.get(timeout=5)


@over("ring", "unix-stream", "tcp-stream", also=["tls-stream"])
def test_a_lossy_group_stops_nobody(way: Way) -> None:
    """Frames of 64 KiB through a lane for 16. The viewer keeps the first one, and stalls until all are put."""
    frame = np.empty(8192 - 8, "u8")
    take = {"group": "view", "overflow": "drop-old"}
    with (
        way.both({"capacity": 16 * 65536, "slots": 32}, take) as (producer, viewer),
        way.consumer(group="all") as everything,
    ):
        frame[:] = 0
        producer.put(frame, timeout=5)
        kept = viewer.get(timeout=5)
        assert everything.get(timeout=5)[0] == 0
        for k in range(1, 300):
            frame[:] = k
            producer.put(frame, timeout=5)
            assert everything.get(timeout=5)[0] == k
        got = missed = 0
        while got + missed < 299:
            with viewer.message(timeout=5) as message:
                got += 1
                missed += message.missed
                assert (message.payload == got + missed).all()
        assert (kept == 0).all()
        assert got >= 8
        assert viewer.stats.missed == missed > 200
        assert everything.stats.missed == 0
        producer.flush(timeout=5)


@over("pipe", "fifo")
def test_a_pipe_has_no_lossy_group(way: Way) -> None:
    with pytest.raises(ValueError, match="overflow= are for rings and sockets"):
        way.consumer(overflow="drop-old")


@over("ring", "unix-stream", also=("anonymous", "tcp-stream"))
def test_messages_of_several_producers_that_have_arrived_come_in_the_order_of_time(way: Way) -> None:
    opened: queue.Queue[Consumer] = queue.Queue()
    opening = threading.Thread(target=lambda: opened.put(way.consumer(bind=True, order="time", producers=2)))
    opening.start()
    with way.producer(bind=False) as first, way.producer(bind=False) as second, opened.get(timeout=20) as consumer:
        opening.join()
        for k in range(40):
            (first if k % 3 else second).put(b"%d" % k)
        eventually(lambda: consumer.stats.backlog == 40, lambda: consumer.stats)
        assert numbers(consumer, 40) == list(range(40))
        assert consumer.stats.transport == way.transport
