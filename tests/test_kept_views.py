"""A view that is kept costs the room of its own message and stops nobody, in groups for which the producer waits."""

import asyncio
import os
import random
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import AnyChannel, Start

import ringipc
from ringipc import Consumer, Empty, EndOfStream, Full, Producer, ProducerDied, TimedOut

FRAMES = 1000
SIZE = 65536 - 64
CAPACITY = 4 * 65536  # room for four frames
GROUPS: list[dict[str, Any]] = [{}, {"shared": True}, {"durable": True}]


def put_frames(producer: Producer, first: int, count: int, **options: Any) -> None:
    frame = np.empty(SIZE, "u1")
    for k in range(first, first + count):
        frame[:] = k % 251
        producer.put(frame, **options)


def is_frame(frame: npt.NDArray[np.uint8], k: int) -> bool:
    return bool((frame == k % 251).all())


def film(channel: str | ringipc.Channel, groups: list[str]) -> None:
    with Producer(channel, capacity=CAPACITY, slots=64, groups=groups) as camera:
        put_frames(camera, 0, FRAMES, timeout=20)
        camera.flush(timeout=20)


@pytest.mark.parametrize(("groups", "options"), [([], {}), *((["default"], options) for options in GROUPS)], ids=str)
def test_a_background_image_is_kept_for_ever(
    any_channel: AnyChannel, start: Start, groups: list[str], options: dict[str, Any]
) -> None:
    start(film, any_channel, groups)
    with Consumer(any_channel, timeout=20, **options) as c:
        background = c.get(timeout=20)
        number = 0
        for frame in c:
            number += 1
            assert int(frame[0]) == number % 251
        assert number == FRAMES - 1
        assert is_frame(background, 0)
        del frame, background
    if "durable" in options:
        channel = any_channel if isinstance(any_channel, ringipc.Channel) else ringipc.Channel.open(any_channel)
        channel.remove_group("default")


def test_a_task_keeps_a_background_image(start: Start) -> None:
    async def main() -> None:
        async with Consumer("c", timeout=20) as c:
            background = await c.aget()
            number = 0
            async for frame in c:
                number += 1
                assert int(frame[0]) == number % 251
            assert number == FRAMES - 1
            assert is_frame(background, 0)
            del frame, background

    start(film, "c", [])
    asyncio.run(main())


@pytest.mark.parametrize("options", GROUPS, ids=str)
def test_a_few_of_many_frames_are_kept(options: dict[str, Any]) -> None:
    with (
        Producer("c", capacity=8 * 65536, slots=16) as producer,
        Consumer("c", **options) as c,
        Consumer("c", group="other") as other,
    ):
        kept, also_kept = {}, {}
        for k in range(FRAMES):
            put_frames(producer, k, 1, timeout=0)
            frame = c.get_nowait()
            if k in (0, 1, 500, 700):
                kept[k] = frame
            frame = other.get_nowait()
            if k in (1, 300):
                also_kept[k] = frame
        del frame
        assert all(is_frame(view, k) for k, view in (*kept.items(), *also_kept.items()))
        assert producer.stats.dropped == producer.stats.refused == 0
        kept.clear()
        also_kept.clear()
        with pytest.raises(Empty):
            c.get_nowait()  # the last one is done
        put_frames(producer, 0, 8, timeout=0)  # all of the lane is free again
    if "durable" in options:
        ringipc.Channel.open("c").remove_group("default")


@pytest.mark.parametrize("options", GROUPS, ids=str)
def test_flush_does_not_wait_for_a_kept_view(options: dict[str, Any]) -> None:
    with Producer("c", capacity=CAPACITY) as producer, Consumer("c", **options) as c:
        put_frames(producer, 0, 2)
        background, frame = c.get(), c.get()
        with pytest.raises(TimedOut):
            producer.flush(timeout=0)
        with pytest.raises(Empty):  # the consumer wants the next one
            c.get_nowait()
        producer.flush(timeout=0)
        assert is_frame(background, 0)
        assert is_frame(frame, 1)
        del background, frame
    if "durable" in options:
        ringipc.Channel.open("c").remove_group("default")


