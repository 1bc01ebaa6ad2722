"""The processes of a round: each puts, or gets and checks, and records each step before and after it."""

import random
import re
import select
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from ringipc import ChannelNotFound, Consumer, Empty, EndOfStream, Full, Message, Producer, ProducerDied

from . import slots
from .plan import Gets, Plan, Puts
from .slots import LIMIT, Memory, Slot

CHANNEL = "c"
TYPES = 3
COPIED = 512  # bytes: arrays up to this size are copied
_HEAD = struct.Struct("<IIII")
_NOISE = random.Random(1).randbytes(16384)


def content(producer: int, number: int, type: int, longest: int) -> bytes:
    """The content of a message, computed from the arguments; no two messages are equal."""
    hashed = (producer * 2654435761 + number * 40503) & 0xFFFFFFFF
    first, length = hashed % 8192, hashed // 8 % (longest + 1)
    return _HEAD.pack(producer, number, type, length) + _NOISE[first : first + length]


def _message(plan: Plan, producer: int, number: int, type: int) -> Any:
    payload = content(producer, number, type, plan.longest)
    if (producer * 5 + number * 3) % 8 < plan.arrays:
        return np.frombuffer(payload, "u1")
    return payload


def put_all(plan: Plan, role: Puts, number: int, memory: Memory) -> None:
    rng = random.Random(role.seed)
    slot = memory.slots[number]
    slot.enter(slots.ATTACHING, role.alarm)
    producer = Producer(
        CHANNEL,
        capacity=plan.capacity,
        slots=plan.slots,
        overflow=plan.overflow,
        lane=plan.lane,
        groups=plan.declared if number < len(plan.first) else (),  # so that a group that has ended is not made again
        wait=role.wait,
    )
    fd = producer.fileno() if role.fileno else None
    slot[slots.ATTACHED] = time.monotonic_ns()
    slot[slots.PHASE] = slots.WORKING
    k = 0
    while k < role.count:
        if k >= role.free:
            slots.wait_until(lambda: memory.go)
        k += _put_some(plan, role, number, slot, producer, fd, rng, k)
        if rng.random() < role.pauses:
            time.sleep(rng.random() * 0.0003)
    stats = producer.stats
    assert stats.messages + stats.refused == role.count
    slot[slots.PHASE] = slots.PUT_ALL
    if not role.early:
        slots.wait_until(lambda: memory.finish)
    slot.enter(slots.CLOSING, role.alarm)
    producer.close()
    slot[slots.PHASE] = slots.GONE


def _put_some(
    plan: Plan, role: Puts, number: int, slot: Slot, producer: Producer, fd: int | None, rng: random.Random, k: int
) -> int:
    type, call = rng.randrange(TYPES), rng.randrange(3)
    n = min(rng.randrange(1, 9), role.count - k) if call == 1 else 1
    for _ in range(n):
        slot.note(type)
    slot[slots.INTENT] = k + n
    start = time.monotonic_ns()
    if call == 1:
        went_in = producer.put_many([_message(plan, number, k + i, type) for i in range(n)], LIMIT, type=type)
        assert went_in == n or plan.overflow != "block", "no room in the lane"
    elif call == 2:
        payload = np.frombuffer(content(number, k, type, plan.longest), "u1")
        with producer.reserve(len(payload), "u1", LIMIT, type=type) as frame:
            frame[:] = payload
    elif fd is None:
        producer.put(_message(plan, number, k, type), LIMIT, type=type)
    else:
        _when_ready(fd, lambda: producer.put_nowait(_message(plan, number, k, type), type=type), Full)
    slot.measure(start)
    slot[slots.DONE] = k + n
    return n


def _when_ready(fd: int, call: Callable[[], Any], not_yet: type[Exception], limit: float = LIMIT) -> Any:
    end = time.monotonic() + limit
    while True:
        try:
            return call()
        except not_yet:
            left = end - time.monotonic()
            if left < 0:
                raise
            select.select([fd], [], [], left)


