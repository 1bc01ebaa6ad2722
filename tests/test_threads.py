"""Threads that share a producer or a consumer."""

import threading
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest

from ringipc import Closed, Consumer, Full, Producer


def together(*functions: Any) -> None:
    failed: list[BaseException] = []

    def guarded(function: Any) -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001  # raised below, in the thread of the test
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    if failed:
        raise failed[0]


def test_threads_share_both_ends_and_each_message_arrives_once() -> None:
    each, threads = 3000, 4
    with Producer("c", capacity=1 << 20, slots=16) as producer, Consumer("c") as consumer:
        got: Counter[bytes] = Counter()
        lock = threading.Lock()

        def put(me: int) -> None:
            for k in range(each):
                producer.put((b"%d-%d " % (me, k)) * (1 + k % 7 * 50))

        def get() -> None:
            for _ in range(each):
                message = consumer.get(timeout=20)
                with lock:
                    got[message] += 1

        together(*[lambda me=me: put(me) for me in range(threads)], *[get] * threads)
        assert got == Counter((b"%d-%d " % (me, k)) * (1 + k % 7 * 50) for me in range(threads) for k in range(each))


def test_threads_copy_large_messages_at_the_same_time() -> None:
    with Producer("c", capacity="8 MiB", slots=8) as producer, Consumer("c") as consumer:
        frames = [np.full(200_000, k, "i4") for k in range(4)]
        strided = [np.full((400_000), k, "i4")[::2] for k in range(4)]

        def put(me: int) -> None:
            for _ in range(50):
                producer.put(frames[me])
                producer.put(strided[me])

        def get() -> None:
            for _ in range(200):
                frame = consumer.get(timeout=20)
                assert (frame == frame[0]).all()
                del frame  # else all slots behind it wait until this thread runs again

        together(*[lambda me=me: put(me) for me in range(4)], get, get)


def test_a_reservation_blocks_the_puts_of_other_threads(producer: Producer, consumer: Consumer) -> None:
    with producer.reserve(8) as frame:
        with pytest.raises(Full):
            together(lambda: producer.put_nowait(b"x"))
        with pytest.raises(Full, match="another thread has a reservation open"):
            together(lambda: producer.put(b"x", timeout=0.05))
        waiting = threading.Thread(target=lambda: producer.put(b"after", timeout=10))
        waiting.start()
        time.sleep(0.05)
        frame[:] = 1
    waiting.join(10)
    first, second = consumer.get(timeout=1), consumer.get(timeout=1)
    assert first.tolist() == [1] * 8
    assert second == b"after"


def test_close_ends_the_waits_of_other_threads() -> None:
    with Producer("c", capacity=4096, slots=1) as producer, Consumer("c") as consumer:

        def wait_for_a_message() -> None:
            with pytest.raises(Closed):
                consumer.get(timeout=10)

        def close() -> None:
            time.sleep(0.1)
            consumer.close()

        start = time.monotonic()
        together(wait_for_a_message, close)
        producer.put(b"")

        def wait_for_room() -> None:
            with pytest.raises(Closed):
                producer.put(b"", timeout=10)

        def close_too() -> None:
            time.sleep(0.1)
            producer.close()

        with Consumer("c") as last:
            together(wait_for_room, close_too)
            assert list(last) == [b""]
        assert time.monotonic() - start < 2


def test_the_interpreter_runs_other_threads_during_a_wait(producer: Producer, consumer: Consumer) -> None:
    count = 0

    def busy() -> None:
        nonlocal count
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            count += 1
        producer.put(b"done")

    together(lambda: consumer.get(timeout=10), busy)
    assert count > 10_000
