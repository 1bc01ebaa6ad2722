"""Many producers and many groups: every group gets every message of every producer, in order."""

import random
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from conftest import AnyChannel, Start
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import ringipc
from ringipc import Barrier, Consumer, Empty, EndOfStream, Producer


def produce(channel: AnyChannel, first: int, lanes: int, count: int, shape: int) -> None:
    """Put by several producers of one process in turn."""
    producers = [Producer(channel, capacity=1 << 16, slots=32) for _ in range(lanes)]
    all_are_here = Barrier("all are ready")
    all_are_here.wait(50)
    all_are_here.close()
    for k in range(count):
        for lane, producer in enumerate(producers):
            producer.put(np.full(shape, (first + lane) * 1_000_000 + k), timeout=30)
    for producer in producers:
        producer.close()


def read_all(channel: AnyChannel, group: str, lanes: int, count: int) -> None:
    """Read to the end of the stream, and check the messages."""
    following: Counter[int] = Counter()
    with Consumer(channel, group=group, timeout=0) as consumer:
        with Producer("ready", capacity=4096) as ready:
            ready.put(b"")
        for message in consumer:
            lane, number = divmod(int(message[0]), 1_000_000)
            assert (message == message[0]).all()
            assert number == following[lane]
            following[lane] += 1
    assert dict(following) == dict.fromkeys(range(lanes), count)


@pytest.mark.long
def test_eight_producers_and_four_groups(any_channel: AnyChannel, start: Start) -> None:
    lanes, count = 8, 3000
    groups = ["a", "b", "c", "d"]
    keeper = Producer(any_channel, capacity=4096)
    with Producer("ready", capacity=4096) as own, Consumer("ready") as ready:
        for group in groups:
            start(read_all, any_channel, group, lanes, count)
        for _ in groups:
            ready.get(timeout=30)
        own.close()
    all_are_here = Barrier("all are ready", 5)
    for first in range(0, lanes, 2):  # two lanes in each of four processes
        start(produce, any_channel, first, 2, count, 9)
    all_are_here.wait(50)
    all_are_here.close()
    keeper.close()


def open_one() -> Producer:
    """Open a producer; closed lanes that are not yet read keep their entries, so try until one is free."""
    while True:
        try:
            return Producer("c", capacity=4096, slots=8)
        except ringipc.TableFull:
            time.sleep(0.001)


def come_and_go(seed: int, lives: int, together: int) -> None:
    rng = random.Random(seed)
    for life in range(0, lives, together):
        producers = [open_one() for _ in range(together)]
        for k in range(3):
            for which, producer in enumerate(producers):
                producer.put(b"%d %d %d" % (seed, life + which, k), timeout=30)
            if rng.random() < 0.1:
                time.sleep(0.001)
        for producer in rng.sample(producers, together):
            producer.close()


def test_sixty_four_producers_come_and_go(start: Start) -> None:
    """The maximum of lanes, many times in a row, while two groups read."""
    processes, together, rounds = 3, 21, 6
    with Producer("c", capacity=4096) as own, Consumer("c", group="g") as one, Consumer("c", group="h") as two:
        own.put(b"0 0 0")
        for seed in range(1, processes + 1):
            start(come_and_go, seed, together * rounds, together)
        seen: list[Counter[tuple[int, int]]] = [Counter(), Counter()]
        expected = 1 + processes * together * rounds * 3
        most = 0
        deadline = time.monotonic() + 50
        while min(counter.total() for counter in seen) < expected:
            assert time.monotonic() < deadline, [counter.total() for counter in seen]
            for consumer, counter in zip((one, two), seen, strict=True):
                try:
                    messages = consumer.get_many(50, timeout=0.01)
                except Empty:
                    continue
                for message in messages:
                    seed, life, k = map(int, message.split())
                    assert counter[seed, life] == k
                    counter[seed, life] += 1
                most = max(most, consumer.stats.lanes)
        assert most > 20
        own.close()
        for consumer in (one, two):
            with pytest.raises(EndOfStream):
                consumer.get(timeout=10)


def test_a_channel_takes_a_hundred_producers_at_once() -> None:
    producers = [Producer("c", capacity=4096, slots=4) for _ in range(100)]
    with Consumer("c") as consumer:
        for k, producer in enumerate(producers):
            producer.put_many([b"%d" % k] * 3)
        got = [int(consumer.get(timeout=0)) for _ in range(100 * 3)]
        assert sorted(got) == sorted(list(range(100)) * 3)
        for producer in producers:
            producer.close()


@pytest.mark.parametrize("shared", [False, True])
def test_a_busy_lane_starves_no_other(shared: bool) -> None:
    with (
        Producer("c", capacity="4 MiB", slots=2048) as busy,
        Producer("c", capacity=4096, slots=4) as quiet,
        Consumer("c", shared=shared) as consumer,
    ):
        busy.put_many([b"busy"] * 1000)
        for _ in range(10):
            quiet.put(b"quiet")
            assert b"quiet" in [consumer.get(timeout=0) for _ in range(18)]
        consumer.latest()
        busy.put_many([np.zeros(2000)] * 20)  # after each large message the other lane is read
        for _ in range(10):
            quiet.put(b"quiet")
            assert b"quiet" in [bytes(consumer.get(timeout=0)) for _ in range(2)]
        consumer.latest()


