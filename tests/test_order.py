"""Consumers with order="time": across producers too, what was put before comes before."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest
from conftest import DIE, AnyChannel, Start, directory_of, rest

from ringipc import Channel, Consumer, Empty, EndOfStream, Producer, ProducerDied, wait

# ---- causes and effects ----


def put_some(channel: AnyChannel, worker: int, count: int) -> None:
    with Producer(channel, capacity="64 KiB") as producer:
        for k in range(count):
            producer.put((worker, k), timeout=20)


def until_none(consumer: Consumer) -> Counter[int]:
    """Get messages up to None, and return how many there were of each worker. Each worker's are in order."""
    seen: Counter[int] = Counter()
    while (message := consumer.get(timeout=20)) is not None:
        worker, k = message
        assert k == seen[worker]
        seen[worker] += 1
    return seen


def test_what_joined_workers_have_put_comes_before_the_none_of_their_parent(
    any_channel: AnyChannel, start: Start
) -> None:
    with (
        Producer(any_channel, capacity="64 KiB") as own,
        Consumer(any_channel, order="time", producers=None) as consumer,
    ):
        workers = [start(put_some, any_channel, k, 502) for k in range(4)]

        def end() -> None:
            for worker in workers:
                worker.join()
            own.put_many([(4, 0), (4, 1), None])

        thread = threading.Thread(target=end)
        thread.start()
        assert until_none(consumer) == {0: 502, 1: 502, 2: 502, 3: 502, 4: 2}
        thread.join()


def fork_and_put(channel: Channel, worker: int) -> int:
    """Put three messages in a forked process, which ends at once. Return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            put_some(channel, worker, 3)
        finally:
            os._exit(0)
    return pid


@pytest.mark.parametrize("shared", [False, True])
def test_none_is_the_last_one_thirty_times(shared: bool) -> None:
    """The consumer reads while the workers put and end, so that it is at another point each time."""
    for run in range(30):
        with Channel.anonymous() as channel, Producer(channel, capacity="64 KiB") as own:
            with Consumer(channel, order="time", producers=None, shared=shared) as consumer:
                pids = [fork_and_put(channel, worker) for worker in range(4)]
                got = []
                for pid in pids:
                    os.waitpid(pid, 0)
                    got += consumer.get_many(run % 3 + 1, timeout=5)
                own.put(None)
                seen = Counter(worker for worker, _ in got)
                while (message := consumer.get(timeout=5)) is not None:
                    seen[message[0]] += 1
                assert seen == dict.fromkeys(range(4), 3)


def pass_tokens(channel: AnyChannel, seed: int, own: Connection, others: list[Connection], last: int) -> None:
    """Put each token that comes through a pipe, and pass it on with the next number, to one of several processes."""
    rng = random.Random(seed)
    with Producer(channel, capacity="64 KiB") as producer:
        while (token := own.recv()) is not None:
            name, number = token
            producer.put(token, timeout=20)
            if number == last:
                others[0].send((name, -1))  # to the parent
            else:
                rng.choice(others[1:]).send((name, number + 1))


def watch_tokens(channel: AnyChannel, group: str, tokens: int, last: int) -> None:
    """Check that the messages of each token come in the order in which they were put, each by another process."""
    following: Counter[str] = Counter()
    with Consumer(channel, group=group, order="time", producers=None, timeout=20) as consumer:
        while (message := consumer.get(timeout=20)) is not None:
            name, number = message
            assert number == following[name]
            following[name] += 1
    assert list(following.values()) == [last + 1] * tokens


def test_every_consumer_gets_causes_before_effects_whichever_way_they_are_connected(
    any_channel: AnyChannel, start: Start
) -> None:
    """Tokens go through pipes from process to process at random; each puts a message for each token."""
    workers, tokens, last = 3, 5, 150
    pipes = [Pipe(duplex=False) for _ in range(workers + 1)]
    ends = [end for _, end in pipes]
    with Producer(any_channel, capacity="64 KiB", groups=["a", "b", "shared"]) as own:
        start(watch_tokens, any_channel, "a", tokens, last)
        start(watch_tokens, any_channel, "b", tokens, last)
        for k in range(workers):
            start(pass_tokens, any_channel, k, pipes[k + 1][0], ends, last)
        members = [Consumer(any_channel, group="shared", shared=True, order="time", producers=None) for _ in range(2)]
        for k in range(tokens):
            ends[1 + k % workers].send((f"token {k}", 0))
        following: Counter[str] = Counter()
        rng = random.Random(5)
        finished, got = 0, 0
        while finished < tokens or got < tokens * (last + 1):
            if pipes[0][0].poll():
                pipes[0][0].recv()
                finished += 1
            member = rng.choice(members)  # one after the other, so the group takes them in this order
            for name, number in member.get_many(rng.randrange(1, 4), timeout=5) if wait([member], 5) else []:
                assert number == following[name]
                following[name] += 1
                got += 1
        for k in range(workers):
            ends[k + 1].send(None)
        own.put(None)
        assert members[0].get(timeout=5) is None
        for member in members:
            member.close()
    for reader, writer in pipes:
        reader.close()
        writer.close()


class PutsFirst:
    """Its pickling puts another message, so this comes before the message that it is in."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer

    def __reduce__(self) -> tuple[type, tuple[str]]:
        self.producer.put("cause")
        return str, ("effect",)


