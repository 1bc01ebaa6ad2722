"""Shared groups: members compete, each message goes to one of them, and none is lost when a member dies."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import pytest

from ringipc import (
    Channel,
    ChannelNotFound,
    Closed,
    Consumer,
    Empty,
    EndOfStream,
    Full,
    GroupBusy,
    Incompatible,
    Message,
    Producer,
    ProducerDied,
    TimedOut,
)

Start = Callable[..., BaseProcess]


def test_each_message_goes_to_one_member(producer: Producer) -> None:
    with Consumer("c", shared=True) as one, Consumer("c", shared=True) as two:
        producer.put_many([b"%d" % k for k in range(10)])
        assert [one.get(), two.get(), two.get(), one.get()] == [b"0", b"1", b"2", b"3"]
        assert two.get_many(3) == [b"4", b"5", b"6"]
        assert one.get_many(10) == [b"7", b"8", b"9"]
        for consumer in (one, two):
            with pytest.raises(Empty):
                consumer.get_nowait()
        assert producer.stats.backlog == 0


def test_shared_and_exclusive_groups_work_beside_each_other(producer: Producer) -> None:
    with (
        Consumer("c", group="work", shared=True) as one,
        Consumer("c", group="work", shared=True) as two,
        Consumer("c", group="log") as log,
    ):
        producer.put_many([b"a", b"b"])
        assert {one.get(), two.get()} == {b"a", b"b"}
        assert log.get_many(9) == [b"a", b"b"]


def test_a_group_is_either_shared_or_exclusive(producer: Producer) -> None:
    with Consumer("c", shared=True):
        with pytest.raises(Incompatible, match="group 'default' is shared; open this consumer with shared=True"):
            Consumer("c")
    with Consumer("c"):
        with pytest.raises(Incompatible, match="group 'default' is exclusive; open this consumer with shared=False"):
            Consumer("c", shared=True)
        with pytest.raises(GroupBusy):
            Consumer("c")


def test_messages_of_a_member_that_leaves_are_redelivered(producer: Producer) -> None:
    with Consumer("c", shared=True) as stays:
        leaves = Consumer("c", shared=True)
        producer.put_many([b"%d" % k for k in range(4)])
        first, second = leaves.message(), leaves.message()
        assert not first.redelivered
        second.release()
        leaves._end(exiting=True)
        again = stays.message()
        assert (again.payload, again.redelivered) == (b"0", True)
        assert stays.get_many(9) == [b"2", b"3"]
        again.release()
        assert producer.stats.backlog == 2
        with pytest.raises(Empty):
            stays.get_nowait()
        assert producer.stats.backlog == 0
        first.release()


def test_views_and_messages_are_released_in_any_order() -> None:
    rng = random.Random(5)
    with Producer("c", capacity=1 << 16, slots=16) as producer:
        members = [Consumer("c", shared=True, copy=False) for _ in range(3)]
        held: dict[int, Any] = {}
        in_work: dict[int, int] = {}  # what each member got last, until it gets again
        put = taken = 0
        for _ in range(20_000):
            choice = rng.random()
            if choice < 0.4:
                put += producer.put_many([np.full(rng.randrange(50), put)], timeout=0)
            elif choice < 0.7:
                k = rng.randrange(3)
                in_work.pop(k, None)
                try:
                    held[taken] = members[k].get_nowait()
                    in_work[k] = taken
                    taken += 1
                except Empty:
                    assert taken == put
            elif held:
                seq = rng.choice(list(held))
                assert (held.pop(seq) == seq).all()
            # less if the producer has gone around views
            assert producer.stats.backlog <= put - min([*held, *in_work.values()], default=taken)
            assert producer.stats.backlog >= put - min(in_work.values(), default=taken)
        held.clear()
        for member in members:
            member.close()


def test_a_member_that_is_woken_and_leaves_wakes_another() -> None:
    """The first member to sleep is woken first. It is closed at that moment, so the second must get the message."""
    took = []
    for _ in range(5):
        with Producer("c", capacity=4096) as producer, Consumer("c", shared=True) as second:
            first = Consumer("c", shared=True, copy=False)
            producer.put(b"held")
            view = first.get(timeout=5)
            moments: list[float] = []

            def wait(first: Consumer = first) -> None:
                with pytest.raises(Closed):
                    first.get()

            def take(second: Consumer = second, moments: list[float] = moments) -> None:
                second.get()
                moments.append(time.monotonic())

            waits, takes = threading.Thread(target=wait), threading.Thread(target=take)
            for thread in (waits, takes):
                thread.start()
                time.sleep(0.02)  # until it sleeps; if it does not sleep yet, this round shows nothing
            first.close()  # it stays a member while the view is alive, so no member is woken now
            start = time.monotonic()
            producer.put(b"to be taken")
            takes.join(5)
            waits.join(5)
            took.append(moments[0] - start)
            del view
    assert sorted(took)[2] < 0.012  # a lost wake-up would be noticed after a slice of 50 ms


def hold_one(channel: str) -> None:
    with Consumer(channel, group="work", shared=True, timeout=20) as consumer, Producer("said", capacity=4096) as said:
        with consumer.message(timeout=20):
            said.put(b"taken")
            time.sleep(60)  # until it is killed


def test_full_names_the_member_that_holds_the_oldest_message(start: Start) -> None:
    with (
        Producer("c", capacity=4096, slots=4, groups=["work"]) as producer,
        Producer("said", capacity=4096),
        Consumer("said") as said,
    ):
        holder = start(hold_one, "c")
        producer.put(b"0")
        assert said.get(timeout=20) == b"taken"
        with Consumer("c", group="work", shared=True) as other:  # the last member to join
            producer.put_many([b"1", b"2"])
            assert other.get_many(9) == [b"1", b"2"]
            producer.put(b"3")
            have = r"'work' has not released 4 messages \(256 bytes\)"
            with pytest.raises(Full, match=rf"{have}; its member that holds the oldest is pid {holder.pid}$"):
                producer.put(b"4", timeout=0)
            with pytest.raises(TimedOut, match=f"not flushed.*is pid {holder.pid}$"):
                producer.flush(timeout=0)
            holder.kill()
            holder.join()
            with pytest.raises(ProducerDied):
                said.get(timeout=5)
            Consumer("c", group="another", start="newest").close()  # reaps the dead member
            with pytest.raises(Full, match=f"{have}, and no member has taken the oldest$"):
                producer.put(b"4", timeout=0)
            with other.message(timeout=0) as message:
                assert message.payload == b"0"
                with pytest.raises(Full, match=f"is pid {os.getpid()}, this process itself$"):
                    producer.put(b"4", timeout=0)
            producer.put(b"4", timeout=0)
        with pytest.raises(Full, match=r"'work' \(without a member now\)"):
            producer.put_many([b"5"] * 4, timeout=0)
            producer.put(b"5", timeout=0)
    Channel.open("c").remove()


def test_types_and_conditions_work_in_a_shared_group(producer: Producer) -> None:
    with Consumer("c", shared=True) as one, Consumer("c", shared=True) as two:
        for k in range(8):
            producer.put(b"%d" % k, type=k % 4)
        assert one.get(type=2) == b"2"
        assert two.get(type={2, 3}) == b"3"
        assert two.get(where=lambda m: m.payload == b"5") == b"5"
        assert one.get(type="lowest") == b"0"
        with pytest.raises(ZeroDivisionError):
            one.get(where=lambda m: 1 // 0)
        assert [two.get(timeout=0), one.get(timeout=0)] == [b"1", b"4"]
        assert one.get_many(9) == [b"6", b"7"]
        for each in (one, two):
            with pytest.raises(Empty):
                each.get_nowait()
        assert producer.stats.backlog == 0


def test_latest_works_in_a_shared_group(producer: Producer) -> None:
    with Consumer("c", shared=True) as one, Consumer("c", shared=True) as two:
        producer.put_many([b"%d" % k for k in range(5)])
        held = one.message()
        assert two.latest() == b"4"
        assert held.payload == b"0"
        with pytest.raises(Empty):
            one.get_nowait()
        held.release()
        assert producer.stats.backlog == 1
        two.close()
        assert producer.stats.backlog == 0


def test_the_stream_ends_only_when_no_member_has_a_message() -> None:
    with Producer("c", capacity=4096) as producer:
        one, two = Consumer("c", shared=True), Consumer("c", shared=True)
        producer.put(b"a")
    held = one.message()
    with pytest.raises(Empty):
        two.get(timeout=0.1)
    held.release()
    for member in (one, two):
        with pytest.raises(EndOfStream):
            member.get(timeout=5)
        member.close()


def work(channel: str, results: str, crash: float, seed: int) -> None:
    """Handle messages, and kill this process at a random moment while it has some."""
    rng = random.Random(seed)
    try:
        consumer = Consumer(channel, shared=True, timeout=0)
    except ChannelNotFound:  # this successor started when everything was done
        return
    with consumer, Producer(results, capacity="1 MiB") as done:
        while True:
            try:
                message = consumer.message(timeout=30)
            except EndOfStream:
                return
            except ProducerDied:
                continue
            if rng.random() < crash:
                os.kill(os.getpid(), signal.SIGKILL)
            number = int(message.payload[0])
            done.put(b"%d %d %d" % (message.lane_id, number, message.redelivered))
            message.release()


def produce(channel: str, first: int, count: int) -> None:
    with Producer(channel, capacity="1 MiB", slots=64) as producer:
        for k in range(count):
            producer.put(np.full(20, first + k), timeout=30)


@pytest.mark.long  # tests/crash does the like in the short run
def test_members_killed_at_random_lose_nothing(start: Start) -> None:
    """Every message is handled at least once, and only messages marked as redelivered twice."""
    producers, count, members = 4, 1500, 6
    keeper = Producer("work", capacity=4096)
    member = Consumer("work", shared=True)  # takes no message; it keeps the group, which ends with its last member
    with Producer("results", capacity=4096) as own, Consumer("results") as results:
        workers = [start(work, "work", "results", 0.004, seed) for seed in range(members)]
        for k in range(producers):
            start(produce, "work", k * count, count)
        handled: Counter[int] = Counter()
        again: Counter[int] = Counter()
        seed = members
        deadline = time.monotonic() + 45
        while len(handled) < producers * count:
            assert time.monotonic() < deadline, f"{len(handled)} of {producers * count} handled"
            try:
                _, number, redelivered = results.get(timeout=0.2).split()
                handled[int(number)] += 1
                again[int(number)] += int(redelivered)
            except Empty:
                pass
            except ProducerDied:
                seed += 1
                workers.append(start(work, "work", "results", 0.004 if seed < 20 else 0.0, seed))
        keeper.close()
        member.close()
        own.close()
        for message in results_to_the_end(results):
            _, number, redelivered = message.split()
            handled[int(number)] += 1
            again[int(number)] += int(redelivered)
    for worker in workers:
        worker.join(20)
    assert sorted(handled) == list(range(producers * count))
    for number, times in handled.items():
        assert times == 1 or again[number] >= times - 1, number
    assert sum(worker.exitcode == -9 for worker in workers) >= 5


def results_to_the_end(results: Consumer) -> list[bytes]:
    got = []
    while True:
        try:
            got.append(results.get(timeout=20))
        except EndOfStream:
            return got
        except ProducerDied:
            continue


def test_sixty_four_members_share_the_work() -> None:
    with Producer("c", capacity=1 << 16, slots=256) as producer:
        members = [Consumer("c", shared=True) for _ in range(64)]
        producer.put_many([b"%d" % k for k in range(200)])
        held = [member.message(timeout=0) for member in members]
        assert sorted(int(message.payload) for message in held) == list(range(64))
        got = [int(members[k % 64].get(timeout=0)) for k in range(136)]
        assert sorted(got) == list(range(64, 200))
        held.clear()
        for member in members:
            member.close()
        assert producer.stats.backlog == 0


def test_acknowledged_messages_are_not_redelivered_when_their_member_leaves(producer: Producer) -> None:
    with Consumer("c", shared=True) as stays, Consumer("c", shared=True) as looks:
        leaves = Consumer("c", shared=True)
        producer.put_many([b"0", b"1"])
        asked = []

        def where(message: Message) -> bool:
            asked.append(message.payload)
            if len(asked) == 1:  # meanwhile another member takes it, acknowledges it, and leaves
                assert leaves.get() == b"0"
                leaves.close()
            return True

        assert looks.get(where=where) == b"1"
        with pytest.raises(Empty):
            stays.get(timeout=0)


def test_a_waiting_search_finds_a_requeued_message(producer: Producer) -> None:
    with Consumer("c", shared=True) as waits:
        leaves = Consumer("c", shared=True)
        producer.put(b"wanted", type=1)
        held = leaves.message()
        threading.Timer(0.2, lambda: leaves._end(exiting=True)).start()
        with waits.message(timeout=10, type=1) as message:
            assert (message.payload, message.redelivered) == (b"wanted", True)
        held.release()


@pytest.mark.parametrize("way", ["nothing", "refused"])
def test_a_put_that_publishes_nothing_wakes_nobody(way: str) -> None:
    def sleeps() -> int:
        with open(f"/proc/self/task/{waits.native_id}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches"))

    with Producer("c", capacity=4096, slots=1, overflow="drop-new") as producer:
        one, two = Consumer("c", shared=True), Consumer("c", shared=True, wait="block")
        assert producer.put(b"a")
        held = one.message()
        waits = threading.Thread(target=lambda: list(two))
        waits.start()
        time.sleep(0.1)
        before, began = sleeps(), time.monotonic()
        for _ in range(200):
            assert producer.put_many([]) == 0 if way == "nothing" else not producer.put(b"b")
            time.sleep(0.001)  # so that it can sleep again
        assert sleeps() - before < 50 + (time.monotonic() - began) / 0.05 * 3
        held.release()
        producer.close()
        waits.join()
        one.close()
        two.close()


@pytest.mark.parametrize("slots", [1, 2, 8])
def test_a_member_that_others_have_lapped_gets_the_next_message(slots: int) -> None:
    with (
        Producer("c", capacity=4096, slots=slots) as producer,
        Consumer("c", shared=True) as one,
        Consumer("c", shared=True) as other,
    ):
        number = 0
        for taken in range(3 * slots + 2):  # by one, before the other member gets again
            for consumer in [one] * taken + [other]:
                assert producer.put(b"%d" % number, timeout=0)
                with consumer.message(timeout=0) as message:
                    assert message.payload == b"%d" % number
                number += 1
            for consumer in one, other:
                with pytest.raises(Empty):
                    consumer.get_nowait()
