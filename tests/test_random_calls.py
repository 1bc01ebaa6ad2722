"""Random sequences of calls have the same results as a model that uses lists."""

import gc
import itertools
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ringipc import Consumer, Empty, Full, GroupBusy, Producer

CAPACITY, SLOTS = 16_384, 8
SIZES = st.one_of(st.integers(0, 200), st.integers(0, CAPACITY), st.sampled_from([0, 63, 64, 65, 4095, 4096, CAPACITY]))
EXAMPLES = itertools.count()
GROUPS = st.sampled_from("abc")


class Group:
    def __init__(self, consumer: Consumer, position: int) -> None:
        self.consumer = consumer
        self.next = position
        self.views: dict[int, Any] = {}

    def held(self) -> int:
        return min(self.views, default=self.next)


class Ring(RuleBasedStateMachine):
    """The model: all messages put, and for each group the number of its next message and its live views."""

    @initialize()
    def make(self) -> None:
        self.channel = f"model-{next(EXAMPLES)}"  # a new one each time: a failed example may keep its views for a while
        self.producer = Producer(self.channel, capacity=CAPACITY, slots=SLOTS)
        self.put: list[bytes] = []
        self.groups: dict[str, Group] = {}
        self.floor = 0
        self.number = 0

    def oldest(self) -> int:
        return min((group.held() for group in self.groups.values()), default=self.floor)

    def fresh(self, size: int) -> bytes:
        self.number += 1
        return (self.number.to_bytes(4, "little") * (size // 4 + 1))[:size]

    def did_put(self, messages: list[bytes], went_in: int) -> None:
        live = self.put[self.oldest() :]
        self.put += messages[:went_in]
        if went_in < len(messages):  # the lane was full; a single small message always fits in an empty one
            assert live or went_in

    @rule(size=SIZES, array=st.booleans())
    def put_one(self, size: int, array: bool) -> None:
        message = self.fresh(size)
        try:
            if array and size <= CAPACITY - 64:
                self.producer.put_nowait(np.frombuffer(message, "u1"))
            else:
                self.producer.put_nowait(message)
            self.did_put([message], 1)
        except Full:
            self.did_put([message], 0)

    @rule(sizes=st.lists(st.integers(0, 3000), max_size=12))
    def put_several(self, sizes: list[int]) -> None:
        messages = [self.fresh(size) for size in sizes]
        self.did_put(messages, self.producer.put_many(messages, timeout=0))

    @rule(size=st.integers(0, CAPACITY - 64), fails=st.booleans())
    def reserve(self, size: int, fails: bool) -> None:
        message = self.fresh(size)
        try:
            with self.producer.reserve(size, timeout=0) as frame:
                frame[:] = np.frombuffer(message, "u1")
                if fails:
                    raise InterruptedError
            self.did_put([message], 1)
        except InterruptedError:
            pass
        except Full:
            self.did_put([message], 0)

    @rule(size=SIZES, extra=SIZES, fails=st.booleans())
    def reserve_bytes(self, size: int, extra: int, fails: bool) -> None:
        message = self.fresh(size)
        try:
            with self.producer.reserve_bytes(min(size + extra, CAPACITY), timeout=0) as room:
                room.buffer[:size] = message
                room.length = size
                if fails:
                    raise InterruptedError
            self.did_put([message], 1)
        except InterruptedError:
            pass
        except Full:
            self.did_put([message], 0)

    @rule(name=GROUPS, newest=st.booleans())
    def join(self, name: str, newest: bool) -> None:
        if name in self.groups:
            try:
                Consumer(self.channel, group=name, timeout=0)
                raise AssertionError("a second member")
            except GroupBusy:
                return
        consumer = Consumer(self.channel, group=name, copy=False, start="newest" if newest else "oldest", timeout=0)
        position = len(self.put) - consumer.stats.backlog
        if newest:
            assert position == len(self.put)
        else:  # what others keep in views may still be in the lane, or not
            undone = min((group.next for group in self.groups.values()), default=self.floor)
            assert self.oldest() <= position <= undone
        self.groups[name] = Group(consumer, position)

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.groups)))
        group = self.groups[name]
        group.views.clear()
        group.consumer.close()
        del self.groups[name]
        if not self.groups:
            self.floor = max(self.floor, group.next)

    def take(self, group: Group, view: Any, seq: int, keep: bool) -> None:
        assert bytes(view) == self.put[seq]
        if keep:
            group.views[seq] = view

    @precondition(lambda self: self.groups)
    @rule(data=st.data(), keep=st.booleans())
    def get(self, data: st.DataObject, keep: bool) -> None:
        group = self.groups[data.draw(st.sampled_from(sorted(self.groups)))]
        try:
            view = group.consumer.get_nowait()
        except Empty:
            assert group.next == len(self.put)
            return
        self.take(group, view, group.next, keep)
        group.next += 1

    @precondition(lambda self: self.groups)
    @rule(data=st.data(), most=st.integers(1, 10), keep=st.booleans())
    def get_several(self, data: st.DataObject, most: int, keep: bool) -> None:
        group = self.groups[data.draw(st.sampled_from(sorted(self.groups)))]
        try:
            views = group.consumer.get_many(most, timeout=0)
        except Empty:
            assert group.next == len(self.put)
            return
        assert 1 <= len(views) <= most
        for view in views:
            self.take(group, view, group.next, keep)
            group.next += 1

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def latest(self, data: st.DataObject) -> None:
        group = self.groups[data.draw(st.sampled_from(sorted(self.groups)))]
        try:
            view = group.consumer.latest(timeout=0)
        except Empty:
            assert group.next == len(self.put)
            return
        self.take(group, view, len(self.put) - 1, True)
        group.next = len(self.put)

    @precondition(lambda self: any(group.views for group in self.groups.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, g in self.groups.items() if g.views)))
        seq = data.draw(st.sampled_from(sorted(self.groups[name].views)))
        del self.groups[name].views[seq]

    @invariant()
    def views_are_unchanged(self) -> None:
        if not hasattr(self, "groups"):
            return
        for group in self.groups.values():
            for seq, view in group.views.items():
                assert bytes(view) == self.put[seq]

    @invariant()
    def the_backlog_is_correct(self) -> None:
        if hasattr(self, "groups"):
            assert self.producer.stats.backlog <= len(self.put) - self.oldest()  # less if views are kept

    def teardown(self) -> None:
        if hasattr(self, "groups"):
            for group in self.groups.values():
                group.views.clear()
                group.consumer.close()
            Consumer(self.channel).close()  # before the first group, messages outlive their producer
            self.producer.close()
            gc.collect()


TestRing = Ring.TestCase
TestRing.settings = settings(
    max_examples=40, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
