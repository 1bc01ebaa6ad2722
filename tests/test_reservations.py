"""Messages that are filled in the lane: bytes whose length is known at the end, and records with arrays."""

import gc
import os
import signal
import socket
import threading
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np
import pytest
from conftest import Start

import ringipc
from ringipc import Closed, Consumer, Empty, Full, MessageTooLarge, Producer, ProducerDied, UnsafeMessage

FRAME = ringipc.empty((2, 3), "f4")


def address_of(array: np.ndarray[Any, Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


# ---- bytes ----


def test_bytes_are_as_long_as_the_encoder_says(producer: Producer, consumer: Consumer) -> None:
    with producer.reserve_bytes(1000, type=9) as room:
        assert (room.buffer.nbytes, room.buffer.readonly, room.length) == (1000, False, 1000)
        room.buffer[:5] = b"hello"
        room.length = 5
        with pytest.raises(Empty):
            consumer.get_nowait()
    message = consumer.message()
    assert (message.payload, message.type) == (b"hello", 9)
    assert producer.stats.bytes == 5


@pytest.mark.parametrize("size", [0, 1, 64, 4096, 200_000])
def test_bytes_of_any_length(producer: Producer, consumer: Consumer, size: int) -> None:
    for length in {0, 1, size - 1, size} & set(range(size + 1)):
        with producer.reserve_bytes(size) as room:
            room.buffer[:length] = os.urandom(length)
            sent = bytes(room.buffer[:length])
            room.length = length
        assert consumer.get_nowait() == sent
    with producer.reserve_bytes(size) as room:
        room.buffer[:] = sent = os.urandom(size)
    assert consumer.get_nowait() == sent


def test_what_a_message_does_not_use_is_room_for_the_next() -> None:
    with Producer("c", capacity=65536, slots=64) as producer, Consumer("c") as consumer:
        for k in range(16):  # each reserves half of the lane
            with producer.reserve_bytes(32768) as room:
                room.buffer[:1] = bytes([k])
                room.length = 1
        assert consumer.get_many(99) == [bytes([k]) for k in range(16)]


def test_a_socket_receives_into_the_lane(producer: Producer, consumer: Consumer) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.send(b"from afar")
        with producer.reserve_bytes(65536) as room:
            room.length = near.recv_into(room.buffer)
    assert consumer.get_nowait() == b"from afar"


def test_a_view_of_reserved_bytes() -> None:
    with Producer("c") as producer, Consumer("c", copy=False) as consumer:
        with producer.reserve_bytes(64) as room:
            room.buffer[:3] = b"abc"
            room.length = 3
        view = consumer.get()
        assert (view, view.readonly) == (b"abc", True)
        del view


@pytest.mark.parametrize("bad", [-1, 11, 1 << 70])
def test_a_length_beyond_what_was_reserved_is_refused(producer: Producer, consumer: Consumer, bad: int) -> None:
    with pytest.raises(ValueError, match="length must be from 0 to 10"), producer.reserve_bytes(10) as room:
        room.length = bad
    with pytest.raises(Empty):
        consumer.get_nowait()
    with pytest.raises(TypeError), producer.reserve_bytes(10) as room:
        room.length = 1.5  # type: ignore[assignment]
    producer.put(b"next")
    assert consumer.get_nowait() == b"next"


def test_the_buffer_ends_with_the_block(producer: Producer, consumer: Consumer) -> None:
    with producer.reserve_bytes(8) as room:
        buffer = room.buffer
        buffer[:] = bytes(8)
    with pytest.raises(ValueError, match="released"):
        buffer[0] = 1
    with producer.reserve_bytes(8) as room:
        array = np.frombuffer(room.buffer, "u1")  # it keeps the memory: it cannot be released
        array[:] = 3
    assert consumer.get_many(2) == [bytes(8), bytes([3] * 8)]
    assert array.tolist() == [3] * 8


def test_sizes_that_cannot_be_are_refused(producer: Producer, consumer: Consumer) -> None:
    with pytest.raises(ValueError, match="size must be from 0 up"):
        producer.reserve_bytes(-1)
    with pytest.raises(TypeError):
        producer.reserve_bytes(1.5)  # type: ignore[arg-type]
    with pytest.raises(OverflowError, match="type must be"):
        producer.reserve_bytes(1, type=-1)
    for huge in (1 << 60, 1 << 63, 1 << 70):
        with pytest.raises(MessageTooLarge, match=f"{huge} bytes"), producer.reserve_bytes(huge):
            pass
    producer.put(b"goes on")
    assert consumer.get() == b"goes on"


def test_a_reservation_waits_for_room_and_is_refused_like_a_put() -> None:
    with Producer("c", capacity=4096, slots=1) as producer, Consumer("c") as consumer:
        for reserve in (lambda: producer.reserve_bytes(9, 0.01), lambda: producer.reserve({"f": FRAME}, timeout=0.01)):
            producer.put(b"1")
            with pytest.raises(Full, match=r"no room within 0\.01 s"), reserve():
                pass
            assert consumer.get() == b"1"
    with pytest.raises(Closed), producer.reserve_bytes(1):
        pass
    with pytest.raises(Closed), producer.reserve({"f": FRAME}):
        pass


def test_a_refused_reservation_has_memory_of_its_own() -> None:
    with Producer("c", capacity=4096, slots=1, overflow="drop-new") as producer, Consumer("c") as consumer:
        producer.put(b"1")
        with producer.reserve_bytes(100) as room:
            room.buffer[:] = bytes(100)
            room.length = 3
        with producer.reserve({"f": FRAME}) as record:
            record["f"][:] = 1
            assert address_of(record["f"]) % 64 == 0
        assert not record["f"].flags.writeable
        assert producer.stats.refused == 2
        assert consumer.get() == b"1"
        with pytest.raises(Empty):
            consumer.get_nowait()


# ---- records ----


def test_the_arrays_of_a_record_are_filled_in_the_lane(producer: Producer, consumer: Consumer) -> None:
    mask = np.arange(6).reshape(2, 3).T
    times = np.array(["2020-01-01", "2021-01-01"], "M8[s]")
    template = {
        "id": 7,
        "frame": FRAME,
        "more": [(ringipc.empty(5, "i8"), "text"), {"scalar": ringipc.empty((), "f8")}],
        "mask": mask,
        "times": times,
        "view": memoryview(b"0123456789")[::2],
        "none": ringipc.empty((3, 0)),
    }
    with producer.reserve(template, type=4) as record:
        with pytest.raises(Empty):
            consumer.get_nowait()
        for array in (record["frame"], record["more"][0][0], record["more"][1]["scalar"], record["none"]):
            assert address_of(array) % 64 == 0
            assert array.flags.writeable
        assert (record["id"], record["mask"] is mask) == (7, True)
        record["frame"][:] = 1.5
        record["more"][0][0][:] = np.arange(5)
        record["more"][1]["scalar"][...] = 2.5
    for array in (record["frame"], record["more"][0][0], record["more"][1]["scalar"]):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            array.flags.writeable = True
    assert template["frame"] is FRAME
    message = consumer.message()
    got = message.payload
    assert message.type == 4
    assert list(got) == list(template)
    assert (got["id"], got["view"], type(got), type(got["more"]), type(got["more"][0])) == (
        7,
        b"02468",
        dict,
        list,
        tuple,
    )
    assert (got["frame"].dtype, got["frame"].tolist()) == (np.float32, [[1.5] * 3] * 2)
    assert got["more"][0][0].tolist() == [0, 1, 2, 3, 4]
    assert got["more"][0][1] == "text"
    assert (got["more"][1]["scalar"].shape, got["more"][1]["scalar"][()]) == ((), 2.5)
    assert (got["mask"] == mask).all()
    assert got["mask"].flags.f_contiguous
    assert (got["times"] == times).all()
    assert got["none"].shape == (3, 0)
    assert not got["frame"].flags.owndata


@pytest.mark.parametrize(
    "dtype", ["u1", "c16", "M8[us]", "S3", "U2", "V5", "?", "i4,f8", [("a", "f4", (2,)), ("b", "u1")]]
)
@pytest.mark.parametrize("shape", [(), 1, 3, (2, 0, 3), (1, 4, 1), (1,) * 20])
def test_arrays_of_any_dtype_and_shape(producer: Producer, consumer: Consumer, dtype: Any, shape: Any) -> None:
    with producer.reserve([ringipc.empty(shape, dtype), ringipc.empty(shape, dtype)]) as record:
        for k, array in enumerate(record):
            assert (array.dtype, array.shape) == (np.empty(shape, dtype).dtype, np.empty(shape).shape)
            array[...] = np.frombuffer(bytes([k]) * array.itemsize, array.dtype)[0]
        sent = [array.tobytes() for array in record]
    got = consumer.get()
    assert [array.tobytes() for array in got] == sent
    assert all(
        (array.dtype, array.shape) == (sent_.dtype, sent_.shape) for array, sent_ in zip(got, record, strict=True)
    )


def test_a_record_in_the_block_is_read_only(producer: Producer, consumer: Consumer) -> None:
    """An array that is assigned, and not filled, would be lost."""
    with pytest.raises(TypeError, match="does not support item assignment"), producer.reserve({"f": FRAME}) as record:
        record["f"] = np.ones((2, 3))
    with pytest.raises(TypeError, match="does not support item assignment"), producer.reserve([FRAME]) as record:
        record[0] = np.ones((2, 3))
    with pytest.raises(Empty):
        consumer.get_nowait()


def test_an_exception_discards_a_record(producer: Producer, consumer: Consumer) -> None:
    with pytest.raises(KeyError), producer.reserve({"f": FRAME}) as record:
        record["f"][:] = 1
        raise KeyError
    assert not record["f"].flags.writeable
    producer.put(b"next")
    assert consumer.get_nowait() == b"next"


def test_what_a_record_cannot_hold_is_refused_and_nothing_stays_reserved(
    producer: Producer, consumer: Consumer
) -> None:
    loop: list[Any] = [FRAME]
    loop.append(loop)
    deep: Any = FRAME
    for _ in range(101):
        deep = [deep]
    for bad, text in (
        ({"a": [FRAME, {1}]}, r"channel 'c': at \['a'\]\[1\]: 'set' object"),
        ({"a": FRAME, "b": ringipc.empty(2, object)}, "channel 'c': .* holds Python objects"),
        ({"a": FRAME, "b": 1 << 70}, "channel 'c': at .* an int must lie"),
        (loop, "channel 'c': .* nested more than 100 deep, or contain themselves"),
        ([FRAME, deep], "channel 'c': .* nested more than 100 deep"),
    ):
        with pytest.raises(UnsafeMessage, match=text), producer.reserve(bad):
            pass
    for huge in ((1 << 40, 1 << 40), 1 << 62, 1 << 45, (0, 1 << 70)):
        with pytest.raises(MessageTooLarge), producer.reserve({"a": ringipc.empty(huge, "f8")}):
            pass
    producer.put(b"goes on")
    assert consumer.get() == b"goes on"


def test_what_fails_while_a_record_is_laid_out_leaves_nothing_reserved(
    producer: Producer, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offsets(parts: Any) -> tuple[list[int], int]:
        return [], 1000  # fewer than the blocks

    with monkeypatch.context() as patch, pytest.raises(ValueError, match="zip"):
        patch.setattr("ringipc.codecs.multipart.offsets", offsets)
        producer.reserve({"a": FRAME}).__enter__()
    producer.put(b"goes on", timeout=0)
    assert consumer.get() == b"goes on"


def test_a_description_says_at_once_what_is_wrong(producer: Producer) -> None:
    assert ringipc.empty((2, np.int64(3)), np.float32) == FRAME
    assert hash(FRAME) == hash(ringipc.empty([2, 3], "f4"))
    for shape in ("3", None, 1.5):
        with pytest.raises(TypeError, match="shape must be"):
            ringipc.empty(shape)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="from 0 up"):
        ringipc.empty(-1)
    with pytest.raises(ValueError, match="dtype with a shape"):
        ringipc.empty(1, "(2,)f4")
    with pytest.raises(TypeError, match=r"give ringipc\.empty\(\) the dtype"):
        producer.reserve({"a": FRAME}, "f4")
    with pytest.raises(TypeError, match=r"shape must be .*a record with"):
        producer.reserve({"a": 1})
    with pytest.raises(UnsafeMessage, match=r"at \['a'\]: 'EmptyArray' object"):
        producer.put({"a": FRAME})


def test_a_record_is_pickled_where_both_sides_say_so() -> None:
    with Producer("c", pickle=True) as producer, Consumer("c", pickle=True) as consumer:
        with producer.reserve({"f": FRAME, "set": {1, 2}, "void": ringipc.empty(2, "V0")}) as record:
            record["f"][:] = 4
        got = consumer.get()
        assert (got["f"].tolist(), got["set"], got["void"].shape) == ([[4] * 3] * 2, {1, 2}, (2,))
        assert not got["f"].flags.owndata
        with pytest.raises(UnsafeMessage, match="holds Python objects"), producer.reserve([ringipc.empty(1, "O")]):
            pass
        del got


def test_a_reservation_can_be_entered_again(producer: Producer, consumer: Consumer) -> None:
    reservation = producer.reserve({"f": FRAME})
    for k in range(3):
        with reservation as record:
            record["f"][:] = k
    assert [consumer.get()["f"][0, 0] for _ in range(3)] == [0, 1, 2]


# ---- who is killed in the block ----


def fill_and_wait(kind: str, ready: Event) -> None:
    producer = Producer("c", capacity="1 MiB")
    reserve: dict[str, Callable[[], Any]] = {
        "bytes": lambda: producer.reserve_bytes(100_000),
        "record": lambda: producer.reserve({"id": 1, "frame": ringipc.empty(100_000)}),
    }
    for k in range(3):
        with reserve[kind]() as filled:
            memory = filled.buffer if kind == "bytes" else filled["frame"]
            memory[:] = bytes([k]) * 100_000 if kind == "bytes" else k
    with reserve[kind]() as filled:
        memory = filled.buffer if kind == "bytes" else filled["frame"]
        memory[:50_000] = bytes([9]) * 50_000 if kind == "bytes" else 9
        ready.set()
        signal.pause()


@pytest.mark.parametrize("kind", ["bytes", "record"])
def test_a_producer_that_is_killed_while_it_fills_leaves_whole_messages(start: Start, kind: str) -> None:
    ready = get_context("spawn").Event()
    killed = start(fill_and_wait, kind, ready)
    assert ready.wait(20)
    with Consumer("c") as consumer:
        assert killed.pid
        os.kill(killed.pid, signal.SIGKILL)
        killed.join(20)
        for k in range(3):
            got = consumer.get(timeout=5)
            got = np.frombuffer(got, "u1") if kind == "bytes" else got["frame"]
            assert (len(got), (got == k).all()) == (100_000, True)
            del got
        with pytest.raises(ProducerDied):
            consumer.get(timeout=5)
    with Producer("c", capacity="1 MiB") as producer, Consumer("c") as consumer:
        producer.put(b"goes on")
        assert consumer.get(timeout=5) == b"goes on"


def fill_in_a_process(name: str) -> None:
    with Producer(name, capacity="1 MiB", timeout=20) as producer:
        with producer.reserve_bytes(1 << 19) as room:
            room.buffer[:3] = b"abc"
            room.length = 3
        with producer.reserve({"id": 7, "frame": FRAME}) as record:
            record["frame"][:] = 2


@pytest.mark.parametrize("way", ["c", "unix://@{}"])
def test_another_process_gets_what_was_filled(start: Start, base: str, way: str) -> None:
    name = way.format(os.path.basename(base))
    start(fill_in_a_process, name)
    with Consumer(name, timeout=20) as consumer:
        assert consumer.get(timeout=20) == b"abc"
        record = consumer.get(timeout=20)
        assert (record["id"], record["frame"].tolist()) == (7, [[2] * 3] * 2)
        del record


def test_other_threads_wait_for_the_end_of_the_block(producer: Producer, consumer: Consumer) -> None:
    with producer.reserve_bytes(100) as room:
        other = threading.Thread(target=lambda: producer.put(b"after", timeout=10))
        other.start()
        with pytest.raises(RuntimeError, match="reservation open"), producer.reserve({"f": FRAME}):
            pass
        room.length = 0
    other.join(10)
    assert consumer.get_many(2, timeout=5)[0] == b""


def test_views_of_a_reservation_keep_the_lane() -> None:
    producer = Producer("c")
    with Consumer("c") as consumer:
        with producer.reserve({"f": FRAME}) as record:
            record["f"][:] = 5
        frame = record["f"]
        del record
        producer.close()
        del producer
        gc.collect()
        assert frame.tolist() == [[5] * 3] * 2
        assert consumer.get()["f"].tolist() == [[5] * 3] * 2