def test_a_message_is_as_old_as_the_end_of_its_pickling() -> None:
    with Channel.anonymous() as channel, Producer(channel, capacity="64 KiB", pickle=True) as first:
        with Producer(channel, capacity="64 KiB", pickle=True) as second:
            with Consumer(channel, order="time", pickle=True) as consumer:
                first.put(PutsFirst(second))
                assert consumer.get_many(2) == ["cause", "effect"]
                first.put_many([PutsFirst(second), PutsFirst(second)])
                assert sorted(consumer.get_many(9)) == ["cause", "cause", "effect", "effect"]


# ---- calls ----


@pytest.fixture(params=[{}, {"shared": True}, {"durable": True}, {"overflow": "drop-old"}], ids=str)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


def producers_of(channel: AnyChannel, count: int = 3) -> list[Producer]:
    return [Producer(channel, capacity="64 KiB", slots=256) for _ in range(count)]


def put_numbers(producers: list[Producer], count: int, rng: random.Random) -> None:
    for k in range(count):
        rng.choice(producers).put(b"%d" % k, type=k % 3)


def numbers(messages: list[bytes]) -> list[int]:
    return [int(message) for message in messages]


def test_every_call_that_gets_keeps_the_order_of_time(options: dict[str, Any]) -> None:
    rng = random.Random(3)
    with Channel.anonymous() as channel:
        producers = producers_of(channel)
        with Consumer(channel, order="time", **options) as consumer:
            for _ in range(3):
                put_numbers(producers, 100, rng)
                assert numbers([consumer.get(type=1) for _ in range(33)]) == list(range(1, 99, 3))
                assert (
                    numbers([consumer.get(where=lambda m: int(m.payload) % 2) for _ in range(20)])
                    == [k for k in range(100) if k % 2 and k % 3 != 1][:20]
                )
                assert int(consumer.get(type="lowest")) == 0
                left = [k for k in range(1, 100) if k % 3 != 1 and (k % 2 == 0 or k > 59)]
                assert numbers([consumer.get() for _ in range(5)]) == left[:5]
                assert numbers(consumer.get_many(7)) == left[5:12]
                with consumer.message() as message:
                    assert int(message.payload) == left[12]
                assert int(consumer.latest()) == 99
                with pytest.raises(Empty):
                    consumer.get_nowait()
                assert consumer.stats.missed == 0
            for producer in producers:
                producer.close()
            with pytest.raises(EndOfStream):
                consumer.get()


def test_views_are_kept_and_released_in_any_order(options: dict[str, Any]) -> None:
    import numpy as np

    rng = random.Random(4)
    with Channel.anonymous() as channel:
        producers = producers_of(channel)
        with Consumer(channel, order="time", **options) as consumer:
            for k in range(40):
                rng.choice(producers).put(np.full(200, k))
            views = [consumer.get() for _ in range(40)]
            rng.shuffle(views)
            assert sorted(int(view[0]) for view in views) == list(range(40))
            while views:
                assert (views[-1] == views[-1][0]).all()
                views.pop()
            consumer.close()
        for producer in producers:
            producer.close()


def test_a_message_that_is_given_back_is_the_next_one_to_get(options: dict[str, Any]) -> None:
    with Channel.anonymous() as channel:
        producers = producers_of(channel)
        with Consumer(channel, order="time", **options) as consumer:
            for k in range(9):
                producers[k % 3].put(b"%d" % k)
            assert consumer.get() == b"0"
            with pytest.raises(ValueError, match="was not taken"):
                consumer.get_into(bytearray(0))
            assert numbers(consumer.get_many(20)) == list(range(1, 9))
        for producer in producers:
            producer.close()


def test_members_that_compete_take_the_oldest_message(any_channel: AnyChannel) -> None:
    rng = random.Random(6)
    producers = producers_of(any_channel)
    with Consumer(any_channel, shared=True, order="time") as a, Consumer(any_channel, shared=True, order="time") as b:
        put_numbers(producers, 200, rng)
        assert [int(rng.choice([a, b]).get()) for _ in range(200)] == list(range(200))
    for producer in producers:
        producer.close()


