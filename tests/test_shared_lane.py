"""A shared lane: producers of any number of processes write it, one at a time, and its messages have one order."""

import asyncio
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from conftest import AnyChannel, Start, is_readable

import ringipc
from ringipc import Closed, Consumer, Empty, EndOfStream, Full, Producer, ProducerDied, ProducerFailed


def writer(channel: AnyChannel = "c", **options: Any) -> Producer:
    return Producer(channel, lane="shared", **{"capacity": "1 MiB", "slots": 64, **options})


def put_numbers(channel: AnyChannel, who: int, count: int) -> None:
    with writer(channel) as producer:
        for i in range(count):
            producer.put((who, i))


def fork(function: Callable[[], None]) -> int:
    """Call a function in a forked process. Return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return pid


@contextmanager
def child(function: Callable[[], None]) -> Iterator[int]:
    """A forked process that calls a function, and is killed at the end."""
    pid = fork(function)
    try:
        yield pid
    finally:
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def run(function: Callable[[], None]) -> None:
    """Call a function in a forked process."""
    assert os.waitpid(fork(function), 0)[1] == 0


def drain(consumer: Consumer) -> list[Any]:
    got = []
    while True:
        try:
            got.append(consumer.get_nowait())
        except Empty:
            return got


# ---- order ----


@pytest.mark.parametrize("shared", [False, True])
def test_what_is_put_after_the_workers_have_been_joined_comes_last(
    any_channel: AnyChannel, start: Start, shared: bool
) -> None:
    with writer(any_channel) as producer, Consumer(any_channel, producers=None, shared=shared) as consumer:
        got: list[Any] = []
        reader = threading.Thread(target=lambda: got.extend(iter(consumer.get, None)))
        reader.start()
        workers = [start(put_numbers, any_channel, who, 500) for who in range(4)]
        for worker in workers:
            worker.join()
        producer.put(None)
        reader.join(20)
        assert len(got) == 2000
        for who in range(4):
            assert [i for w, i in got if w == who] == list(range(500))
        assert drain(consumer) == []


def test_two_groups_get_the_messages_in_the_same_order(start: Start) -> None:
    with writer(slots=2048) as producer, Consumer("c") as one, Consumer("c", group="other", shared=True) as other:
        workers = [start(put_many_numbers, 2048, who) for who in range(2)]
        for worker in workers:
            worker.join()
        producer.put(None)
        first = drain(one)
        assert len(first) == 1001
        assert drain(other) == first


def put_many_numbers(slots: int, who: int) -> None:
    with writer(slots=slots) as producer:
        for at in range(0, 500, 50):
            assert producer.put_many([(who, i) for i in range(at, at + 50)]) == 50


def test_time_stamps_never_go_back_in_the_lane() -> None:
    with writer() as one, writer() as other, Consumer("c", producers=None) as consumer:
        stamps = []
        for k in range(50):
            (one if k % 2 else other).put((k,))
            with consumer.message() as message:
                stamps.append(message.timestamp)
                assert message.producer_pid == 0
        assert stamps == sorted(stamps)


def test_a_put_that_has_waited_for_another_producer_has_the_time_at_which_it_went_in() -> None:
    with writer() as one, writer() as other, Consumer("c", producers=None) as consumer:
        with one.reserve(1):
            waiting = threading.Thread(target=other.put, args=((1,),))
            waiting.start()
            waiting.join(0.05)
            assert waiting.is_alive()
            released = time.monotonic_ns()
        waiting.join(20)
        consumer.get()
        with consumer.message() as message:
            assert message.timestamp >= released


# ---- the life of the lane ----


def test_the_stream_ends_when_all_producers_that_are_expected_have_come_and_closed() -> None:
    with expecting_three() as consumer:
        for k in range(3):
            with pytest.raises(Empty):
                consumer.get(timeout=0.01)
            with writer() as producer:
                producer.put(b"%d" % k)
            assert consumer.get() == b"%d" % k
        with pytest.raises(EndOfStream):
            consumer.get()


@contextmanager
def expecting_three() -> Iterator[Consumer]:
    """A consumer that expects three producers, of a channel that had none that counts."""
    first = writer()
    with Consumer("c", producers=3) as consumer:
        first._cancel_open()  # its stream leaves no trace
        first.close()
        yield consumer


def test_the_lane_goes_on_while_one_producer_is_left() -> None:
    one = writer()
    with Consumer("c", producers=1) as consumer:
        other = writer()
        one.put(b"1")
        one.close()
        assert consumer.get() == b"1"
        with pytest.raises(Empty):
            consumer.get_nowait()
        other.put(b"2")
        assert consumer.get() == b"2"
        other.close()
        with pytest.raises(EndOfStream):
            consumer.get()


def test_each_producer_that_has_come_counts_for_a_group_that_joins_later() -> None:
    with another_group(), writer() as one:
        with writer() as other:
            one.put(b"1")
            other.put(b"2")
        with Consumer("c", producers=2, group="late", start="oldest") as consumer:
            one.close()
            assert list(consumer) == [b"1", b"2"]


@contextmanager
def another_group() -> Iterator[None]:
    """Another group, which keeps all messages."""
    Producer("c", capacity=4096).close()
    with Consumer("c", group="beside", producers=None):
        yield


def test_many_producers_one_after_another_write_one_lane() -> None:
    with writer() as first, Consumer("c", producers=None) as consumer:
        for k in range(500):
            with writer() as producer:
                producer.put((k,))
            if k % 50 == 49:
                assert drain(consumer) == [(j,) for j in range(k - 49, k + 1)]
        first.put(None)
        assert consumer.get() is None
        assert len(ringipc.Channel.open("c").lanes) == 1


def test_processes_one_after_another_write_one_lane() -> None:
    with writer(), Consumer("c", producers=None) as consumer:
        for k in range(70):
            run(lambda k=k: put_numbers("c", k, 2))  # type: ignore[misc]
            assert drain(consumer) == [(k, 0), (k, 1)]


def test_seventy_processes_at_once_write_one_lane() -> None:
    pids = []
    with writer() as producer, Consumer("c", producers=None) as consumer:
        (inside, go) = os.pipe()
        for k in range(70):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    os.close(go)
                    os.read(inside, 1)  # until all have started
                    put_numbers("c", k, 20)
                    status = 0
                finally:
                    os._exit(status)
            pids.append(pid)
        os.close(go)
        got = [consumer.get(timeout=60) for _ in range(70 * 20)]
        for pid in pids:
            assert os.waitpid(pid, 0)[1] == 0
        os.close(inside)
        producer.put(None)
        assert consumer.get() is None
        for k in range(70):
            assert [i for who, i in got if who == k] == list(range(20))


@pytest.mark.parametrize("other", [{"capacity": "2 MiB"}, {"slots": 128}, {"overflow": "drop-old"}])
def test_a_producer_with_other_settings_is_refused(other: dict[str, Any]) -> None:
    with writer():
        with pytest.raises(ringipc.Incompatible, match="its shared lane has another capacity, number of slots"):
            writer(**other)
        with Producer("c", capacity=4096):  # with a lane of its own
            pass
        writer().close()
    with Consumer("c"):
        writer(**other).close()  # a new lane


def test_all_slots_count_with_drop_old_as_given() -> None:
    with writer(overflow="drop-old", slots=5), pytest.raises(ringipc.Incompatible):
        writer(overflow="drop-old", slots=6)


def test_a_shared_lane_is_in_shared_memory_only() -> None:
    for target in ("tcp://127.0.0.1:0", "fifo:///tmp/no"):
        with pytest.raises(ValueError, match='lane="shared" is for channels in shared memory'):
            Producer(target, lane="shared")
    with pytest.raises(ValueError, match='lane="shared" is for channels'):
        Producer("c", lane="shared", fallback="tcp://127.0.0.1:0")
    with pytest.raises(ValueError, match='lane must be "own" or "shared"'):
        Producer("c", lane="mine")  # type: ignore[arg-type]


# ---- deaths ----


def put_and_die() -> None:
    producer = writer()  # it is not closed
    producer.put(b"last")
    os.kill(os.getpid(), signal.SIGKILL)


def reserve_and_die() -> None:
    producer = writer()
    with producer.reserve(100):
        os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(function: Callable[[], None]) -> None:
    with child(function) as pid:
        assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT) is not None


def test_a_producer_that_is_killed_while_it_has_the_lane_leaves_it_to_the_others() -> None:
    with writer() as producer, Consumer("c", producers=None) as consumer:
        producer.put(b"1")
        run_and_die(reserve_and_die)
        begin = time.monotonic()
        producer.put_nowait(b"2")
        assert time.monotonic() - begin < 1
        with writer() as other:
            other.put(b"3")
        assert [consumer.get() for _ in range(3)] == [b"1", b"2", b"3"]
        with pytest.raises(ProducerDied):
            consumer.get(timeout=5)
        with pytest.raises(Empty):
            consumer.get(timeout=0.6)


def test_a_producer_that_waits_for_the_lane_goes_on_when_the_owner_is_killed() -> None:
    ready, tell = os.pipe()

    def hold() -> None:
        producer = writer()
        with producer.reserve(100):
            os.write(tell, b"x")
            time.sleep(60)

    with writer() as producer, Consumer("c", producers=None, deaths="skip") as consumer, child(hold) as pid:
        os.read(ready, 1)
        threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)).start()
        begin = time.monotonic()
        producer.put(b"1")
        assert 0.05 < time.monotonic() - begin < 2
        assert consumer.get() == b"1"
    os.close(ready)
    os.close(tell)


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"order": "time"}], ids=str)
def test_a_death_is_reported_once_and_is_not_the_end_while_others_live(options: dict[str, Any]) -> None:
    with writer() as producer, Consumer("c", **options) as consumer:
        run_and_die(put_and_die)
        run_and_die(put_and_die)
        assert [consumer.get(timeout=5), consumer.get(timeout=5)] == [b"last"] * 2
        for _ in range(2):
            with pytest.raises(ProducerDied):
                consumer.get(timeout=5)
        cpu = time.process_time()
        assert ringipc.wait([consumer], 0.2) == []
        assert time.process_time() - cpu < 0.1
        producer.put(b"more")
        assert drain(consumer) == [b"more"]
        with Consumer("c", group="late") as late:  # what the dead have put is read
            producer.put(b"end")
            assert late.get() == b"end"
            producer.close()
            assert list(late) == []
        assert consumer.get() == b"end"
        with pytest.raises(EndOfStream):
            consumer.get()


def test_the_death_of_the_last_producer_is_reported_and_then_the_stream_ends() -> None:
    with Producer("c", capacity=4096) as own, Consumer("c") as consumer:
        run_and_die(put_and_die)
        assert consumer.get(timeout=5) == b"last"
        with pytest.raises(ProducerDied):
            consumer.get(timeout=5)
        own.close()
        with pytest.raises(EndOfStream):
            consumer.get()


@pytest.mark.parametrize("order", ["lane", "time"])
def test_a_death_waits_for_the_first_group(order: Any) -> None:
    run_and_die(put_and_die)
    with Consumer("c", order=order, timeout=5) as consumer:
        assert consumer.get() == b"last"
        with pytest.raises(ProducerDied):
            consumer.get()
        with pytest.raises(EndOfStream):
            consumer.get()


@pytest.mark.parametrize("order", ["lane", "time"])
def test_the_failure_of_a_producer_is_reported_while_others_go_on(order: Any) -> None:
    with writer() as producer, Consumer("c", order=order) as consumer:
        with pytest.raises(ZeroDivisionError), writer() as other:
            other.put(b"1")
            raise ZeroDivisionError
        producer.put(b"2")
        assert [consumer.get(), consumer.get()] == [b"1", b"2"]
        with pytest.raises(ProducerFailed, match=f"pid {os.getpid()}"):
            consumer.get_nowait()
        producer.close()
        with pytest.raises(EndOfStream):
            consumer.get()


@pytest.mark.parametrize("order", ["lane", "time"])
def test_consumers_can_skip_deaths_and_count_them(order: Any) -> None:
    with writer() as producer, Consumer("c", order=order, deaths="skip") as consumer:
        for _ in range(20):
            run_and_die(put_and_die)
        assert [consumer.get(timeout=5) for _ in range(20)] == [b"last"] * 20
        with pytest.raises(Empty):
            consumer.get(timeout=1.2)
        assert consumer.stats.deaths == 20
        producer.close()
        with pytest.raises(EndOfStream):
            consumer.get()


# ---- a full lane, and waiting ----


def test_producers_that_wait_for_room_all_get_it(start: Start) -> None:
    with writer(slots=8) as producer, Consumer("c", producers=None) as consumer:
        workers = [start(put_eight, who) for who in range(4)]
        time.sleep(0.5)  # they fill the lane
        got: list[Any] = []
        while len(got) < 4 * 100:
            got.append(consumer.get(timeout=20))
        for worker in workers:
            worker.join()
        for who in range(4):
            assert [i for w, i in got if w == who] == list(range(100))
        assert producer.stats.backlog == 0


def put_eight(who: int) -> None:
    with writer(slots=8) as producer:
        for i in range(100):
            producer.put((who, i))


def fill(producer: Producer) -> int:
    put = 0
    while True:
        try:
            producer.put_nowait(b"x")
            put += 1
        except Full:
            return put


def test_put_nowait_raises_full_at_once_also_while_another_producer_waits_for_room() -> None:
    with writer(slots=8) as one, writer(slots=8) as other, Consumer("c", producers=None) as consumer:
        assert fill(one) == 8
        waiting = threading.Thread(target=one.put, args=(b"y",))
        waiting.start()
        waiting.join(0.05)
        begin = time.monotonic()
        for _ in range(10):
            with pytest.raises(Full):
                other.put_nowait(b"z")
        assert time.monotonic() - begin < 0.1
        with pytest.raises(Full, match=r"group 'default' .* has not released 8 messages \(512 bytes\)"):
            other.put(b"z", timeout=0.1)
        assert waiting.is_alive()
        consumer.get()
        waiting.join(20)
        assert drain(consumer) == [b"x"] * 7 + [b"y"]


def test_a_timeout_ends_the_wait_for_a_producer_that_has_the_lane() -> None:
    with writer() as one, writer() as other, Consumer("c", producers=None) as consumer:
        with one.reserve(1):
            begin = time.monotonic()
            with pytest.raises(Full, match="another producer has the shared lane: it has a reservation open"):
                other.put(b"z", timeout=0.1)
            assert 0.1 <= time.monotonic() - begin < 1
            with pytest.raises(Full):
                other.put_nowait(b"z")
        other.put(b"1")
        assert len(drain(consumer)) == 2


@contextmanager
def interrupted(after: float) -> Iterator[None]:
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    timer.join()


def test_ctrl_c_ends_the_wait_for_room_and_for_the_lane() -> None:
    with writer(slots=8) as one, writer(slots=8) as other, Consumer("c", producers=None) as consumer:
        fill(one)
        with interrupted(0.1):
            one.put(b"y")
        assert len(drain(consumer)) == 8
        other.put(b"1")  # the one that was interrupted does not have the lane any more
        with one.reserve(1), interrupted(0.1):
            other.put(b"2")
        assert consumer.get() == b"1"
        one.put(b"3")
        assert drain(consumer)[-1] == b"3"


@pytest.mark.parametrize("waits", ["room", "lane"])
def test_closing_in_another_thread_ends_the_wait(waits: str) -> None:
    errors: list[Closed] = []

    def wait() -> None:
        try:
            other.put(b"y")
        except Closed as error:
            errors.append(error)

    with writer(slots=8) as one, writer(slots=8) as other, Consumer("c", producers=None) as consumer:
        thread = threading.Thread(target=wait)
        reservation = one.reserve(1)
        if waits == "lane":
            reservation.__enter__()
        else:
            fill(one)
        thread.start()
        thread.join(0.05)
        other.close()
        thread.join(20)
        assert len(errors) == 1
        if waits == "lane":
            reservation.__exit__(None, None, None)
        else:
            consumer.get()
        one.put_nowait(b"z")


def test_an_exception_while_a_message_is_encoded_or_copied_leaves_the_lane_free() -> None:
    class Bad:
        def __buffer__(self, flags: int) -> memoryview:
            raise ZeroDivisionError

    with writer() as one, writer() as other, Consumer("c", producers=None) as consumer:
        with pytest.raises(ringipc.UnsafeMessage):
            one.put({"a": Bad()})
        with pytest.raises(ringipc.UnsafeMessage):
            one.put_many([b"0", {1, 2}])
        with pytest.raises(ringipc.MessageTooLarge):
            one.put(bytes(1 << 21))
        with pytest.raises(ZeroDivisionError), one.reserve(8):
            raise ZeroDivisionError
        other.put_nowait(b"1")
        assert drain(consumer) == [b"0", b"1"]


def test_reservations_of_two_producers_come_one_after_the_other() -> None:
    with writer() as one, writer() as other, Consumer("c", producers=None) as consumer:
        with one.reserve(4, "u1") as array:
            array[:] = 1
            waiting = threading.Thread(target=put_reserved, args=(other, 2))
            waiting.start()
            waiting.join(0.05)
            assert drain(consumer) == []
        waiting.join(20)
        assert [message.tolist() for message in drain(consumer)] == [[1] * 4, [2] * 4]


def put_reserved(producer: Producer, value: int) -> None:
    with producer.reserve(4, "u1") as array:
        array[:] = value


def test_threads_share_a_producer_of_a_shared_lane() -> None:
    with writer(slots=8) as one, writer(slots=8) as other, Consumer("c", producers=None) as consumer:
        threads = [
            threading.Thread(target=lambda k=k: [(one, other)[k % 2].put((k, i)) for i in range(100)]) for k in range(4)
        ]
        for thread in threads:
            thread.start()
        got = [consumer.get(timeout=20) for _ in range(400)]
        for thread in threads:
            thread.join(20)
        for k in range(4):
            assert [i for who, i in got if who == k] == list(range(100))


def test_what_is_written_into_reserved_memory_after_close_changes_no_message_of_others() -> None:
    with writer() as other, Consumer("c", producers=None) as consumer:
        one = writer()
        reservation = one.reserve(100_000, "u1")
        array = reservation.__enter__()
        one.close()
        other.put(np.zeros(100_000, "u1"))
        message = consumer.get()
        array[:] = 7
        assert not message.any()
        with pytest.raises(Closed):
            reservation.__exit__(None, None, None)
        other.put(b"1")
        assert consumer.get() == b"1"


def test_the_exit_of_a_program_discards_the_reservation_of_another_thread() -> None:
    ready, tell = os.pipe()

    def exit_with_a_reservation() -> None:
        producer = writer()
        reserved = threading.Event()

        def hold() -> None:
            with producer.reserve(100_000, "u1") as array:
                reserved.set()
                while True:
                    array[:] = 7

        threading.Thread(target=hold, daemon=True).start()
        reserved.wait()
        producer._end(exiting=True)
        os.write(tell, b"x")
        time.sleep(60)  # the thread still writes

    with writer() as producer, Consumer("c", producers=None) as consumer, child(exit_with_a_reservation):
        os.read(ready, 1)
        producer.put(np.zeros(100_000, "u1"), timeout=20)
        message = consumer.get()
        time.sleep(0.1)
        assert not message.any()
    os.close(ready)
    os.close(tell)


def test_a_child_of_a_fork_cannot_use_the_producer_and_disturbs_nobody() -> None:
    with writer() as producer, writer() as other, Consumer("c", producers=None) as consumer:
        with producer.reserve(1):

            def in_child() -> None:
                with pytest.raises(Closed, match="belongs to the parent process"):
                    producer.put(b"x")
                with pytest.raises(Closed, match="belongs to the parent process"):
                    other.put(b"x")

            run(in_child)
            with pytest.raises(Full):
                other.put_nowait(b"y")  # still the parent's
        other.put_nowait(b"z")
        run(lambda: put_numbers("c", 1, 1))
        assert drain(consumer)[1:] == [b"z", (1, 0)]


# ---- large messages, views, policies ----


def test_large_messages_of_several_producers_are_whole(start: Start) -> None:
    with writer(capacity="4 MiB", slots=16), Consumer("c", producers=None) as consumer:
        workers = [start(put_large, who) for who in (1, 2)]
        seen = {1: 0, 2: 0}
        while sum(seen.values()) < 60:
            message = consumer.get(timeout=20)
            who = int(message[0])
            assert np.all(message == who)
            assert message.size == 4000 * (seen[who] % 30 + 1)
            seen[who] += 1
            del message
        for worker in workers:
            worker.join()


def put_large(who: int) -> None:
    with writer(capacity="4 MiB", slots=16) as producer:
        for i in range(30):
            producer.put(np.full(4000 * (i + 1), who, "u8"))


@pytest.mark.parametrize("options", [{}, {"shared": True}, {"overflow": "drop-old"}])
def test_kept_views_stay_and_stop_no_producer(options: dict[str, Any]) -> None:
    with writer(slots=8, capacity=65536) as one, writer(slots=8, capacity=65536) as other:
        with Consumer("c", producers=None, **options) as consumer:
            one.put(np.arange(1000))
            kept = consumer.get()
            for k in range(50):
                (one if k % 3 else other).put(np.full(1000, k))
                assert consumer.get()[0] == k
            assert kept.tolist() == list(range(1000))
            del kept
            for k in range(10):  # all memory can be used again
                (one if k % 3 else other).put(bytes(20000))
                assert len(consumer.get()) == 20000


def test_drop_old_keeps_the_newest_messages_of_all_producers() -> None:
    with writer(slots=8, overflow="drop-old") as one, writer(slots=8, overflow="drop-old") as other:
        with Consumer("c", producers=None) as consumer:
            for k in range(20):
                assert (one if k % 3 else other).put((k,))
            assert drain(consumer) == [(k,) for k in range(12, 20)]
            assert consumer.stats.missed == 12


def test_drop_new_refuses_for_all_producers_and_counts() -> None:
    with writer(slots=8, overflow="drop-new") as one, writer(slots=8, overflow="drop-new") as other:
        with Consumer("c", producers=None) as consumer:
            assert [(one if k % 2 else other).put((k,)) for k in range(12)] == [True] * 8 + [False] * 4
            with one.reserve(1):
                assert not other.put(b"x")
            assert one.stats.refused + other.stats.refused == 6
            drain(consumer)
            assert [one.put(b"1"), other.put(b"2")] == [True, True]
            assert drain(consumer) == [b"1", b"2"]
            assert consumer.stats.missed == 6


def test_flush_waits_for_the_own_messages_only() -> None:
    with writer() as one, writer() as other, Consumer("c", producers=None) as consumer:
        one.put(b"1")
        other.put(b"2")
        consumer.get()
        with pytest.raises(Empty):
            _ = [consumer.get_nowait() for _ in range(3)]
        other.put(b"3")
        one.flush(timeout=5)
        with pytest.raises(ringipc.TimedOut):
            other.flush(timeout=0.05)
        assert other.stats.backlog == one.stats.backlog == 1
        assert (one.stats.messages, other.stats.messages) == (1, 2)


# ---- event loops ----


def test_tasks_of_several_producers_put_into_a_full_lane() -> None:
    async def put(k: int) -> None:
        async with await Producer.aopen("c", lane="shared", slots=8, capacity="1 MiB") as producer:
            for i in range(50):
                await producer.aput((k, i))

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(put(k)) for k in range(4)]
        got = [await consumer.aget() for _ in range(200)]
        await asyncio.gather(*tasks)
        return got

    with writer(slots=8), Consumer("c", producers=None) as consumer:
        got = asyncio.run(asyncio.wait_for(main(), 30))
        for k in range(4):
            assert [i for who, i in got if who == k] == list(range(50))


def test_a_task_that_waits_for_a_producer_that_has_the_lane_lets_other_tasks_run() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    async def main(one: Producer, other: Producer) -> None:
        nonlocal turns
        others = asyncio.create_task(take_turns())
        await asyncio.sleep(0.3)
        alone, turns = turns, 0
        with one.reserve(1):
            task = asyncio.create_task(other.aput(b"1"))
            await asyncio.sleep(0.3)
        assert turns > alone / 3
        assert await asyncio.wait_for(task, 5)
        others.cancel()

    with writer() as one, writer() as other, Consumer("c", producers=None) as consumer:
        asyncio.run(main(one, other))
        assert len(drain(consumer)) == 2


def test_the_pollfd_becomes_readable_when_another_producer_leaves_the_lane() -> None:
    with writer() as one, writer() as other, Consumer("c", producers=None):
        for _ in range(5):
            with one.reserve(1):
                assert not is_readable(other)
                with pytest.raises(Full):
                    other.put_nowait(b"x")
                assert not is_readable(other, 0.01)
                number = other.fileno()
            begin = time.monotonic()
            assert is_readable(number, 5)
            assert time.monotonic() - begin < 0.3  # it was woken, and it is not the regular check
            other.put_nowait(b"x")


@pytest.mark.parametrize("waits", [False, True])
def test_the_pollfd_becomes_readable_when_the_producer_that_has_the_lane_is_killed(waits: bool) -> None:
    ready, tell = os.pipe()

    def hold() -> None:
        producer = writer(slots=8)
        if waits:
            os.write(tell, b"x")
            producer.put(b"y")
        with producer.reserve(1):
            os.write(tell, b"x")
            time.sleep(60)

    with writer(slots=8) as producer, Consumer("c", producers=None, deaths="skip") as consumer:
        number = producer.fileno()
        if waits:
            fill(producer)
        with child(hold) as pid:
            os.read(ready, 1)
            time.sleep(0.1)  # it waits for room
            assert not is_readable(producer)
            os.kill(pid, signal.SIGSTOP)
            if waits:
                consumer.get()  # the other one was woken, and does not go on
                with pytest.raises(Full):
                    producer.put_nowait(b"x")
            assert not is_readable(producer)
            os.kill(pid, signal.SIGKILL)
            assert is_readable(number, 5)
            producer.put_nowait(b"x")
    os.close(ready)
    os.close(tell)


def test_the_pollfd_of_each_producer_says_whether_there_is_room() -> None:
    with writer(slots=8) as one, writer(slots=8) as other, Consumer("c", producers=None) as consumer:
        assert [is_readable(one), is_readable(other)] == [True, True]
        fill(one)
        with pytest.raises(Full):
            other.put_nowait(b"x")
        assert [is_readable(one), is_readable(other)] == [False, False]
        consumer.get()
        begin = time.monotonic()
        assert [is_readable(one, 5), is_readable(other, 5)] == [True, True]
        assert time.monotonic() - begin < 0.3  # it was woken, and it was not the timer
        one.put(b"y")
        with pytest.raises(Full):
            other.put_nowait(b"x")
        assert not is_readable(other)
        waiting = threading.Thread(target=one.put, args=(b"z",))
        waiting.start()
        waiting.join(0.05)
        assert not is_readable(other)
        consumer.get()
        consumer.get()
        waiting.join(20)
        begin = time.monotonic()
        select.select([other], [], [], 5)
        other.put_nowait(b"x")
        assert time.monotonic() - begin < 0.3
