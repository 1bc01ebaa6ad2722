"""Messages that `get` cannot read: they can be got later, and no exception keeps them."""

import contextlib
import ctypes
import gc
import inspect
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import called_deep

from ringipc import Closed, Consumer, Corrupt, Empty, EndOfStream, Message, Producer, UnsafeMessage
from ringipc.codecs import dtypes

LARGE = 1 << 26  # larger than any block that the C library takes from its heap

WAYS: dict[str, Callable[[Consumer], Any]] = {
    "get": lambda c: c.get(timeout=0),
    "get_nowait": lambda c: c.get_nowait(),
    "latest": lambda c: c.latest(timeout=0),
    "get_many": lambda c: c.get_many(1, timeout=0)[0],
    "type": lambda c: c.get(timeout=0, type=0),
    "where": lambda c: c.get(timeout=0, where=lambda m: True),
    "condition that reads": lambda c: c.get(timeout=0, where=lambda m: m.payload is not None),
}
GROUPS = pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])


class Unloadable:
    def __reduce__(self) -> Any:
        return np.ndarray.reshape, (np.zeros(6), 4)


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    gc.collect()  # what is collected later would make room, and so would what earlier tests have left in the heap
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + LARGE // 2, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


@GROUPS
@pytest.mark.parametrize(
    ("put", "way"),
    [
        pytest.param(put, way, marks=pytest.mark.long if put is not np.ndarray and way != "get" else ())
        for put in (np.ndarray, bytes, dict)
        for way in WAYS
    ],
)
def test_a_message_that_lacks_memory_can_be_got_later(shared: bool, put: type, way: str) -> None:
    array = np.zeros(LARGE, np.uint8)
    message = array if put is np.ndarray else bytes(LARGE) if put is bytes else {"a": array}
    with Producer("c", capacity=2 * LARGE) as producer, Consumer("c", shared=shared, copy=True) as consumer:
        producer.put(message)
        before = consumer.stats
        for _ in range(2):
            with little_memory(), pytest.raises(MemoryError):
                WAYS[way](consumer)
        assert replace(consumer.stats, backlog=1) == before  # it counts the requeued message when it polls again
        got = WAYS[way](consumer)
        assert (got["a"] if put is dict else got)[-1] == 0
        producer.close()
        del got
        with pytest.raises(EndOfStream):
            consumer.get(timeout=0)


def test_get_many_returns_the_messages_that_memory_sufficed_for() -> None:
    with Producer("c", capacity=2 * LARGE) as producer, Consumer("c", copy=True) as consumer:
        producer.put(b"small")
        producer.put(bytes(LARGE))
        with little_memory():
            assert consumer.get_many(2, timeout=0) == [b"small"]
            with pytest.raises(MemoryError):
                consumer.get_many(2, timeout=0)
        assert len(consumer.get_many(2, timeout=0)[0]) == LARGE


@GROUPS
@pytest.mark.parametrize("way", WAYS)
def test_a_message_that_lacks_stack_can_be_got_later(shared: bool, way: str) -> None:
    record: Any = np.zeros(3)
    for _ in range(90):
        record = [record]
    with Producer("c", capacity="1 MiB") as producer, Consumer("c", shared=shared) as consumer:
        producer.put(record)
        failures = []
        room = sys.getrecursionlimit() - len(inspect.stack())
        for left in (1, 2, 3, 4, 5, 6, 8, 20, 50):
            try:
                called_deep(lambda: WAYS[way](consumer), room - left)
            except RecursionError as error:
                failures.append(error)
        assert len(failures) == 9
        got = WAYS[way](consumer)
        producer.close()
        with pytest.raises(EndOfStream):
            consumer.get(timeout=0)
        assert consumer.stats.held == 1
        del got
        assert consumer.stats.held == 0


@GROUPS
@pytest.mark.parametrize("way", [*WAYS, "message"])
def test_a_kept_exception_keeps_no_message(shared: bool, way: str) -> None:
    def get(consumer: Consumer) -> Any:
        if way != "message":
            return WAYS[way](consumer)
        with consumer.message(timeout=0) as message:
            return message.payload

    kept: list[BaseException] = []
    with Producer("c", pickle=True) as producer:
        consumer = Consumer("c", shared=shared)
        trusting = Consumer("c", group="trusting", shared=shared, pickle=True)
        producer.put({"a": np.zeros(3)})
        with pytest.raises(UnsafeMessage) as unsafe:
            get(consumer)
        kept.append(unsafe.value)
        assert get(trusting)["a"].tolist() == [0, 0, 0]
        producer.put(Unloadable())
        with pytest.raises(UnsafeMessage):
            get(consumer)
        try:
            raise KeyError("of the caller, whose frames stay as they are")
        except KeyError:
            with pytest.raises(ValueError, match="reshape") as unloadable:
                get(trusting)
        kept.append(unloadable.value)
        producer.close()
        for each in (consumer, trusting):
            with pytest.raises(EndOfStream):
                each.get(timeout=0)
            assert each.stats.held == 0
            each.close()


@GROUPS
def test_the_cause_of_a_kept_exception_keeps_no_message(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode_dtype(*arguments: object) -> object:
        raise ValueError("none")

    with Producer("c") as producer, Consumer("c", shared=shared) as consumer:
        producer.put({"a": np.zeros(3), "b": memoryview(b"x")})
        monkeypatch.setattr(dtypes, "decode_dtype", decode_dtype)
        with pytest.raises(Corrupt) as corrupt:
            consumer.get(timeout=0)
        assert isinstance(corrupt.value.__cause__, ValueError)
        producer.close()
        with pytest.raises(EndOfStream):
            consumer.get(timeout=0)
        assert consumer.stats.held == 0


@pytest.mark.parametrize("end", [Message.release, lambda message: None])
def test_an_unreadable_message_is_acknowledged_when_it_ends(end: Callable[[Message], object]) -> None:
    with Producer("c", pickle=True) as producer, Consumer("c", shared=True) as consumer:
        producer.put({"a": 1})
        producer.close()
        message = consumer.message(timeout=0)
        kept = []
        for _ in range(2):
            with pytest.raises(UnsafeMessage) as unsafe:
                _ = message.payload
            kept.append(unsafe.value)
        with pytest.raises(Empty, match="1 message in work"):
            consumer.get(timeout=0)
        for error in kept:
            error.__traceback__ = None  # its first frame is this function
        end(message)
        del message
        with pytest.raises(EndOfStream):
            consumer.get(timeout=0)


def test_a_message_cannot_be_read_after_the_condition_that_saw_it_has_raised() -> None:
    shown: list[Message] = []

    def raises(message: Message) -> bool:
        shown.append(message)
        raise KeyError

    with Producer("c") as producer, Consumer("c") as consumer:
        producer.put(b"a")
        with pytest.raises(KeyError):
            consumer.get(timeout=0, where=raises)
        with pytest.raises(Closed):
            _ = shown[0].payload
        assert consumer.get(timeout=0) == b"a"