def test_flush_does_not_wait_for_a_view_of_a_drop_old_lane() -> None:
    with Producer("c", capacity=CAPACITY, overflow="drop-old") as producer, Consumer("c") as c:
        put_frames(producer, 0, 3)
        background = c.get()
        with pytest.raises(TimedOut):
            producer.flush(timeout=0)
        assert is_frame(c.get(), 1)
        message = c.message()
        view = message.payload
        with pytest.raises(Empty):
            c.get_nowait()
        with pytest.raises(TimedOut):  # the message can still be given back
            producer.flush(timeout=0)
        message.release()
        producer.flush(timeout=0)
        assert is_frame(background, 0)
        assert is_frame(view, 2)
        put_frames(producer, 3, 20)
        assert is_frame(background, 0)
        assert is_frame(view, 2)
        del background, view


def test_too_many_kept_views_hold_the_lane() -> None:
    """An exclusive group can keep four views of a lane. The fifth holds back what comes after it, until one is gone."""
    with Producer("c", capacity=16 * 65536, slots=16) as producer, Consumer("c") as c:
        put_frames(producer, 0, 5)
        kept = [c.get() for _ in range(5)]
        with pytest.raises(Full, match="has not released 16 messages"):
            while True:
                put_frames(producer, 5, 1, timeout=0)
                c.get()
        threading.Timer(0.1, kept.pop).start()
        put_frames(producer, 5, 1, timeout=20)
        for _ in range(100):
            c.get()
            put_frames(producer, 5, 1, timeout=0)
        assert all(is_frame(view, k) for k, view in enumerate(kept))


def test_views_that_fill_a_lane_are_named() -> None:
    with Producer("c", capacity=CAPACITY) as producer, Consumer("c") as c:
        put_frames(producer, 0, 4)
        kept = [c.get() for _ in range(4)]
        del kept[3]  # so that the others are kept
        put_frames(producer, 4, 1)
        kept.append(c.get())
        with pytest.raises(Full, match="has not released 1 messages"):
            put_frames(producer, 5, 1, timeout=0)
        with pytest.raises(Empty, match="this consumer itself holds 4 messages"):
            c.get_nowait()
        del kept


@pytest.mark.parametrize("options", GROUPS, ids=str)
def test_a_message_that_may_be_given_back_holds_the_lane(options: dict[str, Any]) -> None:
    with Producer("c", capacity=CAPACITY, slots=64) as producer, Consumer("c", **options) as c:
        put_frames(producer, 0, 1)
        message = c.message()
        for k in range(1, 4):
            put_frames(producer, k, 1, timeout=0)
            assert is_frame(c.get(), k)
        with pytest.raises(Full):
            put_frames(producer, 4, 1, timeout=0)
        view = message.payload
        message.requeue()
        with pytest.raises(Empty):
            c.get_nowait()
        assert is_frame(view, 0)
        del view
        with c.message() as message:
            assert message.seq == 0
            view = message.payload
        for k in range(4, 100):
            put_frames(producer, k, 1, timeout=0)
            assert is_frame(c.get(), k)
        assert is_frame(view, 0)
        del view
    if "durable" in options:
        ringipc.Channel.open("c").remove_group("default")


@pytest.mark.parametrize("options", GROUPS, ids=str)
def test_a_view_behind_a_message_that_was_given_back_stops_nobody(options: dict[str, Any]) -> None:
    with Producer("c", capacity=CAPACITY, slots=64) as producer, Consumer("c", **options) as c:
        producer.put(b"first" * 20)
        message = c.message()
        put_frames(producer, 1, 1, timeout=0)
        background = c.get()
        with pytest.raises(Full):
            for k in range(2, 6):
                put_frames(producer, k, 1, timeout=0)
                c.get()
        message.requeue()
        assert c.get() == b"first" * 20
        with pytest.raises(Empty):
            c.get_nowait()
        for k in range(6, 100):
            put_frames(producer, k, 1, timeout=0)
            assert is_frame(c.get(), k)
        assert is_frame(background, 1)
        del background
    if "durable" in options:
        ringipc.Channel.open("c").remove_group("default")