def test_a_lossy_group_loses_the_oldest_of_each_lane_and_keeps_the_order(any_channel: AnyChannel) -> None:
    producers = producers_of(any_channel, 2)
    with Consumer(any_channel, order="time", overflow="drop-old") as consumer:
        for k in range(2000):
            producers[k % 7 == 0].put(b"%d" % k)
        got = rest(consumer)
        assert got == sorted(got)
        assert len(got) + consumer.stats.missed == 2000
    for producer in producers:
        producer.close()


def test_the_order_is_checked() -> None:
    with pytest.raises(ValueError, match='order must be "lane" or "time"'):
        Consumer("c", order="seq", timeout=0)  # type: ignore[arg-type]


# ---- backlogs ----


@pytest.mark.parametrize("seed", range(6))
def test_whatever_waits_comes_in_the_order_in_which_it_was_put(options: dict[str, Any], seed: int) -> None:
    """One process puts all, so each message may be the cause of all later ones, in whichever lane these are."""
    rng = random.Random(seed)
    with Channel.anonymous() as channel:
        producers = [*producers_of(channel), *(Producer(channel, lane="shared", slots=256) for _ in range(2))]
        with Consumer(channel, order="time", **options) as consumer:
            put = 0
            waiting: list[int] = []

            def take(got: list[int]) -> None:
                assert got == waiting[: len(got)]
                del waiting[: len(got)]

            for _ in range(800):
                # bursts of about the number of messages after which the lanes are scanned again, and single causes
                count = rng.choice([1, 1, 1, 2, 3, 15, 16, 17, 18, 40])
                if len(waiting) + count < 200:
                    producer = rng.choice(producers)
                    for _ in range(count):
                        producer.put(b"%d" % put, type=put % 3)
                        waiting.append(put)
                        put += 1
                for _ in range(rng.choice([0, 1, 1, 2, 5, 12, 30])):
                    if not waiting:
                        break
                    how = rng.randrange(12)
                    if how == 0:
                        take(numbers(consumer.get_many(rng.randrange(1, 20), timeout=0)))
                    elif how == 1:
                        kind = rng.choice(waiting) % 3
                        oldest = next(k for k in waiting if k % 3 == kind)
                        assert int(consumer.get(type=kind, timeout=0)) == oldest
                        waiting.remove(oldest)
                    else:
                        take([int(consumer.get_nowait())])
            while waiting:
                take(numbers(consumer.get_many(7, timeout=0)))
        for producer in producers:
            producer.close()


# ---- new lanes, deaths ----


def test_nothing_is_got_while_a_new_lane_cannot_be_read_because_the_table_is_locked(base: str) -> None:
    import fcntl
    import struct

    def lock(kind: int) -> None:
        fcntl.fcntl(table, fcntl.F_OFD_SETLKW, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 1, 0))

    with Producer("c", capacity="64 KiB") as known, Consumer("c", order="time", producers=None) as consumer:
        known.put(b"0")
        assert consumer.get() == b"0"
        with Producer("c", capacity="64 KiB") as new:
            new.put(b"1")
            known.put(b"2")
            table = os.open(directory_of(base) / "control", os.O_RDWR)
            lock(fcntl.F_WRLCK)
            with pytest.raises(Empty):
                consumer.get_nowait()
            cpu = time.process_time()
            with pytest.raises(Empty):
                consumer.get(timeout=0.3)
            assert wait([consumer], 0.2) == []
            assert time.process_time() - cpu < 0.25  # a wait that spins would take 0.5 s
            lock(fcntl.F_UNLCK)
            os.close(table)
            assert [consumer.get(timeout=5), consumer.get(timeout=5)] == [b"1", b"2"]


def test_a_death_is_reported_after_what_was_put_before(base: str) -> None:
    with Producer("c", capacity="64 KiB") as own, Consumer("c", order="time", producers=None) as consumer:
        process = subprocess.run([sys.executable, "-c", DIE], check=False)
        assert process.returncode == -signal.SIGKILL
        own.put_many([b"1", b"2"])
        assert consumer.get(timeout=5) == b"1"
        assert consumer.get(timeout=5) == b"2"
        with pytest.raises(ProducerDied):
            consumer.get(timeout=5)


# ---- over connections ----


def test_several_producers_behind_one_connection_come_in_the_order_of_time(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RINGIPC_RING", "0")
    url = f"unix://{base}/socket"
    with Producer("c", capacity="64 KiB", fallback=url) as first, Producer("c", capacity="64 KiB") as second:
        with Consumer(url, order="time", producers=None, timeout=20) as consumer:
            assert consumer.stats.transport == "unix"
            for k in range(50):
                (first if k % 3 else second).put(b"%d" % k)
            assert [int(consumer.get(timeout=5)) for _ in range(50)] == list(range(50))
