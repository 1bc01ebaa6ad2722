"""Producers and consumers in event loops."""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from conftest import Start

from ringipc import Closed, Consumer, EndOfStream, MessageTooLarge, Producer
from ringipc._readiness import Readiness

anyio = pytest.importorskip("anyio")


async def limited(main: Callable[[], Awaitable[None]]) -> None:
    with anyio.fail_after(40):
        await main()


def run_asyncio(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(limited(main))


def run_uvloop(main: Callable[[], Awaitable[None]]) -> None:
    pytest.importorskip("uvloop").run(limited(main))


def run_trio(main: Callable[[], Awaitable[None]]) -> None:
    pytest.importorskip("trio").run(limited, main)


Run = Callable[[Callable[[], Awaitable[None]]], None]
LOOPS = pytest.mark.parametrize("run", [run_asyncio, run_uvloop, run_trio])


@LOOPS
def test_tasks_get_messages_and_the_end_of_the_stream(run: Run) -> None:
    async def main() -> None:
        with Producer("c", capacity=1 << 16) as producer, Consumer("c") as consumer:
            got: list[Any] = []

            async def read() -> None:
                async for message in consumer:
                    got.append(message if isinstance(message, bytes) else message.tolist())
                with pytest.raises(EndOfStream):
                    await consumer.aget()

            async def write() -> None:
                await producer.aput(b"a")
                await anyio.sleep(0.01)
                await producer.aput(np.arange(3), type=4)
                await anyio.sleep(0.01)
                producer.close()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                tasks.start_soon(write)
            assert got == [b"a", [0, 1, 2]]

    run(main)


@LOOPS
def test_a_task_that_waits_for_room_does_not_block_other_tasks(run: Run) -> None:
    async def main() -> None:
        with Producer("c", capacity=4096, slots=2) as producer, Consumer("c") as consumer:
            ticks = 0

            async def write() -> None:
                for k in range(50):
                    await producer.aput(b"%d" % k)

            async def tick() -> None:
                nonlocal ticks
                while True:
                    ticks += 1
                    await anyio.sleep(0.001)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                tasks.start_soon(tick)
                await anyio.sleep(0.05)
                assert producer.stats.messages == 2
                for k in range(50):
                    assert await consumer.aget() == b"%d" % k
                tasks.cancel_scope.cancel()
            assert ticks > 5

    run(main)


@LOOPS
def test_a_batch_waits_for_room_and_others_go_on(run: Run) -> None:
    async def main() -> None:
        with Producer("c", capacity=4096, slots=4) as producer, Consumer("c") as consumer:
            dealt_with: list[int] = []

            async def write() -> None:
                dealt_with.append(await producer.aput_many((b"%d" % k for k in range(50)), type=3))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                await anyio.sleep(0.02)
                assert producer.stats.messages == 4
                for k in range(50):
                    message = await consumer.amessage()
                    assert (message.payload, message.type) == (b"%d" % k, 3)
                    message.release()
            assert dealt_with == [50]
            assert await producer.aput_many([]) == 0

    run(main)


@LOOPS
def test_a_cancelled_batch_says_what_it_has_put(run: Run) -> None:
    """At whatever moment it is cancelled: the first messages are there, as many as the note says, and no others."""

    async def main() -> None:
        rng = random.Random(2)
        with Producer("c", capacity=1 << 16, slots=8) as producer, Consumer("c") as consumer:
            cancelled = 0
            for _ in range(40):
                messages = [b"%d" % k for k in range(100)]
                notes: list[str] = []
                got: list[bytes] = []

                async def write(messages: list[bytes] = messages, notes: list[str] = notes) -> None:
                    try:
                        await producer.aput_many(messages)
                    except BaseException as error:
                        notes += error.__notes__
                        raise

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(write)
                    for _ in range(rng.randrange(40)):
                        await anyio.sleep(0)
                        got += consumer.get_many(3) if producer.stats.backlog else []
                    tasks.cancel_scope.cancel()
                while producer.stats.backlog:
                    got += consumer.get_many(100)
                assert got == messages[: len(got)]
                if len(got) < 100:
                    assert notes == [f"aput_many: {len(got)} of 100 messages were put"]
                    cancelled += 1
            assert cancelled > 5

    run(main)


def test_a_batch_that_fails_says_where() -> None:
    async def main() -> None:
        with Producer("c", capacity=4096, max_message=4096, slots=2) as producer, Consumer("c") as consumer:

            async def read() -> None:
                for k in range(5):
                    assert await consumer.aget() == b"%d" % k

            reader = asyncio.create_task(read())
            with pytest.raises(MessageTooLarge) as caught:
                await producer.aput_many([b"0", b"1", b"2", b"3", b"4", bytes(5000), b"6"])
            assert caught.value.__notes__ == ["aput_many: messages[5] failed; 5 message(s) had been put before it"]
            await reader
            with pytest.raises(TypeError, match="aput_many takes a list"):
                await producer.aput_many(b"abc")
            waiting = asyncio.create_task(producer.aput_many([b"0", b"1", b"2"]))
            await asyncio.sleep(0.01)
            producer.close()
            with pytest.raises(Closed) as closed:
                await waiting
            assert closed.value.__notes__ == ["aput_many: messages[2] failed; 2 message(s) had been put before it"]

    asyncio.run(limited(main))


def test_a_batch_with_a_timeout_says_in_its_cause_what_it_has_put() -> None:
    async def main() -> None:
        with Producer("c", capacity=4096, slots=2) as producer, Consumer("c") as consumer:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.01):
                    await producer.aput_many([b"0", b"1", b"2"])
            assert caught.value.__cause__
            assert caught.value.__cause__.__notes__ == ["aput_many: 2 of 3 messages were put"]
            assert consumer.get_many(9) == [b"0", b"1"]

    asyncio.run(limited(main))


