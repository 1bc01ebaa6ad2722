"""Messages that are longer than the capacity of their lane."""

import os
import signal
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import AnyChannel, Start

import ringipc
from ringipc import Consumer, Full, MessageTooLarge, Producer, ProducerDied, SystemRefused

SMALL = "64 KiB"
LARGE = 1 << 20


def frame(k: int, size: int = LARGE) -> npt.NDArray[np.uint8]:
    return np.full(size, k % 251, "u1")


def is_frame(array: npt.NDArray[np.uint8], k: int, size: int = LARGE) -> bool:
    return array.shape == (size,) and bool((array == k % 251).all())


def send(channel: AnyChannel, lossy: bool) -> None:
    with Producer(channel, capacity=SMALL) as producer:
        for k in range(20):
            producer.put(frame(k, LARGE + k), timeout=20)
            producer.put(k, timeout=20)
        producer.flush(timeout=20)
        assert lossy or producer.stats.allocated < LARGE  # all of it is given back


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"durable": True}, {"overflow": "drop-old"}], ids=str)
def test_the_natural_loop_gets_them(any_channel: AnyChannel, start: Start, options: dict[str, Any]) -> None:
    """The loop holds one message while it waits for the next."""
    lossy = "overflow" in options
    start(send, any_channel, lossy)
    with Consumer(any_channel, timeout=20, **options) as consumer:
        got = 0
        for message in consumer:
            if isinstance(message, int):
                got += 1
            else:
                k = message.size - LARGE
                assert is_frame(message, k, LARGE + k)
        assert lossy or got == 20
        del message
    if "durable" in options:
        channel = any_channel if isinstance(any_channel, ringipc.Channel) else ringipc.Channel.open(any_channel)
        channel.remove_group("default")


def test_kept_views_cost_their_own_memory() -> None:
    with Producer("c", capacity=SMALL) as producer, Consumer("c", shared=True) as consumer:
        kept = []
        for k in range(10):
            producer.put(frame(k), timeout=5)
            kept.append(consumer.get(timeout=5))
            producer.put(k, timeout=5)
            assert consumer.get(timeout=5) == k
        assert all(is_frame(view, k) for k, view in enumerate(kept))
        assert producer.stats.allocated >= 10 * LARGE
        del kept
        consumer.close()
        producer.put(frame(0))
        producer.put(b"")
        assert producer.stats.allocated < 3 * LARGE


def test_every_kind_of_message_can_be_longer_than_the_lane() -> None:
    with (
        Producer("c", capacity=SMALL, pickle=True) as producer,
        Consumer("c", pickle=True, copy=True) as consumer,
    ):
        for message in bytes(LARGE), "ü" * LARGE, {"a": frame(1), "b": [1.5, frame(2)]}, [1] * LARGE:
            producer.put(message, timeout=5)
            got = consumer.get(timeout=5)
            assert repr(got) == repr(message)
        with producer.reserve(LARGE, "f8", timeout=5) as array:
            array[:] = 2.5
        assert consumer.get(timeout=5).sum() == 2.5 * LARGE
        with producer.reserve({"n": 5, "a": ringipc.empty(LARGE, "u1")}, timeout=5) as record:
            record["a"][:] = 7
        assert consumer.get(timeout=5)["a"].sum() == 7 * LARGE
        with pytest.raises(ZeroDivisionError), producer.reserve(LARGE, "f8", timeout=5):
            1 / 0  # noqa: B018
        assert producer.put_many([b"1", bytes(LARGE), b"2"], timeout=5) == 3
        assert [len(got) for got in consumer.get_many(3, timeout=5)] == [1, LARGE, 1]
        producer.put(frame(3), timeout=5, type=8)
        producer.put(b"before", timeout=5)
        into = np.empty(LARGE, "u1")
        assert consumer.get(timeout=5, type=8).size == LARGE
        assert consumer.get(timeout=5) == b"before"
        producer.put(frame(4), timeout=5)
        consumer.get_into(into, timeout=5)
        assert is_frame(into, 4)
        for k in range(2):
            producer.put(frame(k), timeout=5)
        assert is_frame(consumer.latest(timeout=5), 1)
        producer.flush(timeout=5)
        assert producer.stats.allocated < LARGE


def test_two_can_wait_and_a_third_one_waits_for_room() -> None:
    with Producer("c", capacity=SMALL) as producer, Consumer("c", copy=True) as consumer:
        for k in range(2):
            producer.put_nowait(frame(k))
        with pytest.raises(Full):
            producer.put(frame(2), timeout=0.01)
        producer.put_nowait(b"others pass")
        putting = threading.Thread(target=producer.put, args=(frame(2), 10))
        putting.start()
        got = [consumer.get(timeout=10) for _ in range(4)]
        putting.join()
        assert [is_frame(got[i], k) for i, k in ((0, 0), (1, 1), (3, 2))] == [True] * 3
        assert got[2] == b"others pass"


