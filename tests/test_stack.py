"""Several array messages in one array."""

from typing import Any

import numpy as np
import pytest

from ringipc import Channel, Consumer, Empty, EndOfStream, Producer

RECORD = np.dtype([("id", "<i4"), ("at", ">f8"), ("grid", "f4", (2,))])


@pytest.mark.parametrize("copy", [None, True, False])
@pytest.mark.parametrize("options", [{}, {"shared": True}], ids=str)
def test_messages_of_one_shape_and_dtype_become_one_array(producer: Producer, copy: bool | None, options: Any) -> None:
    with Consumer("c", group="default", copy=copy, **options) as consumer:
        for first in (
            np.arange(6, dtype="f4").reshape(2, 3),
            np.asfortranarray(np.arange(24, dtype=">i2").reshape(2, 3, 4)),
            np.array(3, "M8[us]"),
            np.zeros((0, 4)),
            np.array([(1, 2.0, (3.0, 4.0))], RECORD),
            np.arange(5000.0),
        ):
            sources = [first, first[::-1] if first.ndim else first, first]
            producer.put_many(sources)
            rows = consumer.get_many(100, 1, stack=True)
            if first.flags.f_contiguous and not first.flags.c_contiguous:  # the reversed copy is in C order
                assert rows.shape == (1, *first.shape)
                assert rows[0].flags.f_contiguous
                assert np.array_equal(rows[0], first)
                assert [len(consumer.get_many(100, 0, stack=True)) for _ in range(2)] == [1, 1]
                continue
            assert rows.shape == (3, *first.shape)
            assert rows.dtype == first.dtype
            assert np.array_equal(rows, np.stack(sources))
            assert rows.flags.writeable
            assert rows.flags.owndata
            assert consumer.stats.held == 0
        with pytest.raises(Empty):
            consumer.get(0)
        producer.flush(0)


def test_fortran_order_stays_in_each_row(producer: Producer, consumer: Consumer) -> None:
    frames = [np.asfortranarray(np.arange(24).reshape(2, 3, 4) + k) for k in range(3)]
    producer.put_many(frames)
    rows = consumer.get_many(3, stack=True)
    assert rows.shape == (3, 2, 3, 4)
    assert np.array_equal(rows, np.stack(frames))
    assert all(row.flags.f_contiguous for row in rows)


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"durable": True}], ids=str)
def test_it_ends_before_a_message_that_differs(producer: Producer, options: Any) -> None:
    with Consumer("c", group="default", **options) as consumer:
        others: list[Any] = [
            np.zeros(3, "f8"), np.zeros((3, 1), "f4"), np.zeros(4, "f4"), np.zeros(3, ">f4"), np.zeros(3, "i4"),
            np.zeros(3, [("a", "f4")]), b"x" * 76, {"a": 1},
        ]  # fmt: skip
        for other in others:
            producer.put_many([np.full(3, k, "f4") for k in range(5)] + [other])
            assert consumer.get_many(2, stack=True)[:, 0].tolist() == [0, 1]
            assert consumer.get_many(100, stack=True)[:, 0].tolist() == [2, 3, 4]
            if isinstance(other, np.ndarray):
                assert consumer.get_many(100, 0, stack=True).shape == (1, *other.shape)
            else:
                for _ in range(2):
                    with pytest.raises(TypeError, match=r"channel 'c'.*arrays only.* (76 bytes|a record); it was not"):
                        consumer.get_many(100, 0, stack=True)
                with consumer.message(0) as again:
                    assert (again.payload, again.redelivered) == (other, False)
            with pytest.raises(Empty):
                consumer.get_many(1, 0, stack=True)
        assert consumer.stats.held == 0
        assert consumer.stats.messages == 6 * len(others)
    if options.get("durable"):
        Channel.open("c").remove_group("default")


def test_old_memory_behind_a_header_is_no_difference(consumer: Consumer, producer: Producer) -> None:
    """The padding of a header holds what was in the lane before."""
    for k in range(200):
        producer.put(np.random.default_rng(k).bytes(5000))
        consumer.get()
    for k in range(300):
        producer.put_many([np.full(3, float(k))] * 3)
        assert consumer.get_many(5, stack=True).shape == (3, 3)


def test_too_little_memory_loses_nothing(producer: Producer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise MemoryError

    for shared in (False, True):
        with Consumer("c", group="default", shared=shared) as consumer:
            producer.put_many([np.full(2, k) for k in range(4)])
            with monkeypatch.context() as patch, pytest.raises(MemoryError):
                patch.setattr(np, "empty", fail)
                consumer.get_many(3, stack=True)
            assert consumer.stats.held == 0
            assert consumer.get_many(9, stack=True)[:, 0].tolist() == [0, 1, 2, 3]


def test_the_end_and_bad_counts(producer: Producer, consumer: Consumer) -> None:
    for count, error in ((0, ValueError), (True, TypeError), (1.5, TypeError)):
        with pytest.raises(error):
            consumer.get_many(count, stack=True)  # type: ignore[call-overload]
    producer.put(np.zeros(1))
    producer.close()
    assert consumer.get_many(9, stack=True).shape == (1, 1)
    with pytest.raises(EndOfStream):
        consumer.get_many(9, stack=True)