class Reader:
    """A consumer, the messages that it has, and its records."""

    def __init__(self, plan: Plan, role: Gets, number: int, memory: Memory, timeout: float) -> None:
        self.plan = plan
        self.role = role
        self.memory = memory
        self.slot = memory.slots[number]
        self.rng = random.Random(role.seed)
        self.held: list[tuple[int, int, Any]] = []
        self.claims = role.group.shared or role.group.durable
        self.in_work: set[tuple[int, int]] = set()  # messages, copied or viewed, that are done at the next get
        self.count = 0
        self.how = slots.ANY_TYPE  # how the present call requests messages
        self.slot.enter(slots.ATTACHING, role.alarm)
        self.consumer = Consumer(
            CHANNEL,
            group=role.group.name,
            shared=role.group.shared,
            durable=role.group.durable and not role.group.declared,
            overflow="drop-old" if role.group.lossy else "block",
            max_deliveries=role.group.limit,
            dead_letters=role.group.letters,
            copy=role.copy,
            wait=role.wait,
            timeout=timeout,
        )
        # No producer will come any more. If its group has no other member, and all was read and all have closed before,
        # it waits as in a new channel.
        self.is_late = memory.finish
        self.limit = 0.3 if self.is_late else LIMIT
        self.fd = self.consumer.fileno() if role.fileno else None
        for i, other in enumerate(memory.slots):
            self.slot[slots.SEEN + i] = other[slots.INTENT]
        self.slot[slots.PHASE] = slots.WORKING

    def run(self) -> None:
        while self.role.leave is None or self.count < self.role.leave or not self.memory.go:
            ended = self.memory.finish
            start = time.monotonic_ns()
            try:
                self.get_some()
                if self.rng.random() < self.role.pauses:
                    time.sleep(self.rng.random() * 0.0003)
                self.release_some()
            except ProducerDied as death:
                pid = re.search(r"pid (\d+)", str(death))
                assert pid
                self.slot.note(slots.death(int(pid[1]), self.how))
            except EndOfStream:
                if ended:
                    break
                self.release_all()
                self.expect_no_producer(start)
                time.sleep(0.0005)
            except Empty:
                assert self.is_late, "no message and no end of the stream"
                if not self.is_producer_open(start):
                    break
            self.slot[slots.PENDING] = 0
        self.release_all()
        self.slot[slots.MISSED] = self.consumer.stats.missed
        self.slot.enter(slots.CLOSING, self.role.alarm)
        self.consumer.close()
        self.slot[slots.PHASE] = slots.GONE

    def expect_no_producer(self, start: int) -> None:
        """The end of the stream came too early if a producer was open all the time."""
        assert not self.is_producer_open(start), "the stream ended while a producer was open"

    def is_producer_open(self, start: int) -> bool:
        """Return whether a producer has been open from this moment on."""
        return any(
            0 < producer[slots.ATTACHED] < start
            and producer[slots.PHASE] in (slots.WORKING, slots.PUT_ALL)
            and not producer[slots.KILLED]
            for producer in self.memory.slots
        )

    def get_some(self) -> None:
        call = self.rng.choice(self.role.calls)
        most = self.rng.randrange(2, 9) if call == "many" else 1
        self.how, type = slots.ANY_TYPE, None
        if self.role.filters and call != "many" and self.rng.random() < 0.5:
            self.how, type = self.draw_type()
        self.slot[slots.PENDING] = most
        try:
            self.note(self.call(call, most, 0, type))
        except (Empty, EndOfStream) as nothing:
            self.slot[slots.PENDING] = 0
            if isinstance(nothing, EndOfStream) and type is None:
                raise
        else:
            return
        self.release_all()  # else the messages that it has could hold the producers back for ever
        self.how = slots.ANY_TYPE
        self.slot[slots.PENDING] = most
        start = time.monotonic_ns()
        try:
            if self.fd is None:
                payloads = self.call(call, most, self.limit, None)
            else:
                payloads = _when_ready(self.fd, lambda: self.call(call, most, 0, None), Empty, self.limit)
        finally:
            self.slot.measure(start)
        self.note(payloads)

    def draw_type(self) -> tuple[int, Any]:
        type = self.rng.randrange(TYPES)
        return self.rng.choice([(1 + type, type), (slots.NO_ORDER, {type, 0}), (slots.NO_ORDER, "lowest")])

    def call(self, call: str, most: int, timeout: float, type: Any) -> list[Any]:
        try:
            if call == "message":
                return [self.consumer.message(timeout, type=type)]
            return self.consumer.get_many(most, timeout) if call == "many" else [self.consumer.get(timeout, type=type)]
        finally:
            self.slot[slots.DEAD] = self.consumer.stats.dead
            while self.in_work:
                self.slot.note(slots.released(*self.in_work.pop()))

    def note(self, messages: list[Any]) -> None:
        while messages:
            message = messages.pop(0)
            redelivered, deliveries = slots.UNKNOWN, 0
            if isinstance(message, Message):
                redelivered, deliveries = int(message.redelivered), message.deliveries
            payload = bytes(message.payload if isinstance(message, Message) else message)
            producer, number, type, _ = _HEAD.unpack_from(payload)
            assert payload == content(producer, number, type, self.plan.longest), "a damaged message"
            event = slots.released(producer, number)
            copied = not isinstance(message, Message) and (isinstance(message, bytes) or self.copies(message))
            if copied and not self.claims:  # the call released it before it returned
                self.slot[slots.RELEASING] = event
            self.slot.note(slots.got(producer, number, redelivered, deliveries, self.how))
            self.slot[slots.PENDING] -= 1
            self.count += 1
            if self.claims and not isinstance(message, Message):
                self.in_work.add((producer, number))
                self.slot.note(slots.in_work(producer, number))
            elif copied:
                self.slot.note(event)
            if not copied:
                self.held.append((producer, number, message))
            del message
        self.slot[slots.PENDING] = 0

    def copies(self, array: "np.ndarray[Any, Any] | memoryview") -> bool:
        """Return whether what `get` returned is a copy."""
        return self.role.copy is True or (self.role.copy is None and array.nbytes <= COPIED)

    def release_some(self) -> None:
        while len(self.held) > self.role.hold:
            index = self.rng.randrange(len(self.held))
            if isinstance(self.held[index][2], Message) and self.rng.random() < self.role.requeues:
                self.requeue(index)
            else:
                self.release(index)

    def requeue(self, index: int) -> None:
        producer, number, message = self.held.pop(index)
        message.requeue()
        self.slot.note(slots.requeued(producer, number))

    def release(self, index: int) -> None:
        producer, number, message = self.held.pop(index)
        if self.claims and not isinstance(message, Message):
            return  # the view is gone; the message is done at the next get, or was at an earlier one
        event = slots.released(producer, number)
        self.slot[slots.RELEASING] = event
        if isinstance(message, Message):
            message.release()
        del message
        self.slot.note(event)

    def release_all(self) -> None:
        while self.held:
            self.release(self.rng.randrange(len(self.held)))


def get_all(plan: Plan, role: Gets, number: int, memory: Memory) -> None:
    may_be_over = memory.finish and role.group.declared  # such a group ends with the channel when all is done
    try:
        reader = Reader(plan, role, number, memory, 0.3 if may_be_over else LIMIT)
    except ChannelNotFound:
        if may_be_over:
            return
        raise
    reader.run()


def collect(channel: str, longest: int) -> list[tuple[int, int]]:
    """Read a channel of dead letters to its end. Return the producer and the number of each."""
    got = []
    try:
        consumer = Consumer(channel, deaths="skip", timeout=0)
    except ChannelNotFound:
        return []
    with consumer:
        with suppress(Empty, EndOfStream):  # empty: the only process that came was killed before it had a lane
            while True:
                message = consumer.message(0)
                payload = bytes(message.payload)
                producer, number, type, _ = _HEAD.unpack_from(payload)
                assert payload == content(producer, number, type, longest), "a damaged dead letter"
                assert message.type == type, "a dead letter has another type"
                got.append((producer, number))
                message.release()
    return got


def visit() -> None:
    """Attach when all others have left, and leave: the channel must be removed then."""
    with Producer(CHANNEL, capacity=4096), Consumer(CHANNEL, group="visitor"):
        pass