def test_the_limit_is_that_of_the_program() -> None:
    with Producer("c", capacity=SMALL, max_message="1 MiB") as producer, Consumer("c") as consumer:
        producer.put(bytes(1 << 20))
        with pytest.raises(MessageTooLarge, match=r"'c': .* 1048577 bytes is longer than 1048576 .*max_message="):
            producer.put(bytes((1 << 20) + 1))
        assert len(consumer.get()) == 1 << 20
    with pytest.raises(ValueError, match="max_message must be at least capacity: 1000 bytes are less than 2000"):
        Producer("c", capacity=2000, max_message=1000)
    with pytest.raises(ValueError, match="cannot exceed the capacity"):
        Producer("c", capacity="1 MiB", max_message="2 MiB", lane="shared")
    with Producer("c", capacity=4096, lane="shared") as producer, pytest.raises(MessageTooLarge, match="capacity="):
        producer.put(bytes(4097))
    with pytest.raises(TypeError, match="max_message must be a number of bytes"):
        Producer("c", max_message=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("anonymous", [False, True])
def test_what_no_memory_can_hold_is_refused_and_nothing_is_lost(anonymous: bool) -> None:
    channel = ringipc.Channel.anonymous() if anonymous else "c"
    huge = np.broadcast_to(np.zeros(1), 1 << 40)
    with Producer(channel, capacity=SMALL) as producer, Consumer(channel) as consumer:
        producer.put(frame(1))
        with pytest.raises(SystemRefused, match=r"memory for a message of 8796093022272 bytes.*8796093026304 bytes"):
            producer.put(huge, timeout=5)
        producer.put(frame(2))
        assert is_frame(consumer.get(), 1)
        assert is_frame(consumer.get(), 2)
    with Producer(channel, capacity=SMALL, overflow="drop-new") as producer, Consumer(channel) as consumer:
        assert producer.put(huge) is False
        assert producer.put(frame(2)) is True
        assert is_frame(consumer.get(), 2)
    if isinstance(channel, ringipc.Channel):
        channel.close()


def killed(channel: AnyChannel, in_reservation: bool) -> None:
    producer = Producer(channel, capacity=SMALL)
    producer.put(frame(1), timeout=20)
    producer.put(frame(2), timeout=20)
    producer.put(b"ready", timeout=20)
    if in_reservation:
        producer.flush(timeout=20)
        with producer.reserve(LARGE, "u1", timeout=20) as array:
            array[: LARGE // 2] = 1
            os.kill(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("in_reservation", [False, True])
def test_a_killed_producer_leaves_whole_messages_and_no_memory(
    any_channel: AnyChannel, start: Start, in_reservation: bool
) -> None:
    start(killed, any_channel, in_reservation)
    with Consumer(any_channel, timeout=20) as consumer:
        assert is_frame(consumer.get(timeout=20), 1)
        view = consumer.get(timeout=20)
        assert consumer.get(timeout=20) == b"ready"
        with pytest.raises(ProducerDied):
            consumer.get(timeout=20)
        assert is_frame(view, 2)
        del view


def takes_and_is_killed(channel: AnyChannel) -> None:
    consumer = Consumer(channel, shared=True, timeout=20)
    view = consumer.get(timeout=20)
    assert is_frame(view, 0)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_message_that_a_killed_member_had_is_redelivered(any_channel: AnyChannel, start: Start) -> None:
    with Producer(any_channel, capacity=SMALL, groups=["default"]) as producer:
        producer.put(frame(0))
        start(takes_and_is_killed, any_channel).join(20)
        with Consumer(any_channel, shared=True) as consumer, consumer.message(timeout=20) as message:
            assert message.redelivered
            assert is_frame(message.payload, 0)
        producer.flush(timeout=20)
        assert producer.stats.allocated < LARGE


@pytest.mark.long
def test_messages_of_more_than_2_gib(start: Start) -> None:
    size = (1 << 31) + 12345
    if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 4 * size:
        pytest.skip("there is not enough memory")
    with Producer("c", capacity=SMALL) as producer, Consumer("c") as consumer:
        for k in range(2):
            with producer.reserve(size, "u1", timeout=60) as array:
                array[:: 1 << 20] = k + 1
            got = consumer.get(timeout=60)
            assert got.shape == (size,)
            assert (got[:: 1 << 20] == k + 1).all()
            del got
        producer.flush(timeout=60)
        assert producer.stats.allocated < LARGE
