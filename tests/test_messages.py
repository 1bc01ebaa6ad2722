"""Bytes and arrays of every kind are received as they were put."""

import array
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ringipc import Closed, Consumer, Producer, UnsafeMessage

RECORD = np.dtype([("id", "<i4"), ("at", ">f8"), ("name", "U3"), ("grid", "f4", (2, 3)), ("inner", [("x", "i1")])])
GAPS = np.dtype({"names": ["b", "a"], "formats": ["u1", "i8"], "offsets": [12, 0], "itemsize": 24})
OVERLAP = np.dtype({"names": ["whole", "low"], "formats": ["<u4", "<u2"], "offsets": [0, 0]})
TITLED = np.dtype([(("the title", "x"), "f4"), ("y", "f4")])

DTYPES = [
    *"?bBhHiIlLqQefdgFDG",
    *(">i2", ">f8", ">c16", "<u8", "=f4"),
    *("S5", "U7", "V9", "S0", "M8[ns]", "m8[D]", "M8[25s]", ">M8[us]"),
    RECORD,
    GAPS,
    OVERLAP,
    TITLED,
    np.dtype("i1,i8", align=True),
    np.dtype([("a", "i1"), ("b", "i8")], align=True),
]


def filled(shape: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    rng = np.random.default_rng(1)
    a = np.empty(shape, dtype)
    if a.nbytes and a.flags.c_contiguous:
        a = np.frombuffer(rng.integers(1, 100, a.nbytes, dtype="u1").tobytes(), a.dtype).reshape(shape)
    return a


def same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_array_of_any_dtype_is_received_unchanged(producer: Producer, consumer: Consumer, dtype: Any) -> None:
    for shape in (3, (2, 5), (), (0,), (4, 0, 2)):
        a = filled(shape, dtype)
        producer.put(a)
        got = consumer.get(timeout=1)
        assert same(got, a)
        assert got.dtype.isalignedstruct == a.dtype.isalignedstruct
        assert got.dtype.fields == a.dtype.fields


@pytest.mark.parametrize("ndim", [1, 2, 5, 32])
def test_an_array_can_have_up_to_thirty_two_dimensions(producer: Producer, consumer: Consumer, ndim: int) -> None:
    a = filled((2,) * min(ndim, 3) + (1,) * max(0, ndim - 3), "f4")
    producer.put(a)
    assert same(consumer.get(), a)


def test_an_array_of_any_strides_is_received_unchanged(producer: Producer, consumer: Consumer) -> None:
    a = np.arange(24 * 6, dtype="f4").reshape(4, 6, 6)
    for view in (
        a[::2],
        a[:, ::-1],
        a.T,
        a[1:, 2:5, ::3],
        np.broadcast_to(a[0, 0], (3, 6)),
        a.transpose(1, 0, 2),
        a[:0],
    ):
        producer.put(view)
        got = consumer.get()
        assert np.array_equal(got, view)
        assert got.dtype == view.dtype
        assert got.shape == view.shape


def test_fortran_order_is_kept(producer: Producer, consumer: Consumer) -> None:
    a = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    producer.put(a)
    got = consumer.get()
    assert got.flags.f_contiguous
    assert not got.flags.c_contiguous
    assert np.array_equal(got, a)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 4095, 4096, 65535, 65536, 100_000, 1 << 20])
