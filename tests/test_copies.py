"""Bytes and small arrays are copied. A copy that is in use is never overwritten."""

import io
import sys
import sysconfig
import weakref
from typing import Any

import numpy as np
import pytest

from ringipc import Consumer, Producer

SMALL = 512  # bytes: the largest array that is copied


def test_an_array_of_at_most_512_bytes_is_a_copy_and_a_larger_one_a_view(
    producer: Producer, consumer: Consumer
) -> None:
    for size in (0, 1, SMALL, SMALL + 1):
        producer.put(np.full(size, 7, "u1"))
        got = consumer.get()
        assert got.tolist() == [7] * size
        assert (consumer.stats.held, producer.stats.backlog) == ((0, 0) if size <= SMALL else (1, 1))
        with pytest.raises(ValueError, match="WRITEABLE"):
            got.flags.writeable = True
        del got


def test_small_arrays_that_are_kept_leave_the_lane_free(consumer: Consumer) -> None:
    with Producer("c", slots=16) as producer:
        kept = []
        for k in range(1000):
            producer.put_nowait(np.full((2, 2), k))
            kept.append(consumer.get())
        assert [array.tolist() for array in kept] == [[[k, k], [k, k]] for k in range(1000)]


def test_get_many_returns_different_arrays(producer: Producer, consumer: Consumer) -> None:
    for _ in range(3):
        producer.put_many([np.full(4, k) for k in range(50)])
        assert [array.tolist() for array in consumer.get_many(100)] == [[k] * 4 for k in range(50)]


@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="without the GIL every array is new")
def test_a_loop_over_small_arrays_makes_no_new_ones(producer: Producer, consumer: Consumer) -> None:
    made = set()
    for k in range(20):
        producer.put(np.full(4, k))
        array = consumer.get()
        assert array.tolist() == [k] * 4
        made.add(id(array))
    assert len(made) == 2


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda a: a, id="array"),
        pytest.param(lambda a: a[1:], id="slice"),
        pytest.param(lambda a: a.T, id="transposed"),
        pytest.param(memoryview, id="memoryview"),
        pytest.param(lambda a: a.base, id="base"),
        pytest.param(lambda a: memoryview(a.base), id="memoryview of the base"),
        pytest.param(lambda a: np.frombuffer(a, "f4"), id="frombuffer"),
        pytest.param(lambda a: a.flat, id="iterator"),
        pytest.param(lambda a: a.view("u4"), id="another dtype"),
    ],
)
def test_what_refers_to_a_small_array_keeps_its_elements(producer: Producer, consumer: Consumer, use: Any) -> None:
    kept = []
    for k in range(10):
        producer.put(np.full((2, 2), k, "f4"))
        kept.append(use(consumer.get()))
    for k, one in enumerate(kept):
        values = np.frombuffer(one, "f4") if isinstance(one, memoryview) or not hasattr(one, "__array__") else one
        expected = np.float32(k).view("u4") if getattr(values, "dtype", None) == np.uint32 else k
        assert set(np.array(values).ravel().tolist()) == {expected}


def test_a_weak_reference_sees_no_other_message(producer: Producer, consumer: Consumer) -> None:
    references: list[weakref.ref[Any]] = []
    for k in range(10):
        producer.put(np.full(4, k))
        references.append(weakref.ref(consumer.get()))
        for j, reference in enumerate(references):
            array = reference()
            assert array is None or array.tolist() == [j] * 4
            del array


def test_a_callback_of_a_weak_reference_can_get(producer: Producer, consumer: Consumer) -> None:
    got: list[int] = []

    def get_one(_: object) -> None:
        got.append(int(consumer.get()[0]))

    references = []
    for k in range(20):
        producer.put(np.full(4, 2 * k))
        producer.put(np.full(4, 2 * k + 1))
        array = consumer.get()
        got.append(int(array[0]))
        if k < 3:
            references.append(weakref.ref(array, get_one))
        del array
    while len(got) < 40:
        got.append(int(consumer.get()[0]))
    assert sorted(got) == list(range(40))


