"""Acknowledgement in groups that keep claims: an acknowledged message is never redelivered, even with a view on it."""

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import numpy as np
import pytest
from conftest import Start

import ringipc
from ringipc import Consumer, Empty, EndOfStream, Event, Message, Producer

WAYS: dict[str, Callable[[Consumer], object]] = {
    "get": lambda c: c.get(timeout=5),
    "latest": lambda c: c.latest(timeout=5),
    "get_many": lambda c: c.get_many(1, timeout=5)[0],
    "type": lambda c: c.get(timeout=5, type=0),
    "where": lambda c: c.get(timeout=5, where=lambda m: True),
    "record": lambda c: c.get(timeout=5)["frame"],
    "message": lambda c: c.message(timeout=5).payload,  # keeps a reference to the payload, and none to the message
}


def put_arrays(producer: Producer, *numbers: int) -> None:
    for k in numbers:
        producer.put(np.full(100, k))


def take_all(channel: str, results: str) -> None:
    """The plain loop of a worker: it keeps a view on its last array while it gets the next, and on its first."""
    with Consumer(channel, group="work", shared=True) as consumer, Producer(results, capacity=1 << 16) as done:
        first = array = consumer.get(timeout=20)
        done.put(b"%d" % first[0])
        with contextlib.closing(Event("go")) as go:  # all workers have their first message
            assert go.wait(20)
        for array in consumer:
            done.put(b"%d" % array[0])
        assert (first == first[0]).all()
        assert (array == array[0]).all()
        done.put(b"end")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_plain_loop_over_arrays_ends(start: Start, workers: int) -> None:
    with (
        Producer("c", capacity="1 MiB", groups=["work"]) as producer,
        Producer("r", capacity=4096),
        Consumer("r") as results,
        contextlib.closing(Event("go")) as go,
    ):
        for _ in range(workers):
            start(take_all, "c", "r")
        put_arrays(producer, *range(workers))
        got = [results.get(timeout=20) for _ in range(workers)]
        go.set()
        put_arrays(producer, *range(workers, 40))
        producer.close()
        got += [results.get(timeout=20) for _ in range(40)]
    assert got.count(b"end") == workers
    assert sorted(int(each) for each in got if each != b"end") == list(range(40))


@pytest.mark.parametrize("way", WAYS)
def test_the_end_of_the_stream_does_not_wait_for_views(way: str) -> None:
    with Producer("c", capacity="1 MiB") as producer:
        one, two = Consumer("c", shared=True), Consumer("c", shared=True)
        kept = []
        for k in range(3):
            producer.put({"frame": np.full(100, k)} if way == "record" else np.full(100, k))
            kept.append(WAYS[way](one))
        producer.close()
        waits = threading.Thread(target=lambda: list(two))
        waits.start()
        if way != "message":  # the end of its block has acknowledged the last one
            with pytest.raises(Empty):
                two.get(timeout=0.1)
        with pytest.raises(EndOfStream):
            WAYS[way](one)
        waits.join(5)
        assert not waits.is_alive()
        with pytest.raises(EndOfStream):
            two.get(timeout=0)
        for k, array in enumerate(kept):
            assert (array == k).all()  # type: ignore[attr-defined]
        assert one.stats.held == 3
        kept.clear()
        del array
        for each in (one, two):
            each.close()


def keep_three(channel: str, durable: bool) -> None:
    consumer = Consumer(channel, group="work", shared=not durable, durable=durable)
    kept = [consumer.get(timeout=20) for _ in range(3)]
    assert [array[0] for array in kept] == [0, 1, 2]
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("durable", [False, True])
def test_only_the_message_in_work_of_a_killed_member_is_redelivered(start: Start, durable: bool) -> None:
    with Producer("c", capacity="1 MiB", groups=["work"]) as producer:
        stays = None if durable else Consumer("c", group="work", shared=True)
        put_arrays(producer, *range(4))
        start(keep_three, "c", durable).join(20)
        with stays or Consumer("c", group="work", durable=True) as consumer:
            messages = [consumer.message(timeout=5) for _ in range(2)]
            assert sorted((m.seq, m.redelivered) for m in messages) == [(2, True), (3, False)]
            with pytest.raises(Empty):
                consumer.get_nowait()
            messages.clear()
            producer.flush(timeout=0)
    if durable:
        ringipc.Channel.open("c").remove_group("work")


