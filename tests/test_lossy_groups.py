"""Groups that lose their oldest unread messages: producers never wait for them, and each loss is counted."""

import random
import threading
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from conftest import AnyChannel, Start, rest

import ringipc
from ringipc import Consumer, Empty, EndOfStream, Full, Incompatible, Message, Producer

FRAMES = 600
SIZE = 65536 - 64
CAPACITY = 32 * 65536


def put_numbers(producer: Producer, *numbers: int) -> None:
    for k in numbers:
        producer.put_nowait(b"%d" % k)


def number_of(frame: npt.NDArray[np.uint8]) -> int:
    return int(frame[:8].view("u8")[0])


def film(channel: str | ringipc.Channel) -> None:
    with Producer("filmed", capacity=4096) as filmed:
        with Producer(channel, capacity=CAPACITY, slots=64, groups=["record", "view"]) as camera:
            frame = np.empty(SIZE, "u1")
            for k in range(FRAMES):
                frame[:8].view("u8")[:] = k
                camera.put(frame)
        filmed.put(b"")


def record(channel: str | ringipc.Channel) -> None:
    with Producer("recorded", capacity="1 MiB") as recorded, Consumer(channel, group="record", timeout=20) as recorder:
        recorded.put([number_of(frame) for frame in recorder])


def test_a_viewer_that_stalls_stops_neither_camera_nor_recorder(any_channel: AnyChannel, start: Start) -> None:
    keeper = Producer(any_channel, capacity=4096)
    viewer = Consumer(any_channel, group="view", overflow="drop-old", producers=2)
    start(record, any_channel)
    start(film, any_channel)
    got, missed, background, its_number = 0, 0, None, -1
    for frame in viewer.messages():
        number = number_of(frame.payload)
        missed += frame.missed
        assert number == got + missed  # the loss is reported exactly where it happened
        got += 1
        if background is None:
            background, its_number = frame.payload, number
            with Consumer("filmed", timeout=20) as filmed:
                filmed.get(timeout=20)  # it stalls until the camera is done
            keeper.close()
        assert number_of(frame.payload) == number
    assert background is not None
    assert number_of(background) == its_number
    assert number == FRAMES - 1
    assert got >= 16  # the newest frames, in what the one that is kept leaves of the lane
    assert viewer.stats.missed == missed > 0
    del frame, background
    viewer.close()
    with Consumer("recorded", timeout=20) as recorded:
        assert recorded.get(timeout=20) == list(range(FRAMES))


@pytest.mark.parametrize("shared", [False, True])
def test_the_oldest_unread_messages_are_lost(shared: bool) -> None:
    with (
        Producer("c", capacity=4096, slots=8) as producer,
        Consumer("c", group="all") as everything,
        Consumer("c", group="view", overflow="drop-old", shared=shared) as viewer,
    ):
        for k in range(1000):
            put_numbers(producer, k)
            assert everything.get_nowait() == b"%d" % k
        assert (producer.stats.backlog, producer.stats.dropped) == (0, 992)
        producer.flush(timeout=0)
        with viewer.message() as message:
            assert (message.payload, message.missed) == (b"992", 992)
        assert rest(viewer) == list(range(993, 1000))
        assert (viewer.stats.missed, everything.stats.missed) == (992, 0)


def test_a_group_beside_it_keeps_its_back_pressure() -> None:
    with (
        Producer("c", capacity=4096, slots=8) as producer,
        Consumer("c", group="all") as everything,
        Consumer("c", group="view", overflow="drop-old") as viewer,
    ):
        put_numbers(producer, *range(8))
        with pytest.raises(Full, match="group 'all'"):
            producer.put_nowait(b"8")
        assert viewer.stats.missed == 0
        assert everything.get() == b"0"
        put_numbers(producer, 8)
        assert (rest(viewer), viewer.stats.missed) == (list(range(1, 9)), 1)
        assert rest(everything) == list(range(1, 9))


def test_what_a_viewer_keeps_costs_only_its_own_memory() -> None:
    frame = np.empty(1000 - 64, "u1")
    with (
        Producer("c", capacity=16384, slots=8) as producer,
        Consumer("c", group="all") as everything,
        Consumer("c", group="view", overflow="drop-old") as viewer,
    ):
        kept = {}
        for k in range(2000):
            frame[:] = k % 251
            producer.put_nowait(frame)
            assert (everything.get_nowait() == k % 251).all()
            if k in (0, 1, 500, 501, 1500):
                with viewer.message() as message:
                    kept[message.seq] = message.payload
        assert len(kept) == 5
        for k, view in kept.items():
            assert (view == k % 251).all()
        assert viewer.latest()[0] == 1999 % 251
        assert viewer.stats.missed + 5 + 8 == 2000


