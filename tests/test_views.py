"""A view keeps the memory of its message for as long as it is alive."""

import gc
import random
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from ringipc import Consumer, Producer, TimedOut


def test_a_view_is_not_overwritten_for_many_laps() -> None:
    with Producer("c", capacity=1 << 16, slots=16) as producer, Consumer("c") as consumer:
        producer.put(np.full(100, 42))
        kept = consumer.get()
        for k in range(1000):
            producer.put_nowait(np.full(100, k))
            assert consumer.get()[0] == k
        assert (kept == 42).all()
        producer.flush(timeout=0)


def test_a_slice_of_a_view_keeps_the_message(producer: Producer, consumer: Consumer) -> None:
    producer.put(np.arange(100).reshape(10, 10))
    part: Any = consumer.get()[3:5, ::2].T
    gc.collect()
    assert consumer.stats.held == 1
    assert producer.stats.backlog == 1
    assert part[0].tolist() == [30, 40]
    part = part.copy()
    assert producer.stats.backlog == 0


def test_a_memoryview_of_a_view_keeps_the_message(producer: Producer) -> None:
    with Consumer("c", copy=False) as consumer:
        producer.put(b"abcdef")
        part = consumer.get()[2:4]
        assert producer.stats.backlog == 1
        assert bytes(part) == b"cd"
        array = np.frombuffer(part, "u1")
        del part
        assert producer.stats.backlog == 1
        del array
        assert producer.stats.backlog == 0


def test_views_are_released_in_any_order() -> None:
    rng = random.Random(3)
    with Producer("c", capacity=1 << 17, slots=64) as producer, Consumer("c") as consumer:
        for round_ in range(50):
            views = []
            for k in range(64):
                producer.put_nowait(np.full(100, round_ * 64 + k))
                views.append(consumer.get())
            order = list(range(64))
            rng.shuffle(order)
            alive: dict[int, Any] = dict(enumerate(views))
            views.clear()
            for k in order:
                assert alive.pop(k)[0] == round_ * 64 + k
                assert producer.stats.backlog <= (64 - min(alive) if alive else 0)  # less if some are kept


def test_views_cannot_be_written(producer: Producer) -> None:
    with Consumer("c", copy=False) as consumer:
        producer.put(np.zeros(100))
        producer.put(b"abc")
        array, data = consumer.get_many(2)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
        with pytest.raises(TypeError, match="read-only"):
            data[0] = 1
        del array, data


def test_a_view_can_be_released_in_another_thread(producer: Producer, consumer: Consumer) -> None:
    for k in range(100):
        producer.put(np.full(100, k))
    views = [consumer.get() for _ in range(100)]

    def drop() -> None:
        while True:
            try:
                views.pop()
            except IndexError:
                return

    threads = [threading.Thread(target=drop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    producer.flush(timeout=1)


def test_a_closed_consumer_stays_a_member_until_its_last_view_is_gone(producer: Producer, base: str) -> None:
    with Consumer("c", group="g") as consumer:
        producer.put(np.arange(100))
        producer.put(np.arange(100))
        view = consumer.get()
    assert consumer.closed
    assert view.tolist() == list(range(100))
    with pytest.raises(TimedOut, match="group 'g'"):
        producer.flush(timeout=0)
    del view
    with Consumer("c", group="g") as again:
        assert again.get().tolist() == list(range(100))


def test_a_consumer_without_references_lives_as_long_as_its_views(producer: Producer) -> None:
    producer.put(np.arange(100))
    view = Consumer("c").get()
    gc.collect()
    assert view.tolist() == list(range(100))
    with pytest.raises(TimedOut):
        producer.flush(timeout=0)
    del view
    gc.collect()
    producer.flush(timeout=0)


EXIT = """
import ringipc, numpy as np
producer = ringipc.Producer("exit", capacity="1 MiB")
consumer = ringipc.Consumer("exit", copy=False)
producer.put(np.arange(100)); producer.put(b"abc"); producer.put(np.arange(100))
view, data, message = consumer.get(), consumer.get(), consumer.message()
class Keeper: pass
keeper = Keeper(); keeper.me = keeper; keeper.view = view
{end}
"""


@pytest.mark.parametrize(
    "end",
    [
        "",
        "raise SystemExit(0)",
        "del producer, consumer",
        "import threading; threading.Thread(target=lambda: consumer.get(), daemon=True).start()",
    ],
)
def test_the_interpreter_exits_with_views_alive(base: str, end: str) -> None:
    done = subprocess.run([sys.executable, "-X", "dev", "-c", EXIT.format(end=end)], capture_output=True, timeout=30)
    assert done.returncode == 0
    assert done.stderr == b""
