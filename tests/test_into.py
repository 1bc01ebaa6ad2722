"""Messages copied into the caller's memory."""

import sys
import threading
from typing import Any

import numpy as np
import pytest
from conftest import Start

from ringipc import Channel, Closed, Consumer, Empty, Producer


def test_an_array_is_filled_and_the_message_released(producer: Producer, consumer: Consumer) -> None:
    target = np.zeros((2, 3), "f4")
    producer.put(np.arange(6, dtype="f4").reshape(2, 3))
    assert consumer.get_into(target) is target
    assert target.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert consumer.stats.held == 0
    producer.flush(0)


@pytest.mark.parametrize("copy", [None, True, False])
def test_strides_orders_and_dtypes(producer: Producer, copy: bool | None) -> None:
    record = np.dtype([("id", "<i4"), ("at", ">f8"), ("grid", "f4", (2,))])
    with Consumer("c", copy=copy) as consumer:
        for source in (
            np.asfortranarray(np.arange(12.0).reshape(3, 4)),
            np.arange(12, dtype=">i2").reshape(3, 4)[:, ::-1],
            np.array(7, "M8[ns]"),
            np.array([(1, 2.0, (3.0, 4.0))], record),
            np.zeros((0, 3), "u1"),
            np.arange(100_000, dtype="i8"),
        ):
            for target in (np.empty(source.shape, source.dtype), np.empty((*source.shape, 2), source.dtype)[..., 0]):
                producer.put(source)
                assert consumer.get_into(target) is target
                assert np.array_equal(target, source)


@pytest.mark.parametrize("size", [0, 5, 1 << 17])
def test_bytes_go_into_a_buffer_that_is_long_enough(producer: Producer, consumer: Consumer, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    target = bytearray(size + 3)
    producer.put(data)
    assert consumer.get_into(target) == size
    assert target == data + bytes(3)
    target.append(1)  # nothing holds the buffer any more
    array = np.zeros(size, "u1")
    producer.put(data)
    assert consumer.get_into(array.data) == size
    assert array.tobytes() == data
    assert consumer.stats.held == 0


MISFITS: list[tuple[Any, Any, type[Exception], list[str]]] = [
    (np.zeros((2, 3)), np.zeros((3, 2)), ValueError, ["(2, 3)", "(3, 2)", "float64"]),
    (np.zeros(3, "f4"), np.zeros(3, "f8"), ValueError, ["(3,)", "float32", "float64"]),
    (np.zeros(3, ">i4"), np.zeros(3, "<i4"), ValueError, [">i4", "int32"]),
    (b"12345", bytearray(4), ValueError, ["5 bytes", "4 bytes"]),
    (b"12345", np.zeros(5, "u1"), TypeError, ["5 bytes", "(5,)", "uint8"]),
    (np.zeros(3, "u1"), bytearray(3), TypeError, ["(3,)", "uint8", "3 bytes"]),
    ({"a": 1}, np.zeros(3), TypeError, ["record", "(3,)"]),
    ([1], bytearray(30), TypeError, ["record", "30 bytes"]),
]


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"durable": True}], ids=str)
@pytest.mark.parametrize(("message", "target", "error", "texts"), MISFITS, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("selected", [{}, {"type": 0}, {"where": lambda m: True}], ids=str)
def test_what_does_not_fit_is_the_next_to_get(
    producer: Producer, options: Any, message: Any, target: Any, error: type[Exception], texts: list[str], selected: Any
) -> None:
    with Consumer("c", group="default", **options) as consumer:
        producer.put(message)
        producer.put(b"next")
        before = target.tobytes() if isinstance(target, np.ndarray) else bytes(target)
        for _ in range(2):
            with pytest.raises(error) as caught:
                consumer.get_into(target, 1, **selected)
            for text in ["channel 'c'", "can be got again", *texts]:
                assert text in str(caught.value)
        assert before == (target.tobytes() if isinstance(target, np.ndarray) else bytes(target))
        assert consumer.stats.held == 0
        with consumer.message(0) as again:
            assert not again.redelivered
            assert again.seq == 0
        assert consumer.get(0) == b"next"
        with pytest.raises(Empty):
            consumer.get_into(target, 0)
    if options.get("durable"):
        Channel.open("c").remove_group("default")


def test_memory_that_cannot_be_written_takes_nothing(producer: Producer, consumer: Consumer) -> None:
    fixed = np.zeros(3)
    fixed.flags.writeable = False
    producer.put(np.ones(3))
    refused: list[tuple[Any, type[Exception]]] = [
        (fixed, ValueError), (b"123", TypeError), ("text", TypeError), (None, TypeError)
    ]  # fmt: skip
    for target, error in refused:
        with pytest.raises(error, match=r"get_into\(\) needs a writable"):
            consumer.get_into(target)
    with pytest.raises(TypeError, match="contiguous"):
        consumer.get_into(memoryview(bytearray(6))[::2])
    assert consumer.stats.messages == 0


def test_a_selected_message_is_copied(producer: Producer, consumer: Consumer) -> None:
    target = np.zeros(1)
    for k in range(4):
        producer.put(np.full(1, float(k)), type=k)
    assert consumer.get_into(target, type=2)[0] == 2
    assert consumer.get_into(target, where=lambda m: m.payload[0] == 3)[0] == 3
    assert consumer.get_into(target)[0] == 0
    assert consumer.get_into(target, 0)[0] == 1


def test_a_closed_consumer_gets_nothing(producer: Producer, consumer: Consumer) -> None:
    consumer.close()
    with pytest.raises(Closed):
        consumer.get_into(bytearray(1))


def fill_frames(count: int) -> None:
    with Producer("frames", capacity="16 MiB", groups=["default"]) as producer:
        for k in range(count):
            producer.put(np.full((1 << 20,), k % 256, "u1"))


def test_frames_of_another_process_and_threads_go_on(start: Start) -> None:
    start(fill_frames, 40)
    target = np.empty(1 << 20, "u1")
    with Consumer("frames", timeout=20) as consumer:
        for k in range(40):
            assert consumer.get_into(target, 20)[0] == k
            assert (target == k).all()


def test_the_gil_is_off_while_much_is_copied() -> None:
    source = np.arange(1 << 20)
    target = np.empty_like(source)
    interval = sys.getswitchinterval()
    with Producer("c", capacity="9 MiB") as producer, Consumer("c") as consumer:
        for _ in range(50):  # the other thread may be slow to wake up
            producer.put(source)
            ran: list[bool] = []
            gate = threading.Lock()
            gate.acquire()
            thread = threading.Thread(target=lambda gate=gate, ran=ran: (gate.acquire(), ran.append(True)))
            thread.start()
            sys.setswitchinterval(1000)  # only a thread that gives up the GIL lets others run
            try:
                gate.release()
                consumer.get_into(target)
                done = bool(ran)
            finally:
                sys.setswitchinterval(interval)
                thread.join()
            if done:
                break
        assert done
    assert np.array_equal(target, source)
