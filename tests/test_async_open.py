"""Opening, closing and batches in event loops."""

import ast
import asyncio
import gc
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_async import LOOPS, Run

import ringipc
from ringipc import Channel, ChannelNotFound, Consumer, EndOfStream, GroupBusy, Producer

anyio = pytest.importorskip("anyio")


@LOOPS
def test_a_consumer_waits_for_its_channel_and_others_go_on(run: Run) -> None:
    async def main() -> None:
        got: list[Any] = []
        ticks = 0

        async def read(group: str) -> None:
            async with await Consumer.aopen("c", group=group, timeout=20) as consumer:
                async for message in consumer:
                    got.append(message)
            assert consumer.closed

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await anyio.sleep(0.001)

        async with anyio.create_task_group() as ticking:
            ticking.start_soon(tick)
            async with anyio.create_task_group() as tasks:
                groups = [f"g{k}" for k in range(30)]  # more than asyncio's pool of threads has
                for group in groups:
                    tasks.start_soon(read, group)
                await anyio.sleep(0.02)
                before = ticks
                while ticks < before + 5:  # the loop runs while the readers wait
                    await anyio.sleep(0.001)
                async with await Producer.aopen("c", capacity=1 << 16, groups=groups) as producer:
                    await producer.aput(b"x")
                assert producer.closed
            ticking.cancel_scope.cancel()
        assert got == [b"x"] * 30

    run(main)


def test_aopen_has_the_options_of_the_constructor_in_the_stub() -> None:
    stub = ast.parse((Path(ringipc.__file__).parent / "_core.pyi").read_text())
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    for handle in "Producer", "Consumer":
        named = [node for node in classes[f"_{handle}Options"].body if isinstance(node, ast.AnnAssign)]
        options = {ast.unparse(node.target) for node in named}
        inits = [node for node in classes[handle].body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
        assert options == {argument.arg for argument in inits[0].args.kwonlyargs}


@LOOPS
def test_what_the_constructor_raises_comes_out(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ChannelNotFound):
            await Consumer.aopen("c", timeout=0.05)
        with pytest.raises(TypeError, match="unexpected keyword argument 'size'"):
            await Producer.aopen("c", size=1)  # type: ignore[call-arg]
        with Producer("c", capacity=4096), Consumer("c"):
            with pytest.raises(GroupBusy):
                await Consumer.aopen("c")

    run(main)


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ringipc")]


@pytest.mark.long
@LOOPS
@pytest.mark.parametrize("where", ["c", "tcp://127.0.0.1:9", "unix://{path}/socket", "fifo://{path}/fifo"])
def test_a_cancelled_open_leaves_nothing(run: Run, where: str, tmp_path: Path) -> None:
    async def main() -> None:
        for name in ("warm up", ""):  # what the event loop itself keeps open
            before = len(list(Path("/proc/self/fd").iterdir()))
            start = time.monotonic()
            with anyio.move_on_after(0.1):
                await Consumer.aopen(where.format(path=tmp_path))
            assert time.monotonic() - start < 3
            assert own_threads() == []
            gc.collect()  # a link that has not opened refers to its thread, which refers to it
            after = len(list(Path("/proc/self/fd").iterdir()))
            assert name or after == before

    run(main)


@LOOPS
def test_a_handle_that_is_open_when_its_task_is_cancelled_is_closed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()

    class Slow(Consumer):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            opened.set()
            time.sleep(0.1)

    async def main() -> None:
        with Producer("c", capacity=4096):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Slow.aopen, "c")
                while not opened.is_set():
                    await anyio.sleep(0.001)
                tasks.cancel_scope.cancel()
            assert Channel.open("c").groups == []

    run(main)


@LOOPS
def test_a_cancelled_get_many_has_taken_nothing(run: Run) -> None:
    async def main() -> None:
        async with Producer("c", capacity=1 << 16) as producer, Consumer("c") as consumer:
            with anyio.move_on_after(0.02):
                await consumer.aget_many(5)
            with anyio.move_on_after(0.02):
                await consumer.aget_many(5, stack=True)
            assert consumer.stats.messages == 0
            got: list[Any] = []

            async def read() -> None:
                got.append((await consumer.aget_many(2, stack=True)).tolist())
                got.append(await consumer.aget_many(9))
                with pytest.raises(EndOfStream):
                    await consumer.aget_many(9)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await anyio.sleep(0.01)
                producer.put_many([np.full(2, 1), np.full(2, 2), b"x", b"y"])
                producer.close()
            assert got == [[[1, 1], [2, 2]], [b"x", b"y"]]
            with pytest.raises(TypeError):
                await consumer.aget_many("2")  # type: ignore[call-overload]

    run(main)


@LOOPS
def test_a_producer_with_connections_closes_without_blocking_the_loop(run: Run) -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await anyio.sleep(0.001)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            with pytest.raises(ringipc.MessagesLost, match="1 message is lost"):
                async with await Producer.aopen("tcp://127.0.0.1:0", capacity=4096, linger=0.3) as producer:
                    producer.put(b"nobody comes")
                    before = ticks
            assert ticks - before > 5
            with pytest.raises(KeyError) as caught:
                async with await Producer.aopen("tcp://127.0.0.1:0", capacity=4096, linger=0) as producer:
                    producer.put(b"nobody comes")
                    raise KeyError
            assert "1 message is lost" in caught.value.__notes__[0]
            tasks.cancel_scope.cancel()

    run(main)


def test_a_loop_that_ends_meanwhile_leaves_no_thread() -> None:
    async def main() -> None:
        opening = asyncio.ensure_future(Consumer.aopen("c"))
        await asyncio.sleep(0.02)
        assert not opening.done()

    asyncio.run(main())
    assert own_threads() == []