def test_a_batch_on_a_lane_that_drops_waits_for_nothing() -> None:
    async def main() -> None:
        with Producer("c", capacity=4096, slots=2, overflow="drop-new") as producer, Consumer("c") as consumer:
            assert await producer.aput_many([b"0", b"1", b"2"]) == 3
            assert (consumer.get_many(9), producer.stats.refused) == ([b"0", b"1"], 1)

    asyncio.run(limited(main))


@LOOPS
def test_a_cancelled_get_loses_nothing(run: Run) -> None:
    async def main() -> None:
        rng = random.Random(1)
        with Producer("c", capacity=1 << 16) as producer, Consumer("c") as consumer:
            got: list[int] = []

            async def read() -> None:
                while len(got) < 300:
                    with anyio.move_on_after(rng.random() * 0.002):
                        got.append(int(await consumer.aget()))

            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(read)
                for k in range(305):
                    await producer.aput(b"%d" % k)
                    if rng.random() < 0.5:
                        await anyio.sleep(rng.random() * 0.002)
            rest = [int(m) for m in consumer.get_many(9)] if producer.stats.backlog else []
            assert sorted(got + rest) == list(range(305))

    run(main)


@LOOPS
def test_a_thousand_tasks_wait_on_one_consumer(run: Run) -> None:
    async def main() -> None:
        with Producer("c", capacity=1 << 16) as producer, Consumer("c") as consumer:
            got: list[int] = []

            async def read() -> None:
                got.append(int(await consumer.aget()))

            async with anyio.create_task_group() as tasks:
                for _ in range(1000):
                    tasks.start_soon(read)
                await anyio.sleep(0.01)
                for k in range(1000):
                    await producer.aput(b"%d" % k)
            assert sorted(got) == list(range(1000))

    run(main)


@LOOPS
def test_tasks_that_select_a_type_work_beside_others(run: Run) -> None:
    async def main() -> None:
        with Producer("c", capacity=1 << 16) as producer, Consumer("c") as consumer:
            got: dict[str, bytes] = {}

            async def read(name: str, **wanted: Any) -> None:
                got[name] = await consumer.aget(**wanted)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: read("three", type=3))
                tasks.start_soon(lambda: read("four", where=lambda m: m.type == 4))
                await anyio.sleep(0.01)
                producer.put(b"0", type=0)
                await anyio.sleep(0.05)
                assert got == {}
                producer.put(b"4", type=4)
                producer.put(b"3", type=3)
                await anyio.sleep(0.05)
                assert got == {"three": b"3", "four": b"4"}
                tasks.start_soon(lambda: read("any"))
            assert got["any"] == b"0"

    run(main)