def test_a_get_in_another_thread_acknowledges_nothing_of_this_one(producer: Producer) -> None:
    with Consumer("c", shared=True) as stays:
        leaves = Consumer("c", shared=True)
        put_arrays(producer, *range(4))
        first, second = leaves.get(), leaves.get()
        others = threading.Thread(target=lambda: [leaves.get() for _ in range(2)])
        others.start()
        others.join()
        leaves._end(exiting=True)
        with stays.message(timeout=0) as again:
            assert (again.seq, again.redelivered) == (1, True)
        assert rest_of(stays) == [(3, True)]
        assert (first[0], second[0]) == (0, 1)


def test_a_message_is_acknowledged_only_at_the_end_of_its_block(producer: Producer) -> None:
    with Consumer("c", shared=True) as stays:
        leaves = Consumer("c", shared=True)
        put_arrays(producer, *range(4))
        with leaves.message() as ended:
            kept = ended.payload
        held = leaves.message()
        in_work = held.payload
        kept_too = leaves.get()
        last = leaves.get()
        leaves._end(exiting=True)
        assert rest_of(stays) == [(1, True), (3, True)]
        assert [array[0] for array in (kept, in_work, kept_too, last)] == [0, 1, 2, 3]
        held.release()


def test_a_message_in_a_reference_cycle_is_acknowledged_when_it_is_collected(producer: Producer) -> None:
    with Consumer("c", shared=True) as one, Consumer("c", shared=True) as two:
        put_arrays(producer, 0)
        producer.close()
        message = one.message()
        kept = message.payload
        cycle: dict[str, object] = {"message": message}
        cycle["itself"] = cycle
        del message, cycle
        gc.collect()
        with pytest.raises(EndOfStream):
            two.get(timeout=5)
        assert (kept == 0).all()
        del kept


def rest_of(consumer: Consumer) -> list[tuple[int, bool]]:
    messages: list[Message] = []
    try:
        while True:
            messages.append(consumer.message(timeout=0))
    except Empty:
        return [(m.seq, m.redelivered) for m in messages]


def test_a_lane_that_drops_continues_while_a_view_is_alive() -> None:
    with Producer("c", capacity=8192, slots=8, overflow="drop-old") as producer:
        with Consumer("c", shared=True) as consumer:
            put_arrays(producer, 0, 1)
            kept = [consumer.get(), consumer.get()]
            with pytest.raises(Empty):
                consumer.get_nowait()
            put_arrays(producer, *range(2, 1000))
            assert [(array == k).all() for k, array in enumerate(kept)] == [True, True]
            assert consumer.get()[0] > 1
            assert producer.stats.refused == 0


def test_async_iteration_over_arrays_ends(producer: Producer) -> None:
    async def take(consumer: Consumer) -> int:
        count = 0
        async for array in consumer:
            assert (array == count).all()
            count += 1
        return count

    with Consumer("c", shared=True) as consumer:
        put_arrays(producer, *range(5))
        producer.close()
        assert asyncio.run(asyncio.wait_for(take(consumer), 10)) == 5


def test_an_async_get_of_a_type_is_acknowledged_at_the_next_get(producer: Producer) -> None:
    with Consumer("c", shared=True) as stays:
        leaves = Consumer("c", shared=True)
        producer.put(np.zeros(3), type=1)
        array = asyncio.run(leaves.aget(type=1))
        leaves._end(exiting=True)
        assert rest_of(stays) == [(0, True)]
        assert array.tolist() == [0, 0, 0]


Main = Callable[[], Coroutine[Any, Any, None]]


def run_asyncio(main: Main) -> None:
    asyncio.run(main())


def run_trio(main: Main) -> None:
    pytest.importorskip("trio").run(main)


def loop_in_tasks(channel: str, run: Callable[[Main], None], results: str) -> None:
    """Two tasks share a consumer; the first message of the first task and the last message are never acknowledged."""
    with Producer(results, capacity=1 << 16) as done:
        consumer = Consumer(channel, group="work", shared=True)

        async def take(number: int) -> None:
            async for array in consumer:
                done.put((number, int(array[0])))
                if number == 0 or array[0] == 4:
                    await anyio.sleep_forever()

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take, 0)
                await anyio.sleep(0)
                tasks.start_soon(take, 1)

        run(main)