class TypedQueue(RuleBasedStateMachine):
    """Two lanes, and a consumer that takes by type, by condition and in order, and keeps some; lists are the model."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = False
        self.start()

    def start(self) -> None:
        self.producers = [Producer("model", capacity=1 << 16, slots=8) for _ in range(2)]
        self.consumer = Consumer("model", shared=self.shared, copy=False)
        self.lanes: list[list[tuple[int, bytes]]] = [[], []]  # the messages that are not taken: type and content
        self.held: list[tuple[int, Any]] = []
        self.in_work: list[int] = []  # in a shared group: the last one that was taken, until the next get
        self.window: list[set[int]] = [set(), set()]  # seqs that are not released
        self.seqs = [0, 0]
        self.ids = {producer: lane for lane, producer in enumerate(self.producers)}

    def teardown(self) -> None:
        self.held.clear()
        self.consumer.close()
        for producer in self.producers:
            producer.close()

    @rule(lane=st.integers(0, 1), type=st.integers(0, 3))
    def put(self, lane: int, type: int) -> None:
        content = b"%d %d" % (lane, self.seqs[lane])
        unread = [int(item[1].split()[1]) for item in self.lanes[lane]]
        in_work = [number % 1000 for number in self.in_work if number // 1000 == lane]
        room = self.seqs[lane] - min(unread + in_work, default=self.seqs[lane]) < 8
        put = self.producers[lane].put_many([content], timeout=0, type=type) == 1
        if not self.shared and room and not put:  # a kept view holds the lane until a later message is released
            assert self.seqs[lane] - min(self.window[lane]) >= 8
        else:
            assert put == room
        if put:
            self.lanes[lane].append((type, content))
            self.window[lane].add(self.seqs[lane])
            self.seqs[lane] += 1

    def taken(self, content: Any, candidates: list[tuple[int, bytes]]) -> None:
        """Check that the message is the first that fits in one of the lanes."""
        data = bytes(content)
        lane, seq = map(int, data.split())
        fits = [item for item in self.lanes[lane] if item in candidates]
        assert fits[0][1] == data
        self.lanes[lane].remove(fits[0])
        self.held.append((lane * 1000 + seq, content))
        if self.shared:
            self.in_work.append(lane * 1000 + seq)

    def done(self) -> None:
        for number in self.in_work:
            if number not in dict(self.held):
                self.window[number // 1000].remove(number % 1000)
        self.in_work.clear()

    def take(self, type: Any, wanted: set[int]) -> None:
        self.done()
        candidates = [item for lane in self.lanes for item in lane if item[0] in wanted]
        try:
            content = self.consumer.get(timeout=0, type=type)
        except Empty:
            assert not candidates
            return
        assert candidates
        self.taken(content, candidates)

    @rule()
    def get(self) -> None:
        self.take(None, {0, 1, 2, 3})

    @rule(type=st.integers(0, 3))
    def get_type(self, type: int) -> None:
        self.take(type, {type})

    @rule(types=st.sets(st.integers(0, 3), min_size=1))
    def get_types(self, types: set[int]) -> None:
        self.take(types, types)

    @rule()
    def get_lowest(self) -> None:
        there = [item[0] for lane in self.lanes for item in lane]
        self.take("lowest", {min(there, default=0)})

    @rule(digit=st.integers(0, 9))
    def get_where(self, digit: int) -> None:
        self.done()
        candidates = [item for lane in self.lanes for item in lane if item[1].endswith(b"%d" % digit)]
        try:
            content = self.consumer.get(timeout=0, where=lambda m: bytes(m.payload).endswith(b"%d" % digit))
        except Empty:
            assert not candidates
            return
        self.taken(content, candidates)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        number, content = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        assert bytes(content) == b"%d %d" % divmod(number, 1000)
        del content
        if number not in self.in_work:
            self.window[number // 1000].remove(number % 1000)

    @invariant()
    def counts(self) -> None:
        assert self.consumer.stats.held == len(self.held)
        for lane, producer in enumerate(self.producers):
            # less if views are kept
            assert producer.stats.backlog <= self.seqs[lane] - min(self.window[lane], default=self.seqs[lane])


class TypedWorkQueue(TypedQueue):
    """The same in a shared group of one member."""

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        self.shared = True
        self.start()


LIMITS = settings(max_examples=60, stateful_step_count=40, deadline=None)
TypedQueue.TestCase.settings = LIMITS
TypedWorkQueue.TestCase.settings = LIMITS
test_typed_receive_is_what_a_model_says = TypedQueue.TestCase
test_typed_receive_in_a_shared_group_is_what_a_model_says = TypedWorkQueue.TestCase