def test_producers_wait_if_views_leave_no_room() -> None:
    with (
        Producer("c", capacity=4 * 4096, slots=64) as producer,
        Consumer("c", overflow="drop-old") as viewer,
    ):
        kept = []
        for k in range(4):
            producer.put_nowait(np.full(480, k))
            kept.append(viewer.get())
        with pytest.raises(Full, match="still look at 4 messages, which leave no room"):
            producer.put_nowait(np.full(480, 4))
        threading.Timer(0.1, kept.pop).start()
        producer.put(np.full(480, 4), timeout=20)
        assert viewer.get()[0] == 4
        assert [view[0] for view in kept] == [0, 1, 2]


def test_what_a_viewer_keeps_stays_when_the_producer_closes() -> None:
    """A producer that closes frees the memory behind the last unread message. What is kept lies there."""
    with Producer("c", capacity="1 MiB", slots=8) as producer:
        viewer = Consumer("c", overflow="drop-old")
        producer.put(np.full(8 * 65536, 1, "u1"))
        producer.put(np.full(65536, 2, "u1"))
        first, kept = viewer.get(), viewer.get()
        del first
        put_numbers(producer, *range(20))
    assert (kept == 2).all()
    assert list(viewer) == [b"%d" % k for k in range(12, 20)]
    assert (kept == 2).all()
    del kept
    viewer.close()


def test_a_declared_group_that_turns_out_to_be_lossy_frees_the_producer() -> None:
    with Producer("c", capacity=4096, slots=4, groups=["view"]) as producer:
        put_numbers(producer, *range(4))
        with pytest.raises(Full):
            producer.put_nowait(b"4")
        waits = threading.Thread(target=producer.put, args=(b"4",), kwargs={"timeout": 20})
        waits.start()
        with Consumer("c", group="view", overflow="drop-old") as viewer:
            waits.join()
            put_numbers(producer, 5)
            assert rest(viewer) == [2, 3, 4, 5]


def test_a_durable_group_loses_messages_while_it_has_no_member() -> None:
    with Producer("c", capacity=4096, slots=4) as producer:
        with Consumer("c", overflow="drop-old", durable=True) as viewer:
            put_numbers(producer, *range(3))
            assert viewer.get() == b"0"
        put_numbers(producer, *range(3, 100))
        with Consumer("c", overflow="drop-old", durable=True) as viewer:
            with viewer.message() as message:
                assert (message.payload, message.missed) == (b"96", 95)
            assert rest(viewer) == [97, 98, 99]
    channel = ringipc.Channel.open("c")
    assert [group.overflow for group in channel.groups] == ["drop-old"]
    channel.remove_group("default")


def test_the_options_of_a_group_are_those_of_its_members() -> None:
    with Producer("c", capacity=4096), Consumer("c", shared=True, overflow="drop-old"):
        with pytest.raises(Incompatible, match='made with overflow="drop-old"; open this consumer with overflow="dro'):
            Consumer("c", shared=True)
        with pytest.raises(Incompatible, match="is shared; open this consumer with shared=True"):
            Consumer("c", overflow="drop-old")
    with pytest.raises(ValueError, match='overflow must be "block" or "drop-old"'):
        Consumer("c", overflow="drop-new")  # type: ignore[arg-type]


@pytest.mark.parametrize("overflow", ["block", "drop-new"])
@pytest.mark.parametrize("shared", [False, True])
def test_each_message_is_got_or_missed_and_a_group_beside_it_gets_all(
    overflow: Literal["block", "drop-new"], shared: bool
) -> None:
    """Random calls in one process: every payload is right, and messages put are messages got plus missed."""
    rng = random.Random(7 + shared)
    with Producer("c", capacity=1 << 15, slots=16, overflow=overflow) as producer:
        everything = Consumer("c", group="all", durable=True)
        viewers = [Consumer("c", shared=shared, overflow="drop-old", copy=False) for _ in range(1 + shared)]
        held: list[Message] = []
        put = 0
        for _ in range(15_000):
            viewer, choice = rng.choice(viewers), rng.random()
            try:
                if choice < 0.4:
                    payload = np.full(rng.choice((1, 10, 300)), put)
                    put += producer.put(payload, timeout=0, type=put % 5)
                elif choice < 0.6:
                    everything.get_nowait()
                elif choice < 0.75:
                    held.append(viewer.message(0, type=rng.choice([None, None, None, rng.randrange(5)])))
                elif held:
                    message = held.pop(rng.randrange(len(held)))
                    payload = message.payload
                    assert (payload == message.seq).all()
                    del payload
                    if choice < 0.85 and not shared:
                        message.requeue()
                    else:
                        message.release()
            except (Full, Empty):
                pass
            if len(held) > 3:
                held.pop(0).release()
        for message in held:
            message.release()
        producer.close()
        with pytest.raises(EndOfStream):
            while True:
                viewers[0].get(timeout=5)
        lost = viewers[0].stats.missed
        assert sum(viewer.stats.messages for viewer in viewers) + lost == put + producer.stats.refused
        assert lost > producer.stats.refused
        before = everything.stats.messages
        assert before + len(list(everything)) == put
        for consumer in (*viewers, everything):
            consumer.close()
    ringipc.Channel.open("c").remove_group("all")
