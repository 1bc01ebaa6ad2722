"""Ends: a stream ends when as many producers have come as its consumer expects, and never before one has come."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Start

import ringipc
from ringipc import Channel, Consumer, Empty, EndOfStream, Producer


def load(delay: float, batches: int) -> None:
    time.sleep(delay)
    with Producer("batches", capacity="1 MiB") as producer:
        producer.put_many([b"batch"] * batches)


def put_one(channel: Any, message: bytes, **options: Any) -> None:
    with Producer(channel, capacity="1 MiB", **options) as producer:
        producer.put(message)


def in_thread(target: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread


def test_a_trainer_gets_the_batches_of_all_loaders_that_it_expects(start: Start) -> None:
    for k in range(3):
        start(load, 0.3 * k, 100)
    with Consumer("batches", producers=3, timeout=20) as trainer:
        assert len(list(trainer)) == 300


def test_a_second_run_beside_a_durable_group_waits_for_its_camera() -> None:
    views: list[list[bytes]] = []

    def view(group: str, durable: bool) -> None:
        with Consumer("cam", group=group, durable=durable, timeout=20) as consumer:
            joined.release()
            views.append(list(consumer))

    for run in (b"first", b"second"):
        joined = threading.Semaphore(0)
        if run == b"first":
            camera = Producer("cam", capacity="1 MiB")
        viewers = [in_thread(view, "record", True), in_thread(view, "view", False)]
        for _ in viewers:
            assert joined.acquire(timeout=20)
        if run == b"second":  # the viewers have been quicker, and wait
            viewers[0].join(0.1)
            assert [viewer.is_alive() for viewer in viewers] == [True, True]
            camera = Producer("cam", capacity="1 MiB")
        camera.put(run)
        camera.close()
        for viewer in viewers:
            viewer.join(20)
    assert views == [[b"first"]] * 2 + [[b"second"]] * 2
    Channel.open("cam").remove_group("record")


def test_a_logger_without_an_end_gets_the_messages_of_all_that_come_and_go() -> None:
    put_one("log", b"0")
    with Consumer("log", producers=None) as logger:
        assert logger.get(timeout=5) == b"0"
        for k in range(1, 4):
            with pytest.raises(Empty):
                logger.get(timeout=0.01)
            put_one("log", b"%d" % k)
            assert logger.get(timeout=5) == b"%d" % k
        got: list[bytes] = []
        waiting = in_thread(lambda: got.append(next(logger)))
        put_one("log", b"last")
        waiting.join(20)
        assert got == [b"last"]
        with pytest.raises(Empty):
            logger.get_nowait()


def test_a_consumer_that_opens_again_waits_for_the_next_producer_and_does_not_spin() -> None:
    Producer("c", capacity=4096).close()
    with Consumer("c", group="disk", durable=True) as consumer:
        assert list(consumer) == []
    streams: list[list[bytes]] = []

    def record() -> None:
        while not streams or streams[-1] != [b"2"]:
            with Consumer("c", group="disk", durable=True) as consumer:
                streams.append(list(consumer))

    recorder = in_thread(record)
    for k in range(3):
        while len(streams) < k:
            time.sleep(0.001)
        put_one("c", b"%d" % k)
    recorder.join(20)
    assert streams == [[b"0"], [b"1"], [b"2"]]
    Channel.open("c").remove_group("disk")


def test_a_worker_that_joins_late_gets_the_end_and_a_new_group_waits() -> None:
    put_one("tasks", b"task")
    with Consumer("tasks", group="work", shared=True) as first:
        assert list(first) == [b"task"]
        with Consumer("tasks", group="work", shared=True) as late, pytest.raises(EndOfStream):
            late.get(timeout=5)
        with Consumer("tasks", group="other") as other, pytest.raises(Empty):
            other.get(timeout=0.05)


@pytest.mark.parametrize("binds", [False, True])
def test_producers_that_connect_count(base: str, monkeypatch: pytest.MonkeyPatch, binds: bool) -> None:
    monkeypatch.setenv("RINGIPC_RING", "0")
    path = f"{base}/socket"
    got: list[bytes] = []

    def read() -> None:
        with Consumer(ringipc.unix(path, bind=binds), producers=2, timeout=20) as consumer:
            got.extend(consumer)

    reader = in_thread(read)
    for k in range(2):
        put_one(ringipc.unix(path, bind=not binds), b"%d" % k, **({"timeout": 20} if binds else {}))
        assert k == 1 or reader.is_alive()
    reader.join(20)
    assert got == [b"0", b"1"]


def test_producers_that_open_a_named_pipe_count(base: str) -> None:
    url = f"fifo://{base}/fifo"
    got: list[bytes] = []

    def read() -> None:
        with Consumer(url, producers=2, timeout=20) as consumer:
            got.extend(consumer)

    reader = in_thread(read)
    for k in range(2):
        put_one(url, b"%d" % k)
    reader.join(20)
    Path(f"{base}/fifo").unlink()
    assert got == [b"0", b"1"]


@pytest.mark.parametrize(("number", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), ("2", TypeError)])
def test_a_number_of_producers_is_checked(producer: Producer, number: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="producers must be a number of producers"):
        Consumer("c", producers=number)
