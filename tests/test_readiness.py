"""A pollfd is readable if and only if there is something to get: whoever waits for it finds something."""

import asyncio
import multiprocessing.connection
import os
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe

import moments
import pytest
from conftest import DIE, AnyChannel, Start, is_readable
from moments import Goal, Run, mark

import ringipc
from ringipc import Consumer, Empty, EndOfStream, Producer, ProducerDied

SOON = 1.6  # seconds until a death is noticed: the check of the descriptor, and the interval between checks for deaths


def put_and_close(channel: AnyChannel, count: int) -> None:
    with Producer(channel, capacity="64 KiB", slots=16) as producer:
        for k in range(count):
            producer.put(b"%d" % k, timeout=20)


# ---- not readable for nothing ----


def test_an_idle_pollfd_is_not_readable(any_channel: AnyChannel) -> None:
    """For two seconds, in which producers come and go."""
    with Producer(any_channel, capacity=4096) as producer:
        with Consumer(any_channel, producers=None) as forever, Consumer(any_channel, group="end", producers=2) as both:
            poller = select.poll()
            poller.register(forever.fileno(), select.POLLIN)
            poller.register(both.fileno(), select.POLLIN)
            end = time.monotonic() + 2
            while time.monotonic() < end:
                assert poller.poll(150) == []
                with Producer(any_channel, capacity=4096):
                    assert poller.poll(50) == []
            producer.put(b"x")
            assert len(poller.poll(5000)) == 2
            assert forever.get_nowait() == both.get_nowait() == b"x"
            assert poller.poll(0) == []


def test_an_end_makes_a_pollfd_readable_for_those_for_whom_it_is_the_end(any_channel: AnyChannel) -> None:
    first = Producer(any_channel, capacity=4096)
    with (
        Consumer(any_channel) as one,
        Consumer(any_channel, group="two", producers=2) as two,
        Consumer(any_channel, group="none", producers=None) as none,
    ):
        consumers = [one, two, none]
        assert [is_readable(consumer) for consumer in consumers] == [False, False, False]
        first.close()
        assert [is_readable(consumer) for consumer in consumers] == [True, False, False]
        with Producer(any_channel, capacity=4096) as second:
            second.put(b"x")
            assert [consumer.get_nowait() for consumer in consumers] == [b"x"] * 3
        assert [is_readable(consumer) for consumer in consumers] == [True, True, False]
        for consumer in one, two:
            with pytest.raises(EndOfStream):
                consumer.get_nowait()


def test_a_death_that_is_skipped_does_not_make_a_pollfd_readable(start: Start) -> None:
    with Producer("c", capacity=4096) as producer, Consumer("c", deaths="skip") as consumer:
        fd = consumer.fileno()
        assert subprocess.run([sys.executable, "-c", DIE], check=False).returncode == -signal.SIGKILL
        assert select.select([fd], [], [], SOON)[0] == []
        with pytest.raises(Empty):
            consumer.get_nowait()
        assert consumer.stats.deaths == 1
        producer.put(b"x")
        assert consumer.get_nowait() == b"x"


def test_an_event_loop_calls_a_reader_once_for_each_message(producer: Producer, consumer: Consumer) -> None:
    got: list[bytes] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(consumer.fileno(), lambda: got.append(consumer.get_nowait()))
        for k in range(5):
            await asyncio.sleep(0.3)
            assert len(got) == k
            producer.put(b"%d" % k)
        await asyncio.sleep(0.05)
        loop.remove_reader(consumer.fileno())

    asyncio.run(main())
    assert got == [b"0", b"1", b"2", b"3", b"4"]


Waiter = Callable[[list[Consumer]], list[Consumer]]


def wait_by_selector(consumers: list[Consumer]) -> list[Consumer]:
    with selectors.DefaultSelector() as selector:
        for consumer in consumers:
            selector.register(consumer, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(20)]  # type: ignore[misc]


def wait_by_multiprocessing(consumers: list[Consumer]) -> list[Consumer]:
    return multiprocessing.connection.wait(consumers, 20)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("wait", [wait_by_multiprocessing, wait_by_selector])