@pytest.mark.parametrize("run", [run_asyncio, run_trio])
def test_tasks_that_share_a_consumer_do_not_acknowledge_each_others_messages(
    start: Start, run: Callable[[Main], None]
) -> None:
    with (
        Producer("c", capacity="1 MiB", groups=["work"]) as producer,
        Producer("r", capacity=4096),
        Consumer("r") as results,
        Consumer("c", group="work", shared=True) as stays,
    ):
        worker = start(loop_in_tasks, "c", run, "r")
        put_arrays(producer, *range(5))
        got = {seq: task for task, seq in (results.get(timeout=20) for _ in range(5))}
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(20)
        in_work = sorted({4, *(seq for seq in got if got[seq] == 0)})
        messages = [stays.message(timeout=5) for _ in in_work]
        assert sorted((m.seq, m.redelivered) for m in messages) == [(seq, True) for seq in in_work]
        assert rest_of(stays) == []
        messages.clear()


@pytest.mark.parametrize("run", [run_asyncio, run_trio])
def test_a_task_that_gets_without_waiting_acknowledges_only_its_own_messages(
    producer: Producer, run: Callable[[Main], None]
) -> None:
    leaves = Consumer("c", shared=True)

    async def main() -> None:
        kept = []

        async def take(get: Callable[[], object]) -> None:
            kept.append(await leaves.aget())
            await anyio.sleep(0.01)
            kept.append(get())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take, leaves.get_nowait)
            tasks.start_soon(take, lambda: leaves.get(0, where=lambda m: True))
        leaves._end(exiting=True)

    with Consumer("c", shared=True) as stays:
        put_arrays(producer, *range(4))
        run(main)
        assert rest_of(stays) == [(2, True), (3, True)]


@pytest.mark.parametrize("run", [run_asyncio, run_trio])
@pytest.mark.parametrize("wanted", [{}, {"type": 0}, {"where": lambda m: True}])
def test_a_message_can_be_passed_to_another_task(
    producer: Producer, run: Callable[[Main], None], wanted: dict[str, Any]
) -> None:
    leaves = Consumer("c", shared=True)

    async def work(message: Message, seq: int) -> None:
        with message:
            assert message.payload[0] == seq

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for seq in range(2):
                tasks.start_soon(work, await leaves.amessage(**wanted), seq)
        held = await leaves.amessage(**wanted)
        kept = await leaves.aget(**wanted)
        assert kept[0] == 3
        leaves._end(exiting=True)
        held.release()

    with Consumer("c", shared=True) as stays:
        put_arrays(producer, *range(4))
        run(main)
        assert rest_of(stays) == [(2, True), (3, True)]


def test_a_new_thread_acknowledges_nothing_of_an_ended_one(producer: Producer) -> None:
    with Consumer("c", shared=True) as stays:
        leaves = Consumer("c", shared=True)
        put_arrays(producer, *range(5))
        kept: list[Any] = []
        for _ in range(5):  # each thread gets the ident of the one before
            thread = threading.Thread(target=lambda: kept.append(leaves.get(timeout=5)))
            thread.start()
            thread.join()
        leaves._end(exiting=True)
        assert rest_of(stays) == [(seq, True) for seq in range(5)]


def test_a_clean_close_acknowledges_the_messages_of_all_threads(producer: Producer) -> None:
    with Consumer("c", shared=True) as stays:
        put_arrays(producer, *range(3))
        kept: list[Any] = []
        with Consumer("c", shared=True) as leaves:
            thread = threading.Thread(target=lambda: kept.append(leaves.get(timeout=5)))
            thread.start()
            thread.join()
            kept.append(leaves.get(timeout=5))
            held = leaves.message(timeout=5)
        producer.close()
        with pytest.raises(Empty):
            stays.get(timeout=0.05)
        held.release()
        with pytest.raises(EndOfStream):
            stays.get(timeout=5)
        assert [array[0] for array in kept] == [0, 1]
        kept.clear()


def fail_in_the_middle(channel: str) -> None:
    with contextlib.suppress(SystemExit), Consumer(channel, group="work", shared=True) as consumer:
        kept = consumer.get(timeout=20)
        raise SystemExit
    assert kept[0] == 0
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_message_that_a_worker_fails_at_is_redelivered_to_another(start: Start) -> None:
    with (
        Producer("c", capacity="1 MiB", groups=["work"]) as producer,
        Consumer("c", group="work", shared=True) as stays,
    ):
        put_arrays(producer, 0)
        start(fail_in_the_middle, "c").join(20)
        with stays.message(timeout=5) as again:
            assert (again.seq, again.redelivered) == (0, True)


