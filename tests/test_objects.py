"""Objects with pickle=True: how they are laid out, code that runs while they are pickled, and reducers."""

import copyreg
import pickle
import socket
import threading
import time
import weakref
from collections.abc import Callable
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest
from conftest import Start

from ringipc import Consumer, Corrupt, Empty, Full, MessageTooLarge, Producer, UnsafeMessage
from ringipc.codecs import pickled

Picklers = tuple[Producer, Consumer]


class Runs:
    """Pickled as None, after a call of its function."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def __reduce__(self) -> tuple[Any, ...]:
        self.function()
        return eval, ("None",)


def test_an_object_without_arrays_is_a_pickle_and_nothing_else(picklers: Picklers) -> None:
    producer, consumer = picklers
    for value in ({"a": 1}, (1, 2.5, "text"), None, [{1}, b"x" * 5000], "x" * 200_000, {"a": bytearray(100_000)}):
        before = producer.stats.bytes
        producer.put(value)
        assert producer.stats.bytes - before == len(pickle.dumps(value, 5))
        assert consumer.get(timeout=0) == value


def test_a_pickler_keeps_no_object(picklers: Picklers) -> None:
    producer, consumer = picklers

    class Known(threading.local):
        def __reduce__(self) -> tuple[Any, ...]:
            return int, ()

    for more in ([], [bytes(5000)], [np.zeros(5)]):
        value: Any = Known()
        known = weakref.ref(value)
        array = np.arange(9)
        memory = weakref.ref(array)
        producer.put([value, more, array])
        del value, array
        assert known() is None
        assert memory() is None
        assert consumer.get(timeout=0)[0] == 0


# ---- code that runs while an object is pickled ----


def fails() -> None:
    raise KeyError("no")


def interrupts() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("function", "error"), [(fails, UnsafeMessage), (interrupts, KeyboardInterrupt)])
@pytest.mark.parametrize("beside", [[], [np.zeros(3)], [bytes(100_000)]], ids=["small", "array", "large"])
def test_an_exception_while_pickling_puts_nothing_and_loses_nothing(
    picklers: Picklers, function: Callable[[], None], error: type[BaseException], beside: list[Any]
) -> None:
    producer, consumer = picklers
    producer.put({"k": 1})
    with pytest.raises(error):
        producer.put([beside, "shared", Runs(function)])
    with pytest.raises(error):
        producer.put_many(["many", [beside, Runs(function)], "never"])
    other = threading.Thread(target=producer.put, args=({"k": 2},))  # it would wait for a reservation
    other.start()
    other.join(5)
    assert not other.is_alive()
    producer.put(["shared", "shared"])
    assert consumer.get_many(9) == [{"k": 1}, "many", {"k": 2}, ["shared", "shared"]]
    assert producer.stats.messages == 4


def test_an_object_can_put_into_its_own_producer_while_it_is_pickled(picklers: Picklers) -> None:
    producer, consumer = picklers
    shared = ["shared"]

    def inner(depth: int) -> None:
        producer.put([depth, shared, np.full(3, depth), Runs(lambda: inner(depth - 1)) if depth else None])

    producer.put_many(["before", ["outer", shared, Runs(lambda: inner(3)), shared], "after"])
    got = consumer.get_many(9)
    assert [one if isinstance(one, str) else one[0] for one in got] == ["before", 0, 1, 2, 3, "outer", "after"]
    assert [one[2].tolist() for one in got[1:5]] == [[k] * 3 for k in range(4)]
    assert got[5] == ["outer", ["shared"], None, ["shared"]]
    assert got[5][1] is got[5][3]


def test_an_object_can_close_its_producer_while_it_is_pickled(base: str) -> None:
    producer = Producer("p", capacity="1 MiB", pickle=True)
    with Consumer("p", pickle=True) as consumer:
        with pytest.raises(Exception, match="closed"):
            producer.put([Runs(producer.close)])
        assert list(consumer) == []


def test_threads_pickle_at_the_same_time(picklers: Picklers) -> None:
    producer, consumer = picklers
    both = threading.Barrier(2, timeout=10)

    def send(name: str) -> None:
        for k in range(20):
            producer.put([name, k, Runs(both.wait), name * 10, Runs(both.wait)])

    threads = [threading.Thread(target=send, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    got = [consumer.get(timeout=10) for _ in range(40)]
    for thread in threads:
        thread.join(10)
    for name in "ab":
        assert [one for one in got if one[0] == name] == [[name, k, None, name * 10, None] for k in range(20)]


def test_what_is_changed_after_put_is_not_seen(picklers: Picklers) -> None:
    producer, consumer = picklers
    values: list[Any] = [[1, 2], bytearray(b"small"), bytearray(200_000), np.arange(5), [np.arange(5)]]
    for value in values:
        kept = pickle.loads(pickle.dumps(value))
        producer.put({"value": value})
        array = value[0] if isinstance(value, list) and len(value) == 1 else value
        array[:1] = array[1:2]
        array[0] = 77
        assert np.array_equal(consumer.get(timeout=0)["value"], kept)


def test_a_large_bytearray_can_change_while_put_waits_for_room() -> None:
    with Producer("p", capacity="256 KiB", pickle=True) as producer, Consumer("p", pickle=True) as consumer:
        producer.put(bytes(200_000))
        value = bytearray(b"x" * 150_000)
        waiting = threading.Thread(target=producer.put, args=({"a": value},))
        waiting.start()
        while producer.stats.waits == 0:
            time.sleep(0.001)
        value[:] = b""
        consumer.get()
        assert consumer.get(timeout=10) == {"a": b"x" * 150_000}
        waiting.join(10)


def test_an_object_that_finds_no_room_can_be_put_later() -> None:
    with (
        Producer("p", capacity=8192, slots=2, max_message=8192, pickle=True) as producer,
        Consumer("p", pickle=True) as consumer,
    ):
        producer.put_many([{"k": 0}, {"k": 1}])
        for _ in range(3):
            with pytest.raises(Full):
                producer.put_nowait({"k": 2})
        with pytest.raises(MessageTooLarge):
            producer.put({"k": bytes(9000)})
        assert consumer.get_many(2) == [{"k": 0}, {"k": 1}]
        assert producer.put_nowait({"k": 2})
        assert consumer.get(timeout=0) == {"k": 2}


@pytest.mark.parametrize("kind", pickled.KINDS)
def test_a_damaged_object_is_an_error_and_is_skipped(
    picklers: Picklers, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    """Damage that names other functions to call is not tried: whoever unpickles trusts the producers."""
    from ringipc.codecs.multipart import Parts, contents

    producer, consumer = picklers
    parts = pickled.encode({"a": 1, "b": [np.arange(3)] if kind == pickled.KIND_OF_PARTS else ["text"]})
    assert parts.kind == kind
    whole = bytes(contents(parts))
    for length in range(len(whole)):
        damaged = Parts(kind, whole[:length], [])
        with monkeypatch.context() as patch:
            patch.setattr("ringipc.codecs.encode", lambda message, pickle, damaged=damaged: damaged)
            producer.put(memoryview(b""))
        with pytest.raises((Corrupt, EOFError)):
            consumer.get(timeout=0)
    producer.put("next")
    assert consumer.get(timeout=0) == "next"
    assert consumer.stats.held == 0


# ---- reducers ----


class Registered:
    pass


def test_reducers_that_are_registered_later_are_used(picklers: Picklers) -> None:
    """Those of multiprocessing go before those of copyreg, as they do in a multiprocessing.Queue."""
    producer, consumer = picklers
    producer.put(Registered())
    assert isinstance(consumer.get(timeout=0), Registered)
    try:
        copyreg.pickle(Registered, lambda value: (str, ("copyreg",)))  # type: ignore[arg-type,return-value]
        producer.put([Registered()])
        assert consumer.get(timeout=0) == ["copyreg"]
        ForkingPickler.register(Registered, lambda value: (str, ("multiprocessing",)))
        producer.put([Registered(), np.zeros(2)])
        assert consumer.get(timeout=0)[0] == "multiprocessing"
    finally:
        copyreg.dispatch_table.pop(Registered, None)
        ForkingPickler._extra_reducers.pop(Registered, None)  # type: ignore[attr-defined]


def send_connections(channel: str) -> None:
    """Put ends of a pipe and of a socket pair, and answer over the other ends."""
    mine, theirs = Pipe()
    plain, other = socket.socketpair()
    with Producer(channel, capacity="1 MiB", pickle=True) as producer:
        producer.put({"connection": theirs, "socket": other, "array": np.arange(3)})
        assert mine.recv() == "over the connection"
        mine.send("and back")
        assert plain.recv(100) == b"over the socket"
        theirs.close()  # OSError, if the other process has closed it by its number
        other.close()
        producer.put(theirs.closed)
    mine.close()
    plain.close()


def test_a_connection_and_a_socket_arrive_usable(start: Start) -> None:
    start(send_connections, "p")
    with Consumer("p", pickle=True, timeout=20) as consumer:
        got = consumer.get(timeout=20)
        assert isinstance(got["connection"], Connection)
        assert got["array"].tolist() == [0, 1, 2]
        got["connection"].send("over the connection")
        assert got["connection"].recv() == "and back"
        got["socket"].send(b"over the socket")
        got["connection"].close()
        got["socket"].close()
        del got
        assert consumer.get(timeout=20) is True


def test_a_lock_of_multiprocessing_is_refused_as_by_its_queues(picklers: Picklers) -> None:
    producer, consumer = picklers
    with pytest.raises(UnsafeMessage, match="through inheritance"):
        producer.put([get_context("spawn").Lock()])
    with pytest.raises(Empty):
        consumer.get_nowait()


@pytest.mark.parametrize("pickle", [True, False])
def test_what_is_copied_to_be_put_later_is_put_as_it_was(pickle: bool) -> None:
    array = np.arange(6.0).reshape(2, 3)
    fortran = np.asfortranarray(array)
    values: list[Any] = [
        b"bytes",
        bytearray(b"changes"),
        array,
        fortran,
        {"a": [array, 1], "b": "text"},
        (1, 2),
        "text",
    ]
    values += [{1, 2}, [bytearray(b"inside")]] if pickle else []
    with Producer("p", capacity="1 MiB", pickle=pickle) as producer, Consumer("p", pickle=pickle) as consumer:
        for value in values:
            producer.put(value)
        copies = [producer._copy_of(value) for value in [*values, memoryview(values[1])]]
        values[1][:] = b"chan..."
        array[:] = -1
        fortran[:] = -1
        for copied in copies:
            assert producer.put(copied)
        before = [consumer.get(timeout=0) for _ in values]
        for expected in [*before, b"changes"]:
            got = consumer.get(timeout=0)
            np.testing.assert_equal(got, expected)
            assert type(got) is type(expected)
        with pytest.raises(UnsafeMessage, match=r"^channel 'p'"):
            producer._copy_of(lambda: None)
