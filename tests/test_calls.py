"""The public calls: signatures, timeouts, and conventions of the module threading."""

import asyncio
import contextlib
import inspect
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ringipc
from ringipc import Barrier, Consumer, Event, Full, Lock, MessageTooLarge, Producer, Semaphore

PUBLIC = [getattr(ringipc, name) for name in ringipc.__all__]
BEYOND = pytest.param(10**400, id="10**400")  # larger than any float
BAD_TIMEOUTS: list[tuple[Any, type[Exception]]] = [
    (True, TypeError),
    (False, TypeError),
    (np.True_, TypeError),
    ("1", TypeError),
    (np.ones(1), TypeError),
    (float("nan"), ValueError),
    (-1e-9, ValueError),
    (-2, ValueError),
    (np.float32(-0.5), ValueError),
]


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Return every public function, class and method that is not inherited from a built-in class."""
    for each in PUBLIC:
        yield each.__qualname__, each
        for name in dir(each) if inspect.isclass(each) else ():
            built_in = any(name in vars(base) for base in each.__mro__ if base.__module__ == "builtins")
            if not name.startswith("_") and callable(getattr(each, name)) and not built_in:
                yield f"{each.__qualname__}.{name}", getattr(each, name)


@pytest.mark.parametrize(("name", "function"), [pytest.param(*each, id=each[0]) for each in functions()])
def test_every_public_name_has_a_signature(name: str, function: Callable[..., Any]) -> None:
    signature = inspect.signature(function)
    assert "0o600" in str(signature) or "mode" not in signature.parameters


def test_the_public_classes_are_those_of_the_extension() -> None:
    """Public classes are not derived ones: a call of an inherited C method takes one and a half times as long."""
    from ringipc import _core

    for each in (Producer, Consumer, Semaphore, Lock, Event, Barrier):
        assert each is getattr(_core, each.__name__)
        assert each.__module__ == "ringipc"
        assert not (each.__flags__ & 1 << 9)  # Py_TPFLAGS_HEAPTYPE: no class statement has made it
    for each in (Producer, Consumer):
        own = [vars(base) for base in each.__mro__[:-1]]
        assert own == [vars(each)]


def test_arguments_that_do_not_fit_name_the_class() -> None:
    with pytest.raises(TypeError, match=r"Producer\(\) got an unexpected keyword argument 'size'"):
        Producer("c", size=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"Consumer\(\) missing 1 required positional argument: 'channel'"):
        Consumer()  # type: ignore[call-arg]


def test_help_shows_python_and_no_c() -> None:
    for _, function in functions():
        assert "Base" not in (function.__doc__ or "")
        assert "Py_ssize_t" not in (function.__doc__ or "")


def attributes(cls: type) -> Iterator[tuple[str, object]]:
    """Return the public attributes of a class that are not inherited from a built-in class."""
    for base in cls.__mro__:
        if base.__module__ not in ("builtins", "typing"):
            yield from ((name, each) for name, each in vars(base).items() if not name.startswith("_"))


def test_every_public_name_and_attribute_has_a_docstring() -> None:
    missing = [name for name in ringipc.__all__ if not inspect.getdoc(getattr(ringipc, name))]
    for cls in filter(inspect.isclass, PUBLIC):
        fields = set(getattr(cls, "_fields", ()))  # of a named tuple
        text = "\n".join(base.__doc__ or "" for base in cls.__mro__)
        lists = re.findall(r"^ *(\w+(?:, \w+)*)(?: : .*)?$", text, re.MULTILINE)
        listed = {name for names in lists for name in names.split(", ")}
        for name, each in attributes(cls):
            stored = name in fields or inspect.ismemberdescriptor(each)  # described in the docstring of the class
            if not (name in listed if stored else inspect.getdoc(getattr(cls, name))):
                missing.append(f"{cls.__name__}.{name}")
    assert missing == []


def test_a_message_cannot_be_constructed() -> None:
    with pytest.raises(TypeError, match=r"Consumer\.message"):
        ringipc.Message()


def waits(producer: Producer, consumer: Consumer) -> list[Callable[[Any], object]]:
    """Return every call that takes a timeout; none of them has anything to wait for."""
    for _ in range(9):
        producer.put(b"m")
    semaphore, lock, event = Semaphore(value=9), Lock(), Event()
    event.set()
    return [
        lambda timeout: producer.put(b"m", timeout),
        lambda timeout: producer.put_many([b"m"], timeout),
        lambda timeout: producer.put_many([], timeout),
        lambda timeout: producer.reserve(1, timeout=timeout),
        lambda timeout: producer.reserve_bytes(1, timeout=timeout),
        lambda timeout: producer.flush(timeout),
        lambda timeout: consumer.get(timeout),
        lambda timeout: consumer.get(timeout, type=0),
        lambda timeout: consumer.get(timeout, where=lambda _: True),
        lambda timeout: consumer.message(timeout),
        lambda timeout: consumer.latest(timeout),
        lambda timeout: consumer.get_many(1, timeout),
        lambda timeout: semaphore.acquire(1, timeout),
        lambda timeout: lock.acquire(True, timeout),
        lambda timeout: lock.acquire(timeout=timeout),
        lambda timeout: event.wait(timeout),
        lambda timeout: Barrier(parties=1).wait(timeout),
        lambda timeout: Consumer("c", group="other", timeout=timeout),
        lambda timeout: Producer(ringipc.unix("@never", bind=False), timeout=timeout),
    ]


def test_a_bad_timeout_is_refused_at_once(producer: Producer, consumer: Consumer) -> None:
    """Also if there is nothing to wait for."""
    for call in waits(producer, consumer):
        for timeout, error in BAD_TIMEOUTS:
            with pytest.raises(error, match="timeout must be None or a number of seconds"):
                call(timeout)
    assert (producer.stats.messages, consumer.stats.messages) == (9, 0)


def test_a_bool_as_a_timeout_is_refused_with_advice(producer: Producer, consumer: Consumer) -> None:
    with pytest.raises(TypeError, match=r"not True; write timeout=5 .* timeout=0 or put_nowait\(\) not to wait"):
        producer.put(b"m", True)
    with pytest.raises(TypeError, match=r"not False; write timeout=5 .* timeout=0 or get_nowait\(\) not to wait"):
        consumer.get(False)
    calls = waits(producer, consumer)
    for call in calls[3:5] + calls[9:]:
        with pytest.raises(TypeError, match=r"not True; write timeout=5 .* timeout=0 not to wait"):
            call(True)
    with pytest.raises(TypeError, match=r"not True; write linger=5 .* linger=0 not to wait"):
        Producer("other", linger=True)


@pytest.mark.parametrize(
    "timeout", [None, 0, 0.0, 1, 5.5, np.float32(1), np.int64(2), 1e300, float("inf"), 10**20, BEYOND]
)
def test_a_timeout_takes_numbers_of_any_type(producer: Producer, consumer: Consumer, timeout: Any) -> None:
    assert producer.put(b"m", timeout) is True
    assert consumer.get(timeout) == b"m"


def test_a_lock_is_called_as_in_threading() -> None:
    with contextlib.closing(Lock()) as shared:
        for lock in shared, threading.Lock():
            assert not lock.locked()
            assert lock.acquire(True, -1)
            assert lock.locked()
            assert not lock.acquire(False)
            assert not lock.acquire(blocking=False)
            assert not lock.acquire(0)  # type: ignore[arg-type]
            assert not lock.acquire(True, 0.001)
            assert not lock.acquire(timeout=0)
            for blocking, timeout in (False, 1), (False, 0), (True, -2), (True, float("nan")):
                with pytest.raises(ValueError):
                    lock.acquire(blocking, timeout)
            assert not lock.acquire(False, -1)
            lock.release()
            assert lock.acquire(blocking=False)
            lock.release()


def test_a_lock_takes_no_seconds_in_place_of_blocking() -> None:
    with Lock() as lock:
        for blocking in 0.5, 5, None, "yes":
            with pytest.raises(TypeError, match=r"write acquire\(timeout=5\)"):
                lock.acquire(blocking)  # type: ignore[arg-type]
        assert not lock.acquire(False)


def test_a_semaphore_takes_no_bool_as_a_number_of_units() -> None:
    semaphore = Semaphore(value=1)
    for call in semaphore.acquire, semaphore.P, semaphore.release, semaphore.V:
        for n in True, False:
            with pytest.raises(TypeError, match=rf"not {n}; write acquire\(blocking=False\) .* acquire\(timeout=5\)"):
                call(n)
    assert semaphore.value == 1
    assert semaphore.acquire(blocking=False)
    assert not semaphore.acquire(blocking=False)
    assert not semaphore.acquire(2, blocking=False)
    assert not semaphore.acquire(timeout=0.001, blocking=True)
    with pytest.raises(ValueError, match="timeout"):
        semaphore.acquire(timeout=1, blocking=False)
    with pytest.raises(TypeError, match="blocking"):
        semaphore.acquire(blocking=0.5)  # type: ignore[arg-type]
    semaphore.close()


@pytest.mark.parametrize("shape", [3, np.int64(3), np.array(3), (3,), [np.uint8(3)], np.array([3])])
def test_a_shape_takes_integers_of_any_type(producer: Producer, consumer: Consumer, shape: Any) -> None:
    with producer.reserve(shape, "f4") as array:
        array[:] = 7
    assert consumer.get().tolist() == [7, 7, 7]


@pytest.mark.parametrize("shape", [1.5, "3", None, [2, 1.5], [[2]], {"a": 1}])
def test_an_invalid_shape_is_refused_by_name(producer: Producer, shape: Any) -> None:
    with pytest.raises(TypeError, match="shape must be an integer or a sequence of integers"):
        producer.reserve(shape)


def test_impossible_shapes_are_refused(producer: Producer, consumer: Consumer) -> None:
    for negative in (-1, (2, -1), np.int64(-3)):
        with pytest.raises(ValueError, match="from 0 up"):
            producer.reserve(negative)
    for huge in (1 << 70, (1 << 40, 1 << 40), (0, 1 << 70), (1 << 62, 0, 4)):
        with pytest.raises(MessageTooLarge), producer.reserve(huge, "f8"):
            pass
    with pytest.raises(ValueError, match="64 dimensions"), producer.reserve((1,) * 65):
        pass
    assert producer.put(b"goes on")
    assert consumer.get() == b"goes on"


# ---- the results of put and put_many ----


def test_put_returns_whether_the_message_was_put() -> None:
    with Producer("c", capacity=4096, slots=2, overflow="drop-new") as producer, Consumer("c") as consumer:
        assert [producer.put(b""), producer.put_nowait(b""), producer.put(b""), producer.put_nowait(b"")] == [
            True,
            True,
            False,
            False,
        ]
        assert (producer.stats.messages, producer.stats.refused) == (2, 2)
        assert consumer.get_many(9) == [b"", b""]
        assert producer.put(b"") is True


def test_aput_returns_whether_the_message_was_put() -> None:
    async def put_twice(producer: Producer) -> list[bool]:
        return [await producer.aput(b"1"), await producer.aput(b"2")]

    with Producer("c", capacity=4096, slots=1, overflow="drop-new") as producer, Consumer("c"):
        assert asyncio.run(put_twice(producer)) == [True, False]


@pytest.mark.parametrize("overflow", ["drop-new", "drop-old"])
def test_put_many_counts_refused_messages_as_handled(overflow: Any) -> None:
    """The message in the middle finds no room; the next ones do."""
    messages = [b"a" * 5000, b"b" * 5000, b"c", b"d" * 5000, b"e"]
    with Producer("c", capacity=8192, overflow=overflow) as producer, Consumer("c") as consumer:
        held = None
        if overflow == "drop-old":  # a message with a view on it is not dropped
            assert producer.put_many(messages[:1]) == 1
            held = consumer.message()
            messages[0] = b""
        assert producer.put_many(messages) == 5
        assert producer.stats.refused == 2
        assert producer.put_many(messages[5:]) == 0
        del held


def test_put_many_after_a_timeout_continues_where_it_stopped() -> None:
    messages = [b"%d" % k for k in range(10)]
    with Producer("c", capacity=4096, slots=4) as producer, Consumer("c") as consumer:
        n = producer.put_many(messages, timeout=0.01)
        assert n == 4
        got = consumer.get_many(10)
        while n < len(messages):
            n += producer.put_many(messages[n:], timeout=0.01)
            got += consumer.get_many(10)
        assert got == messages
        assert producer.put_many([]) == 0


@pytest.mark.parametrize("bad", [object(), bytes(9000), 1 + 1j])
def test_put_many_puts_the_messages_before_a_bad_one(bad: object) -> None:
    with Producer("c", capacity=8192, max_message=8192) as producer, Consumer("c") as consumer:
        with pytest.raises((TypeError, MessageTooLarge)) as caught:
            producer.put_many([b"1", b"2", bad, b"3"])
        assert caught.value.__notes__ == ["put_many: messages[2] failed; 2 message(s) had been put before it"]
        assert consumer.get_many(9) == [b"1", b"2"]


def test_put_many_reports_how_many_were_refused_before_a_bad_message() -> None:
    with Producer("c", capacity=8192, max_message=8192, slots=2, overflow="drop-new") as producer, Consumer("c"):
        with pytest.raises(MessageTooLarge) as caught:
            producer.put_many([b"1", b"2", b"3", bytes(9000)])
        assert caught.value.__notes__ == [
            "put_many: messages[3] failed; 2 message(s) had been put before it, and 1 refused by the full lane"
        ]


class Reads:
    """A message that, while it is pickled, reads what was put before it, as another process could."""

    def __init__(self, consumer: Consumer, got: list[object]) -> None:
        self.consumer, self.got = consumer, got

    def __reduce__(self) -> tuple[type[int], tuple[()]]:
        while True:
            try:
                self.got.append(self.consumer.get_nowait())
            except ringipc.Empty:
                return int, ()


@pytest.mark.parametrize("overflow", ["drop-new", "drop-old"])
def test_put_many_in_a_lane_that_drops_publishes_each_message_at_once(overflow: Any) -> None:
    with (
        Producer("c", capacity=4096, slots=4, overflow=overflow, pickle=True) as producer,
        Consumer("c", pickle=True) as consumer,
    ):
        got: list[object] = []
        messages = [Reads(consumer, got) for _ in range(100)]
        assert producer.put_many(messages) == 100
        assert got == [0] * 99
        assert (producer.stats.refused, producer.stats.dropped, consumer.stats.missed) == (0, 0, 0)


def test_a_full_lane_still_raises_full() -> None:
    with Producer("c", capacity=4096, slots=1) as producer, Consumer("c"):
        assert producer.put(b"")
        with pytest.raises(Full):
            producer.put(b"", 0)
        with pytest.raises(Full):
            producer.put_nowait(b"")