@pytest.mark.parametrize(
    "change",
    [
        "array.shape = (4,)",
        "array.shape = (4, 1)",
        "array.dtype = 'i4'",
        "array.strides = (4, 8)",
        "array.strides = (0, 0)",
        "array.setflags(align=False)",
        "array.__setstate__((1, (3,), np.dtype('u1'), False, b'abc'))",
        "array.data = memoryview(bytearray(16))",
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_array_that_was_changed_in_place_is_not_used_again(
    producer: Producer, consumer: Consumer, change: str
) -> None:
    for k in range(6):
        producer.put(np.full((2, 2), k, "f4"))
        array = consumer.get()
        assert (array.shape, array.strides, array.dtype) == ((2, 2), (8, 4), np.float32)
        assert array.tolist() == [[k, k], [k, k]]
        assert array.flags.aligned
        assert not array.flags.writeable
        try:
            exec(change, {"array": array, "np": np})
        except AttributeError:  # this version of NumPy does not allow it
            pytest.skip(f"numpy {np.__version__}")


def test_arrays_with_other_headers_between(producer: Producer, consumer: Consumer) -> None:
    c = np.arange(6, dtype="f4").reshape(2, 3)
    arrays: list[Any] = [
        c,
        np.asfortranarray(c),
        c.astype("i4"),
        c.reshape(3, 2),
        c.astype("f8"),
        c[:, ::2],
        np.float32(3),
    ]
    arrays.append(np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]))
    for first in arrays:
        for second in arrays:
            for array in (first, first, second, second, first, second):
                producer.put(np.asarray(array))
                got = consumer.get()
                assert got.dtype == array.dtype
                assert got.tolist() == array.tolist()


def test_a_changed_field_name_is_not_in_the_next_array(producer: Producer, consumer: Consumer) -> None:
    for _ in range(4):
        producer.put(np.array([(1, 2)], [("a", "i4"), ("b", "i4")]))
        got = consumer.get()
        assert got.dtype.names == ("a", "b")
        got.dtype.names = ("x", "y")


def test_the_reference_count_of_a_copy_does_not_grow(producer: Producer, consumer: Consumer) -> None:
    counts = []
    for _ in range(50):
        producer.put(np.zeros(4))
        array = consumer.get()
        counts.append((sys.getrefcount(array), sys.getrefcount(array.base)))
    assert len(set(counts[2:])) == 1


def test_copies_outlive_the_consumer(producer: Producer) -> None:
    with Consumer("c") as consumer:
        producer.put_many([np.full(4, 1), np.full(4, 2)])
        arrays = [consumer.get(), consumer.get()]
    assert [array.tolist() for array in arrays] == [[1] * 4, [2] * 4]


USED_AGAIN = 4096  # bytes: the longest bytes object that is used again


@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="without the GIL all bytes are new")
@pytest.mark.parametrize("size", [2, 64, USED_AGAIN])
def test_a_loop_over_short_bytes_makes_no_new_ones(producer: Producer, consumer: Consumer, size: int) -> None:
    producer.put(b"first")
    consumer.get()  # the first message of a lane takes another path
    made, others = set(), []
    for k in range(20):
        producer.put(bytes([k]) * size)
        message = consumer.get()
        assert message == bytes([k]) * size
        made.add(id(message))
        others.append(bytes([k]) * size)  # would get the memory of a message that was freed
    assert len(made) == 2


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda b: b, id="bytes"),
        pytest.param(memoryview, id="memoryview"),
        pytest.param(lambda b: np.frombuffer(b, "u1"), id="frombuffer"),
        pytest.param(io.BytesIO, id="BytesIO"),
        pytest.param(lambda b: {b: None}, id="key"),
        pytest.param(lambda b: b.strip, id="method"),
    ],
)
def test_what_refers_to_bytes_keeps_their_content(producer: Producer, consumer: Consumer, use: Any) -> None:
    messages = [b"%04d" % k for k in range(10)]
    kept = []
    for message in messages:
        producer.put(message)
        kept.append(use(consumer.get()))
    for message, one in zip(messages, kept, strict=True):
        content = one() if callable(one) else one.read() if isinstance(one, io.BytesIO) else one
        assert (list(content) == [message]) if isinstance(content, dict) else bytes(content) == message


def test_bytes_are_hashed_by_their_present_content(producer: Producer, consumer: Consumer) -> None:
    for k in range(10):
        producer.put(b"%04d" % k)
        assert hash(consumer.get()) == hash(b"%04d" % k)


def test_a_file_in_memory_does_not_change_what_comes_next(producer: Producer, consumer: Consumer) -> None:
    """BytesIO writes into bytes in place if nothing else refers to them."""
    for k in range(10):
        producer.put(b"%04d" % k)
        file = io.BytesIO(consumer.get())
        file.write(b"none")
        assert file.getvalue() == b"none"


def test_messages_of_all_lengths_come_out_whole(producer: Producer, consumer: Consumer) -> None:
    for size in [0, 1, 2, 1, 0, 64, 63, 64, 64, USED_AGAIN, USED_AGAIN + 1, USED_AGAIN, 1, 1]:
        for value in (7, 8):
            producer.put(bytes([value]) * size)
            assert consumer.get() == bytes([value]) * size