def test_what_is_ready_has_something_to_get(wait: Waiter, start: Start) -> None:
    """Four producers put, come and go; each descriptor that is ready has a message or the end."""
    names = ["a", "b"]
    keepers = [Producer(name, capacity=4096) for name in names]
    consumers = [Consumer(name, producers=3) for name in names]
    for name in names * 2:
        start(put_and_close, name, 250)
    for keeper in keepers:
        keeper.close()
    got, waiting = 0, list(consumers)
    while waiting:
        ready = wait(waiting)
        assert ready, "not woken"
        for consumer in ready:
            try:
                consumer.get(timeout=0)
                got += 1
            except EndOfStream:
                waiting.remove(consumer)
    assert got == 4 * 250
    for consumer in consumers:
        consumer.close()


# ---- deaths ----


def test_a_death_is_noticed_soon_by_those_who_only_wait_for_the_pollfd(any_channel: AnyChannel, start: Start) -> None:
    with Producer(any_channel, capacity=4096), Consumer(any_channel) as consumer:
        fd = consumer.fileno()
        code = "import ringipc, os; p = ringipc.Producer('c', capacity=4096); os.kill(os.getpid(), 9)"
        if not isinstance(any_channel, str):
            code = f"import ringipc, os; p = ringipc.Producer(ringipc.Channel.from_fd({any_channel.fileno()}), "
            code += "capacity=4096); os.kill(os.getpid(), 9)"
        fds = [] if isinstance(any_channel, str) else [any_channel.fileno()]
        subprocess.run([sys.executable, "-c", code], check=False, pass_fds=fds)
        assert select.select([fd], [], [], SOON)[0] == [fd]
        with pytest.raises(ProducerDied):
            consumer.get_nowait()
        assert select.select([fd], [], [], 0)[0] == []


def puts_one(channel: AnyChannel) -> None:
    with Producer(channel, capacity=4096) as producer:
        mark()
        producer.put(b"x")
        mark()


@pytest.mark.long
def test_a_message_whose_producer_is_killed_before_it_wakes_is_found(start: Start) -> None:
    """The producer is killed at every moment of a put: whatever was published, and the death, makes it readable."""
    requests, other = Pipe()
    start(moments.serve, other, puts_one, "c")
    other.close()
    if not requests.recv():
        pytest.skip("no process can be traced here")

    def run(goal: Goal | None) -> Run:
        requests.send(goal)
        result: Run = requests.recv()
        return result

    with Producer("c", capacity=4096), requests:
        with Consumer("c", producers=None) as consumer:
            consumer.fileno()
            whole = run(None)
            assert consumer.get(timeout=5) == b"x"
            found = 0
            for k in range(whole.marks[2] - whole.marks[1] + 1):
                with pytest.raises(Empty):
                    consumer.get_nowait()
                run(Goal(1, k))
                before = time.monotonic()
                while True:
                    assert is_readable(consumer.fileno(), SOON), k
                    try:
                        assert consumer.get_nowait() == b"x"
                        found += 1
                    except ProducerDied:
                        break
                assert time.monotonic() - before < 2 * SOON
            assert found > 1  # it was killed before and after the publication


# ---- the thread ----


def upkeep_threads() -> int:
    return sum(thread.name == "ringipc pollfds" for thread in threading.enumerate())


def test_the_thread_that_updates_pollfds_ends_with_the_last_of_them() -> None:
    before = upkeep_threads()
    with Producer("c", capacity=4096) as producer, Consumer("c") as consumer:
        assert upkeep_threads() == before
        producer.fileno()
        consumer.fileno()
        assert upkeep_threads() == before + 1
    end = time.monotonic() + 5
    while upkeep_threads() != before:
        assert time.monotonic() < end
        time.sleep(0.01)


def forked(channel: ringipc.Channel) -> None:
    with Producer(channel, capacity=4096), Consumer(channel, group="child") as consumer:
        fd = consumer.fileno()
        assert upkeep_threads() == 1
        pid = os.fork()
        if pid == 0:
            with Producer(channel, capacity=4096):
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        assert select.select([fd], [], [], SOON)[0] == [fd]


@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_has_a_thread_of_its_own(start: Start) -> None:
    with ringipc.Channel.anonymous() as channel, Producer(channel, capacity=4096), Consumer(channel) as consumer:
        consumer.fileno()
        start(forked, channel, method="fork").join(20)