@LOOPS
def test_closing_ends_the_waits_of_tasks(run: Run) -> None:
    async def main() -> None:
        with Producer("c", capacity=4096, slots=1) as producer:
            consumer = Consumer("c")
            ended = 0

            async def wait_on(waiting: Awaitable[Any]) -> None:
                nonlocal ended
                with pytest.raises(Closed):
                    await waiting
                ended += 1

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(wait_on, consumer.aget())
                await anyio.sleep(0.01)
                consumer.close()
            consumer = Consumer("c")
            producer.put(b"")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait_on, producer.aput(b""))
                await anyio.sleep(0.01)
                producer.close()
            consumer.close()
            assert ended == 4

    run(main)


@LOOPS
def test_polling_for_a_type_takes_no_wake_up_from_other_tasks(run: Run) -> None:
    async def main() -> None:
        with Producer("c", capacity=1 << 16) as producer, Consumer("c") as consumer:
            got: list[bytes] = []

            async def read() -> None:
                got.append(await consumer.aget())

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await anyio.sleep(0.05)
                producer.put(b"0", type=0)
                with anyio.move_on_after(0.2):  # polls at once, before the loop has polled the pollfd
                    await consumer.aget(type=1)
                assert got == [b"0"]

    run(main)


@LOOPS
def test_tasks_that_find_nothing_do_not_wake_each_other(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = 0  # one after each time that a task finds nothing
    wait = Readiness.wait

    async def counting(self: Readiness, *options: Any, **named: Any) -> None:
        nonlocal waits
        waits += 1
        await wait(self, *options, **named)

    async def main() -> None:
        with Producer("c", capacity=1 << 16) as producer, Consumer("c") as consumer:
            producer.put(b"0", type=0)
            with anyio.move_on_after(0.4):
                async with anyio.create_task_group() as tasks:
                    for type in (1, 2, 3):
                        tasks.start_soon(lambda type=type: consumer.aget(type=type))
            assert consumer.get() == b"0"

    monkeypatch.setattr(Readiness, "wait", counting)
    run(main)
    assert 3 <= waits < 20


@pytest.mark.parametrize("run", [run_asyncio, run_trio])
def test_closing_in_another_thread_ends_the_wait(run: Run, producer: Producer) -> None:
    consumer = Consumer("c")

    async def main() -> None:
        threading.Timer(0.05, consumer.close).start()
        with pytest.raises(Closed):
            await consumer.aget()

    run(main)


@pytest.mark.parametrize("run", [run_asyncio, run_trio])
def test_no_task_waits_after_a_close_in_another_thread(run: Run) -> None:
    async def main() -> None:
        for k in range(15):
            producer, consumer = Producer(f"c{k}", capacity=4096, slots=1), Consumer(f"c{k}", group="g")
            producer.put(b"full")
            with Producer(f"d{k}", capacity=4096) as idle, Consumer(f"d{k}") as empty:
                ended = 0

                async def wait(call: Callable[[], Awaitable[Any]]) -> None:
                    nonlocal ended
                    with pytest.raises(Closed):
                        await call()
                    ended += 1

                async with anyio.create_task_group() as tasks:
                    for _ in range(3):
                        tasks.start_soon(wait, lambda producer=producer: producer.aput(b"x"))
                        tasks.start_soon(wait, empty.aget)
                    await anyio.sleep(0.005)
                    for handle in (producer, empty):
                        threading.Thread(target=handle.close).start()
                assert ended == 6
                idle.put(b"no task gets it")
            consumer.close()

    run(main)


def echo(count: int) -> None:
    async def main() -> None:
        with Consumer("there", timeout=20) as consumer, Producer("back", capacity=4096, slots=8) as producer:
            async for message in consumer:
                await producer.aput(message)

    asyncio.run(main())


@LOOPS
def test_no_wake_up_is_lost_between_loops_of_two_processes(run: Run, start: Start) -> None:
    count = 2000
    with Producer("there", capacity=4096, slots=8, groups=["default"]) as there, Producer("back", capacity=4096) as own:
        with Consumer("back") as back:
            start(echo, count)

            async def main() -> None:
                async def write() -> None:
                    for k in range(count):
                        await there.aput(b"%d" % k)
                        if k % 100 == 0:
                            await anyio.sleep(0.001)
                    there.close()

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(write)
                    for k in range(count):
                        assert await back.aget() == b"%d" % k
                    own.close()
                with pytest.raises(EndOfStream):
                    await back.aget()

            run(main)