def keep_and_wait(options: dict[str, Any]) -> None:
    c = Consumer("c", group="watched", timeout=20, **options)
    with Producer("ready", capacity=4096) as ready:
        ready.put(b"joined")
        background = c.get(timeout=20)
        for _ in range(20):
            c.get(timeout=20)
        ready.put(b"keeps one")
        c.get()
    assert background is None  # not reached


@pytest.mark.parametrize("options", GROUPS, ids=str)
def test_what_a_killed_consumer_kept_is_free(start: Start, options: dict[str, Any]) -> None:
    with (
        Producer("c", capacity=CAPACITY, slots=64, groups=["stays"]) as producer,
        Consumer("c", group="stays") as stays,
    ):
        killed = start(keep_and_wait, options)
        with Consumer("ready", timeout=20) as ready:
            assert ready.get(timeout=20) == b"joined"
            for k in range(21):
                put_frames(producer, k, 1, timeout=20)
                stays.get()
            assert ready.get(timeout=20) == b"keeps one"
            with pytest.raises(Empty):
                stays.get_nowait()  # the last one is done
            with pytest.raises(Full):
                producer.put_nowait(np.empty(CAPACITY - 64, "u1"))
            killed.kill()
            killed.join()
            with pytest.raises(ProducerDied):
                ready.get(timeout=20)
        producer.put(np.full(CAPACITY - 64, 7, "u1"), timeout=20)
        assert (stays.get() == 7).all()
        if "durable" in options:
            with Consumer("c", group="watched", **options) as successor:
                assert (successor.get() == 7).all()
    if "durable" in options:
        ringipc.Channel.open("c").remove_group("watched")


def film_and_die(channel: AnyChannel) -> None:
    producer = Producer(channel, capacity=CAPACITY, groups=["default"])
    put_frames(producer, 0, 20)
    os.kill(os.getpid(), 9)


def test_a_kept_view_outlives_its_producer(any_channel: AnyChannel, start: Start) -> None:
    start(film_and_die, any_channel)
    with Consumer(any_channel, timeout=20) as c:
        background = c.get(timeout=20)
        for k in range(1, 20):
            assert is_frame(c.get(timeout=20), k)
        with pytest.raises(ProducerDied):
            c.get(timeout=20)
        for n in range(40):  # other lanes come and go
            with Producer(any_channel, capacity=CAPACITY) as producer:
                if n % 2:
                    put_frames(producer, n, 4, timeout=0)
                    assert all(is_frame(c.get(), n + k) for k in range(4))
            assert is_frame(background, 0)
            with pytest.raises(EndOfStream):
                while True:
                    c.get_nowait()
        del background


def test_threads_that_share_a_consumer_keep_and_release_views(start: Start) -> None:
    start(film, "c", [])
    got: list[int] = []
    wrong: list[int] = []
    with Consumer("c", timeout=20) as c:

        def look(seed: int) -> None:
            rng = random.Random(seed)
            held: list[tuple[int, npt.NDArray[np.uint8]]] = []
            for message in c.messages():
                held.append((message.seq, message.payload))
                got.append(message.seq)
                message.release()
                del message
                while len(held) > rng.choice((0, 0, 0, 1)):
                    seq, frame = held.pop(rng.randrange(len(held)))
                    if not is_frame(frame, seq):
                        wrong.append(seq)
                    del frame

        threads = [threading.Thread(target=look, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == list(range(FRAMES))
        assert wrong == []