def test_empty_reports_the_messages_that_this_consumer_has_in_work(producer: Producer) -> None:
    with Consumer("c", shared=True) as consumer:
        put_arrays(producer, 0, 1)
        kept: list[Any] = []
        thread = threading.Thread(target=lambda: kept.append(consumer.get(timeout=5)))
        thread.start()
        thread.join()
        kept.append(consumer.get(timeout=5))
        producer.close()
        for _ in range(2):
            with pytest.raises(Empty, match="this consumer has 1 message in work: get again in the thread"):
                consumer.get(timeout=0.01)
            kept.clear()  # the thread has not got again, whatever becomes of its view


@pytest.mark.parametrize("options", [{"shared": True}, {"durable": True}], ids=str)
def test_an_exception_that_leaves_the_block_requeues_the_message(producer: Producer, options: dict[str, Any]) -> None:
    with Consumer("c", **options) as consumer:
        put_arrays(producer, 0, 1)
        with pytest.raises(OSError, match="disk"), consumer.message() as task:
            assert (task.seq, task.redelivered) == (0, False)
            raise OSError("the disk is full")
        assert (consumer.stats.messages, consumer.stats.held) == (0, 0)
        with consumer.message() as again:
            assert (again.seq, again.redelivered, again.payload[0]) == (0, True, 0)
        assert rest_of(consumer) == [(1, False)]
        producer.flush(timeout=0)
    if "durable" in options:
        ringipc.Channel.open("c").remove_group("default")


def test_an_exception_releases_the_message_of_an_exclusive_group(producer: Producer) -> None:
    with Consumer("c") as consumer:
        put_arrays(producer, 0, 1)
        with pytest.raises(OSError), consumer.message():
            raise OSError
        assert rest_of(consumer) == [(1, False)]


def test_a_requeued_message_goes_to_another_member_that_waits(producer: Producer) -> None:
    with Consumer("c", shared=True) as one, Consumer("c", shared=True) as two:
        put_arrays(producer, 0)
        task = one.message()
        got: list[Message] = []
        waits = threading.Thread(target=lambda: got.append(two.message(timeout=20)))
        waits.start()
        while two.stats.waits == 0 and not got:
            os.sched_yield()
        task.requeue()
        waits.join(20)
        assert [(m.seq, m.redelivered) for m in got] == [(0, True)]
        with pytest.raises(ringipc.Closed, match="message has been released"):
            task.requeue()
        task.release()
        got.clear()


@pytest.mark.parametrize("shared", [False, True])
def test_a_requeued_message_goes_to_another_thread_that_waits(producer: Producer, shared: bool) -> None:
    with Consumer("c", shared=shared) as consumer:
        put_arrays(producer, 0)
        task = consumer.message()
        got: list[Any] = []
        waits = threading.Thread(target=lambda: got.append(consumer.get(timeout=20, type={0})))
        waits.start()
        while waits.is_alive() and consumer.stats.waits == 0:
            os.sched_yield()
        task.requeue()
        waits.join(20)
        assert [array[0] for array in got] == [0]
        got.clear()


@pytest.mark.parametrize("options", [{"shared": True}, {}], ids=str)
def test_a_view_delays_a_requeue(producer: Producer, options: dict[str, Any]) -> None:
    with Consumer("c", **options) as consumer:
        put_arrays(producer, 0)
        task = consumer.message()
        view = task.payload[10:]
        task.requeue()
        with pytest.raises(Empty):
            consumer.get(timeout=0)
        with pytest.raises(ringipc.TimedOut):
            producer.flush(timeout=0)
        assert (view == 0).all()
        del view
        assert consumer.get(timeout=0)[0] == 0


def test_a_message_requeued_by_a_consumer_that_has_closed_goes_to_the_others(producer: Producer) -> None:
    with Consumer("c", shared=True) as stays:
        leaves = Consumer("c", shared=True)
        put_arrays(producer, 0)
        task = leaves.message()
        leaves.close()
        task.requeue()
        assert rest_of(stays) == [(0, True)]
        assert ringipc.Channel.open("c").pids == [os.getpid()] * 2


