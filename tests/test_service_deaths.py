"""Request and reply when clients and servers are killed."""

import os
import random
import signal
import threading
import time
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from conftest import MINUTES, AnyChannel, Start
from test_service import channels, serve_all, serving

import ringipc
from ringipc import Client, Server


def kill(process: Any) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)


def die_with_a_request(service: AnyChannel) -> None:
    """Take one request, and die while it is handled."""
    with Server(service) as server:
        next(server)
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_requests_of_a_killed_server_go_to_another(any_channel: AnyChannel, start: Start) -> None:
    killed = start(die_with_a_request, any_channel)
    with Client(any_channel) as client:
        future: Future[Any] = client.submit(np.arange(5))
        killed.join(20)
        with Server(any_channel) as server:
            request = next(server)
            request.reply(request.payload.sum())
            assert future.result(5) == 10


def test_the_requests_of_a_killed_server_go_to_one_that_waits(start: Start) -> None:
    with Server("s") as server, Client("s") as client:
        killed = start(die_with_a_request, "s")
        while len(ringipc.Channel.open("s.requests").groups[0].pids) < 2:
            time.sleep(0.01)
        futures = [client.submit(k) for k in range(2)]
        killed.join(20)
        payloads, deliveries = set(), 0
        for _ in range(2):
            request = next(server)
            payloads.add(request.payload)
            deliveries += request.deliveries
            request.reply(request.payload)
        assert (payloads, deliveries) == ({0, 1}, 3)
        assert [future.result(5) for future in futures] == [0, 1]


def test_if_the_only_server_is_killed_the_caller_gets_an_error_at_once(any_channel: AnyChannel, start: Start) -> None:
    killed = start(die_with_a_request, any_channel)
    with Client(any_channel) as client:
        with pytest.raises(ringipc.NoServer, match="no server is left"):
            client.call("deadly")
        killed.join(20)
        before = time.monotonic()
        with pytest.raises(ringipc.NoServer):
            client.call("too late", timeout=30)
        assert time.monotonic() - before < 2
        # the next server does not get what nobody waits for any more
        with serving(lambda x: x, any_channel):
            client.wait_for_server(5)
            assert client.call("alive") == "alive"


def test_a_deadly_request_is_not_given_to_server_after_server(start: Start) -> None:
    with Server("s", max_deliveries=2) as server, Client("s") as client:
        future = client.submit("deadly")  # the server here takes none yet
        for _ in range(2):
            start(die_with_a_request, "s").join(20)
        thread = threading.Thread(target=server.serve, args=[lambda x: x])
        thread.start()
        with pytest.raises(ringipc.ServerDied, match="have died with this request"):
            future.result(5)
        assert client.call("harmless", timeout=5) == "harmless"
        server.close()
        thread.join()


def call_and_die(service: AnyChannel, frame: Any) -> None:
    client = Client(service)
    client.call(frame, timeout=20)
    client.submit(frame)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_client_leaves_nothing_behind(any_channel: AnyChannel, start: Start, base: str) -> None:
    with serving(lambda x: x, any_channel) as server, Client(any_channel) as client:
        assert client.call(0, timeout=20) == 0
        for _ in range(2):
            start(call_and_die, any_channel, np.zeros(1000)).join(20)
        deadline = time.monotonic() + 10
        while len(server._callers.by_lane) > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(server._callers.by_lane) == 1
        assert client.call(1) == 1
    assert channels(base) == []


def connect_and_die() -> None:
    client = Client("s")
    client._connect()
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_client_left_that_no_server_knew_is_removed_by_the_next_server(start: Start, base: str) -> None:
    start(connect_and_die).join(20)
    assert len(channels(base)) == 2
    with Server("s"):
        assert channels(base) == ["s.requests"]
    assert channels(base) == []


def submit_and_stop(service: AnyChannel) -> None:
    client = Client(service)
    for _ in range(64):
        client.submit(bytes(4096))
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_client_that_does_not_read_holds_up_no_other_client(start: Start) -> None:
    def handler(x: Any) -> Any:
        return bytes(60_000) if isinstance(x, bytes) else x

    with serving(handler, capacity="64 KiB", threads=3) as server, Client("s") as client:
        stopped = start(submit_and_stop, "s")
        while not server._callers.by_lane:
            time.sleep(0.01)
        for k in range(3):
            assert client.call(k, timeout=20) == k
        kill(stopped)
        assert client.call(4, timeout=20) == 4


@pytest.mark.parametrize("seconds", [2, pytest.param(60 * MINUTES, marks=[pytest.mark.long, pytest.mark.timeout(0)])])
def test_clients_and_servers_are_killed_at_random(start: Start, base: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    with serving(lambda x: x, threads=2), Client("s") as client:  # these live on, and no call of theirs may fail
        processes = [start(serve_all), start(call_for_ever), start(call_for_ever)]
        while time.monotonic() < end:
            k = random.randrange(3)
            time.sleep(random.random() * 0.4)
            kill(processes[k])
            processes[k] = start(serve_all if k == 0 else call_for_ever)
            for n in range(20):
                assert client.call(n, timeout=20) == n
            futures = [client.submit(np.full(100, n)) for n in range(20)]
            assert [future.result(20)[0] for future in futures] == list(range(20))
        for process in processes:
            kill(process)
        assert client.call("x", timeout=20) == "x"
    with Server("s"):
        pass
    assert channels(base) == []


def call_for_ever() -> None:
    random.seed()
    with Client("s", slots=16, capacity="1 MiB") as client:
        while True:
            try:
                for n in range(10):
                    assert client.call(n, timeout=20) == n
                sums = client.map((np.full(1000, n) for n in range(20)), timeout=20, buffersize=8)
                assert [int(array[0]) for array in sums] == list(range(20))
            except ringipc.NoServer:
                client.wait_for_server()