def test_bytes_of_any_length_are_received_unchanged(producer: Producer, consumer: Consumer, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    producer.put(data)
    got = consumer.get()
    assert type(got) is bytes
    assert got == data


def test_any_buffer_is_received_as_bytes(producer: Producer, consumer: Consumer) -> None:
    with mmap.mmap(-1, 4096) as mapped:
        mapped[:3] = b"abc"
        messages: list[Any] = [bytearray(b"abc"), memoryview(b"abc"), array.array("d", [1, 2]), mapped]
        for message in messages:
            producer.put(message)
            assert consumer.get() == bytes(memoryview(message))
    producer.put(memoryview(b"a-b-c-")[::2])
    assert consumer.get() == b"abc"
    fortran: Any = np.asfortranarray(np.arange(6, dtype="u1").reshape(2, 3))
    producer.put(memoryview(fortran))
    assert consumer.get() == bytes(range(6))


OBJECTS: Any = np.array([None])


class Opaque:
    pass


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ({"a": {1, 2}}, "set"),
        ([1, Opaque()], "Opaque"),
        (1 << 64, "64"),
        ({(1, 2): 3}, "key"),
        (Opaque(), "Opaque"),
        (np.array([None, 1]), "Python objects"),
        (np.array([(1, None)], dtype=[("a", "i4"), ("b", "O")]), "Python objects"),
        (np.ma.masked_array([1, 2], [True, False]), "mask"),
        (memoryview(OBJECTS), "pointers"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_unsupported_objects_are_refused_and_nothing_is_put(
    producer: Producer, consumer: Consumer, message: Any, hint: str
) -> None:
    with pytest.raises(UnsafeMessage, match=hint):
        producer.put(message)
    producer.put(b"next")
    assert consumer.get_nowait() == b"next"
    assert consumer.stats.messages == 1


def test_copy_chooses_between_views_and_copies(producer: Producer) -> None:
    a = np.arange(5)
    with (
        Consumer("c", group="default") as default,
        Consumer("c", group="always", copy=True) as always,
        Consumer("c", group="never", copy=False) as never,
    ):
        producer.put(b"abc")
        producer.put(a)
        assert default.get() == b"abc"
        view = default.get()
        assert not view.flags.owndata
        assert not view.flags.writeable
        assert always.get() == b"abc"
        copy = always.get()
        assert copy.flags.owndata
        assert copy.flags.writeable
        assert always.stats.held == 0
        data = never.get()
        assert type(data) is memoryview
        assert data.readonly
        assert bytes(data) == b"abc"
        assert np.array_equal(never.get(), a)
        del view, data
        producer.flush(1)


def test_a_message_has_its_metadata(producer: Producer, consumer: Consumer) -> None:
    import os
    import time

    before = time.monotonic_ns()
    producer.put(b"a", type=7)
    producer.put(np.zeros(3), type=2**32 - 1)
    after = time.monotonic_ns()
    first, second = consumer.message(), consumer.message(timeout=1)
    assert (first.payload, first.type, first.seq) == (b"a", 7, 0)
    assert (second.payload.tolist(), second.type, second.seq) == ([0, 0, 0], 2**32 - 1, 1)
    assert first.producer_pid == second.producer_pid == os.getpid()
    assert first.lane_id == second.lane_id
    slack = 1_000_000
    assert before - slack < first.timestamp <= second.timestamp < after + slack
    assert second.payload is second.payload
    with first:
        assert first.payload == b"a"
    second.release()
    with pytest.raises(Closed, match="released"):
        second.payload  # noqa: B018
    assert consumer.stats.held == 0


def test_types_out_of_range_are_refused(producer: Producer) -> None:
    for bad in (-1, 2**32, 2**70):
        with pytest.raises(OverflowError):
            producer.put(b"", type=bad)
    for none in ("a", 1.5):
        with pytest.raises(TypeError):
            producer.put(b"", type=none)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            producer.put_many([b""], type=none)  # type: ignore[arg-type]


def test_each_array_has_its_own_header(producer: Producer, consumer: Consumer) -> None:
    arrays: list[npt.NDArray[Any]] = [
        *(np.arange(16, dtype="f4").reshape(shape) for shape in [(4, 4), (2, 8), (16,), (4, 4), (4, 4), (4, 2, 2)]),
        *(np.arange(16, dtype=code).reshape(4, 4) for code in ["i4", "f4", ">f4", "f4"]),
        np.asfortranarray(np.arange(16, dtype="f4").reshape(4, 4)),
        np.arange(16, dtype="f4").reshape(4, 4),
        np.arange(16, dtype="f4").reshape(4, 4).view([("a", "f4")]),
        np.arange(16, dtype="f4").reshape(4, 4).view([("b", "f4")]),
        np.arange(4, dtype="f4").reshape(2, 2),
    ]
    for sent in arrays * 2:
        producer.put(sent)
        got = consumer.get(timeout=0)
        assert (got.dtype, got.shape) == (sent.dtype, sent.shape)
        assert got.flags.f_contiguous == sent.flags.f_contiguous
        assert got.tobytes() == sent.tobytes()