def test_an_unreadable_message_is_not_requeued() -> None:
    with Producer("p", capacity="1 MiB", pickle=True) as producer, Consumer("p", shared=True) as consumer:
        producer.put_many([{1, 2}, b"next"])
        with pytest.raises(ringipc.UnsafeMessage), consumer.message() as task:
            _ = task.payload
        assert consumer.get(timeout=0) == b"next"
        with pytest.raises(Empty):
            consumer.get(timeout=0)
        producer.flush(timeout=0)


@pytest.mark.parametrize("options", [{"shared": True}, {}], ids=str)
def test_messages_requeued_late_keep_their_order_and_report_a_loss_once(options: dict[str, Any]) -> None:
    with (
        Producer("d", capacity="1 MiB", slots=4, overflow="drop-old") as producer,
        Consumer("d", **options) as consumer,
    ):
        producer.put_many([b"0", b"1", b"2", b"3"])
        first = consumer.message()
        producer.put_many([b"4", b"5", b"6"])
        second = consumer.message()
        assert (first.missed, second.missed) == (0, 2)
        first.requeue()  # too late: the producer has made room beyond it
        with consumer.message(timeout=0) as third:
            assert (third.seq, third.missed) == (4, 1)
        second.requeue()
        with consumer.message(timeout=0) as again:
            assert (again.seq, again.missed) == (second.seq, 0)
        missed = [consumer.message(timeout=0).missed for _ in range(producer.stats.backlog)]
        assert sum(missed) == 0
        assert consumer.stats.missed == producer.stats.dropped + 1 == 3


@pytest.mark.parametrize(
    "options",
    [{"shared": True}, {"durable": True}, {"shared": True, "durable": True}, {"group": "declared"}, {}],
    ids=str,
)
def test_flush_waits_until_all_is_done_and_not_for_views(options: dict[str, Any]) -> None:
    declared = [options["group"]] if "group" in options else []
    with Producer("c", capacity="1 MiB", groups=declared) as producer, Consumer("c", **options) as consumer:
        put_arrays(producer, 0, 1)
        views = [consumer.get(), consumer.get()]
        name = options.get("group", "default")
        with pytest.raises(ringipc.TimedOut, match=f"group '{name}'.* has not acknowledged . messages?") as error:
            producer.flush(timeout=0)
        assert f"pid {os.getpid()}" in str(error.value)
        if not options:  # nothing is redelivered here, so done is released
            assert "2 messages" in str(error.value)
            views.clear()
        else:
            assert "1 messages" in str(error.value)
            with pytest.raises(Empty):
                consumer.get(timeout=0)  # so the second one is done
            assert producer.stats.backlog == 2
        producer.flush(timeout=0)
        views.clear()
    if options.get("durable"):
        ringipc.Channel.open("c").remove_group("default")


def test_an_acknowledgement_wakes_flush(producer: Producer) -> None:
    """It does not sleep until its slice of 50 ms ends."""
    rounds = 300
    with Consumer("c", shared=True) as consumer:
        views: list[Any] = []

        def work() -> None:
            for _ in range(rounds):
                message = consumer.message(timeout=20)
                views[:] = [message.payload]  # it outlives its acknowledgement
                os.sched_yield()
                message.release()

        worker = threading.Thread(target=work)
        worker.start()
        start = time.monotonic()
        for k in range(rounds):
            put_arrays(producer, k)
            producer.flush(timeout=20)
        assert time.monotonic() - start < rounds * 0.05 / 2
        worker.join(20)
        views.clear()


@pytest.mark.parametrize("options", [{"shared": True}, {"durable": True}], ids=str)
def test_flush_outlasts_killed_members(start: Start, options: dict[str, Any]) -> None:
    with Producer("c", capacity="1 MiB", groups=["work"]) as producer:
        stays = Consumer("c", group="work", **options) if "shared" in options else None
        put_arrays(producer, *range(4))
        start(keep_three, "c", "durable" in options).join(20)
        with pytest.raises(ringipc.TimedOut, match="group 'work'"):
            producer.flush(timeout=0.05)
        got: list[int] = []
        with stays or Consumer("c", group="work", **options) as consumer:
            view = None

            def work() -> None:
                nonlocal view
                for _ in range(2):
                    view = consumer.get(timeout=20)
                    got.append(int(view[0]))
                with pytest.raises(Empty):
                    consumer.get(timeout=0)

            worker = threading.Thread(target=work)
            worker.start()
            producer.flush(timeout=20)
            assert sorted(got) == [2, 3]
            worker.join()
            view = None
    if "durable" in options:
        ringipc.Channel.open("c").remove_group("work")
