"""A server or a client is killed after any change that others see: see moments.py. The others go on."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from itertools import count, islice
from multiprocessing import Pipe
from typing import Any

import moments
import pytest
from conftest import MINUTES, AnyChannel, Start
from moments import Goal, Run, mark
from test_service import channels, serving

import ringipc
from ringipc import Client, Server


@contextmanager
def runs(start: Start, child: Callable[..., None], *arguments: Any) -> Iterator[Callable[[Goal | None], Run]]:
    """Return a function that runs a child to its goal and kills it there."""
    requests, other = Pipe()
    start(moments.serve, other, child, *arguments)
    other.close()
    if not requests.recv():
        pytest.skip("no process can be traced here")

    def run(goal: Goal | None) -> Run:
        requests.send(goal)
        result: Run = requests.recv()
        return result

    with requests:
        yield run


PARTS = [pytest.param(False, id="while-it-serves"), pytest.param(True, id="at-all", marks=pytest.mark.long)]


def answer(x: int) -> int:
    return x + 1_000_000


# ---- servers ----


def serves(service: AnyChannel) -> None:
    """Answer two requests, with `serve`."""
    handled = []

    def handler(x: int) -> int:
        mark()
        handled.append(x)
        if len(handled) == 2:
            server.close()
        return answer(x)

    with Server(service) as server:
        server.serve(handler)


def iterates(service: AnyChannel) -> None:
    """Answer two requests, in a loop."""
    with Server(service) as server:
        for _ in range(2):
            request = next(server)
            mark()
            request.reply(answer(request.payload))


def kill_at_each_moment(trial: Callable[[Goal | None], Run], at_all: bool) -> None:
    """Call trial(goal), which runs a child to its goal, for each moment between the marks, or at_all for every third.

    Which third changes from run to run. MINUTES=3 or more takes all.
    """
    run = trial(None)
    assert run.finished
    _, first, second = run.marks
    step = 3 if MINUTES < 3 else 1
    every = range(random.randrange(step), run.moments, step)
    goals = [Goal(0, n + 1) for n in every] if at_all else [Goal(1, n) for n in range(second - first + 1)]
    for goal in goals:
        trial(goal)


@pytest.mark.parametrize("at_all", PARTS)
@pytest.mark.parametrize("child", [serves, pytest.param(iterates, marks=pytest.mark.long)])
@pytest.mark.timeout(600)
def test_a_server_is_killed_and_another_one_answers_its_requests(
    any_channel: AnyChannel, start: Start, child: Callable[..., None], at_all: bool
) -> None:
    numbers = count()
    handled: Counter[int] = Counter()

    def handler(x: int) -> int:
        handled[x] += 1
        return answer(x)

    with (
        runs(start, child, any_channel) as run,
        Server(any_channel),  # it takes nothing, but the client always has a server
        Client(any_channel) as client,
    ):

        def trial(goal: Goal | None) -> Run:
            futures = {x: client.submit(x) for x in islice(numbers, 2)}
            end = run(goal)
            with serving(handler, any_channel):
                assert {x: future.result(20) for x, future in futures.items()} == {x: answer(x) for x in futures}
                x = next(numbers)
                assert client.call(x, timeout=20) == answer(x)
            assert all(handled[x] == 0 for x in futures if end.finished)
            assert max(handled.values()) == 1
            assert client._connection is not None
            assert client._connection.calls == {}
            return end

        kill_at_each_moment(trial, at_all)


@pytest.mark.long
@pytest.mark.parametrize("at_all", PARTS)
@pytest.mark.timeout(600)
def test_the_only_server_is_killed_and_the_caller_gets_a_reply_or_an_error_at_once(
    any_channel: AnyChannel, start: Start, base: str, at_all: bool
) -> None:
    with runs(start, serves, any_channel) as run, ThreadPoolExecutor(2) as pool:

        def outcome(client: Client, x: int) -> int | None:
            with suppress(ringipc.NoServer):
                reply: int = client.call(x)
                assert reply == answer(x)
                return reply
            return None

        def trial(goal: Goal | None) -> Run:
            with Client(any_channel) as client:
                calls = [pool.submit(outcome, client, x) for x in range(2)]
                end = run(goal)
                had_server = client._had_server
                if had_server:
                    wait_for(calls, 5)
                    assert all(call.done() for call in calls)
                with serving(answer, any_channel):
                    outcomes = [call.result(20) for call in calls]
                    assert None not in outcomes or not end.finished
                    client.wait_for_server(20)
                    assert client.call(7, timeout=20) == answer(7)
            return end

        kill_at_each_moment(trial, at_all)
    assert channels(base) == []


# ---- clients ----


def calls(service: AnyChannel) -> None:
    with Client(service) as client:
        assert client.call(1, timeout=20) == answer(1)
        mark()
        assert client.call(2, timeout=20) == answer(2)
        mark()


@pytest.mark.parametrize("at_all", PARTS)
@pytest.mark.timeout(600)
def test_a_client_is_killed_and_leaves_nothing_behind(
    any_channel: AnyChannel, start: Start, base: str, at_all: bool
) -> None:
    handled: Counter[int] = Counter()

    def handler(x: int) -> int:
        handled[x] += 1
        return answer(x)

    with (
        runs(start, calls, any_channel) as run,
        serving(handler, any_channel) as server,
        Client(any_channel) as client,
    ):
        assert client.call(0, timeout=20) == answer(0)
        files = sorted(channels(base))

        def trial(goal: Goal | None) -> Run:
            handled.clear()
            end = run(goal)
            assert client.call(3, timeout=20) == answer(3)
            deadline = time.monotonic() + 20
            while len(server._callers.by_lane) > 1 or sorted(channels(base)) != files:
                assert time.monotonic() < deadline, channels(base)
                server._callers.sweep(at_once=True)
            assert client.call(4, timeout=20) == answer(4)
            assert max(handled.values()) == 1
            assert handled[1] == handled[2] == 1 or not end.finished
            return end

        kill_at_each_moment(trial, at_all)
    assert channels(base) == []


# ---- a service that nobody else uses ----


def opens_and_closes(kind: type[Server] | type[Client]) -> None:
    with kind("s") as end:
        mark()
        if isinstance(end, Client):
            with suppress(ringipc.TimedOut):
                end.call(1, timeout=0)
        mark()


@pytest.mark.long
@pytest.mark.parametrize("kind", [Server, Client])
@pytest.mark.timeout(600)
def test_the_only_one_of_a_service_is_killed_and_the_next_one_removes_all(
    start: Start, base: str, kind: type[Server] | type[Client]
) -> None:
    with runs(start, opens_and_closes, kind) as run:

        def trial(goal: Goal | None) -> Run:
            end = run(goal)
            with serving(answer), Client("s") as client:
                assert client.call(1, timeout=20) == answer(1)
            assert channels(base) == []
            run(goal)
            ringipc.Producer("s").close()  # the name is free
            ringipc.Channel.open("s").remove()
            with Server("s"):
                pass
            assert channels(base) == []
            return end

        kill_at_each_moment(trial, at_all=True)
