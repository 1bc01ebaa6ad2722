"""Request and reply: clients call servers, in one process and in several."""

import asyncio
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import AnyChannel, Start, called_deep

import ringipc
from ringipc import Client, Server


@contextmanager
def serving(
    handler: Callable[[Any], object], service: AnyChannel = "s", threads: int = 1, **options: Any
) -> Iterator[Server]:
    with Server(service, **options) as server:
        thread = threading.Thread(target=server.serve, args=[handler], kwargs={"threads": threads})
        thread.start()
        try:
            yield server
        finally:
            server.close()
            thread.join()


def same(x: Any) -> Any:
    return x


def channels(base: str) -> list[str]:
    return [name for _, names, _ in os.walk(base) for name in names if not name.startswith("ringipc-")]


def serve_in_process(service: AnyChannel) -> None:
    with Server(service) as server:
        for request in server:
            if request.payload == "stop":
                request.reply()
                break
            request.reply((os.getpid(), request.payload))


def test_a_call_returns_what_the_server_in_another_process_replies(any_channel: AnyChannel, start: Start) -> None:
    start(serve_in_process, any_channel)
    with Client(any_channel) as client:
        for x in (1, "text", {"a": [1, 2.5, None]}, b"bytes"):
            pid, y = client.call(x, timeout=20)
            assert (pid != os.getpid(), y) == (True, x)
        client.call("stop", timeout=20)


def call_in_process(service: AnyChannel) -> None:
    with Client(service) as client:
        assert client.call(3, timeout=20) == 9


def test_a_client_may_start_before_the_server(any_channel: AnyChannel, start: Start) -> None:
    process = start(call_in_process, any_channel)
    time.sleep(0.3)
    with serving(lambda x: x * x, any_channel):
        process.join(20)
    assert process.exitcode == 0


@pytest.mark.parametrize("is_left", [True, False], ids=["it is left", "it has gone"])
def test_a_call_uses_the_first_server_that_another_thread_has_found(
    monkeypatch: pytest.MonkeyPatch, is_left: bool
) -> None:
    find = Client._find_server

    def find_and_be_overtaken(client: Client) -> bool:
        monkeypatch.setattr(Client, "_find_server", find)
        found = find(client)
        assert not found
        servers.enter_context(serving(same))
        client.wait_for_server(20)
        if not is_left:
            servers.close()
        return found

    with ExitStack() as servers, Client("s") as client:
        monkeypatch.setattr(Client, "_find_server", find_and_be_overtaken)
        if is_left:
            assert client.call(1, timeout=20) == 1
        else:
            with pytest.raises(ringipc.NoServer):
                client.call(1, timeout=20)


def test_requests_are_answered_by_a_plain_loop() -> None:
    with Server("s") as server, Client("s") as client:
        future = client.submit(np.arange(3))
        for request in server:
            request.reply(request.payload.sum())
            break
        assert future.result(5) == 3


def test_arrays_and_records_come_out_as_they_went_in() -> None:
    with serving(same), Client("s") as client:
        frame = np.arange(12, dtype="f4").reshape(3, 4)
        reply = client.call({"frame": frame, "tags": ("a", 1)})
        assert np.array_equal(reply["frame"], frame)
        assert reply["tags"] == ("a", 1)
        reply["frame"][:] = 0  # its own memory


def test_a_view_is_received_without_a_copy_if_asked_for() -> None:
    seen = []

    def handler(frame: Any) -> Any:
        seen.append((frame.flags.owndata, frame.flags.writeable))
        return frame

    with serving(handler), Client("s", copy=False) as client:
        reply = client.call(np.zeros(1000))
        assert (reply.flags.owndata, reply.flags.writeable) == (False, False)
        assert seen == [(False, False)]
        del reply


def test_replies_that_are_kept_do_not_stop_the_service() -> None:
    with serving(same, capacity="64 KiB", slots=4), Client("s", capacity="64 KiB", slots=4) as client:
        kept = [client.call(np.full(1000, k)) for k in range(50)]
    assert [array[0] for array in kept] == list(range(50))


def test_futures_are_answered_in_any_order() -> None:
    with Server("s") as server, Client("s") as client:
        futures = [client.submit(k) for k in range(3)]
        requests = [next(server) for _ in range(3)]
        for request in reversed(requests):
            request.reply(request.payload + 100)
        assert [future.result(5) for future in futures] == [100, 101, 102]


def test_map_yields_replies_in_the_order_of_the_requests() -> None:
    with serving(same, threads=3), Client("s") as client:
        assert list(client.map(range(300))) == list(range(300))
        assert list(client.map(iter([1, 2]), buffersize=1)) == [1, 2]
        with pytest.raises(TypeError):
            client.map([1], buffersize=True)


def test_threads_share_a_client() -> None:
    with serving(same, threads=2), Client("s") as client, ThreadPoolExecutor(6) as pool:

        def calls(k: int) -> list[int]:
            return [client.call(1000 * k + n, timeout=20) for n in range(100)]

        got = list(pool.map(calls, range(6)))
    assert got == [[1000 * k + n for n in range(100)] for k in range(6)]


def test_calls_and_futures_of_one_client_mix() -> None:
    with serving(same), Client("s") as client:
        futures = [client.submit(k) for k in range(200)]
        calls = [client.call(-k) for k in range(200)]
        assert [future.result(5) for future in futures] == list(range(200))
        assert calls == [-k for k in range(200)]


def test_tasks_call_and_serve() -> None:
    async def handler(x: int) -> int:
        await asyncio.sleep(0.001)
        if x < 0:
            raise ValueError("negative")
        return 2 * x

    async def main() -> None:
        with Server("s") as server:
            serving = asyncio.create_task(server.aserve(handler, tasks=3))
            async with Client("s") as client:
                assert await asyncio.gather(*[client.acall(k) for k in range(20)]) == list(range(0, 40, 2))
                with pytest.raises(ringipc.RemoteError, match="ValueError: negative"):
                    await client.acall(-1)
            server.close()
            await serving

    asyncio.run(main())


def test_requests_are_shared_among_servers() -> None:
    with Server("s") as one, Server("s") as other, Client("s") as client:
        futures = [client.submit(k) for k in range(4)]
        for server in one, other, other, one:
            request = next(server)
            request.reply((server is one, request.payload))
        assert [future.result(5) for future in futures] == [(True, 0), (False, 1), (False, 2), (True, 3)]


def fail(x: Any) -> Any:
    raise KeyError("no such thing")


def test_an_exception_of_the_handler_is_raised_in_the_caller_with_its_remote_traceback() -> None:
    with serving(fail), Client("s") as client:
        with pytest.raises(ringipc.RemoteError) as raised:
            client.call(1)
        error = raised.value
        assert (str(error), error.type) == ("KeyError: 'no such thing'", "KeyError")
        assert "in fail" in error.traceback
        assert "in fail" in str(error.__cause__)
        assert isinstance(client.submit(1).exception(5), ringipc.RemoteError)


class OwnError(Exception):
    def __init__(self, a: int, b: int) -> None:  # cannot be unpickled: its args are not its parameters
        super().__init__(f"{a} and {b}")


def test_with_pickle_the_exception_itself_is_raised() -> None:
    def handler(x: int) -> None:
        raise OwnError(1, 2) if x else LookupError("here", 3)

    with serving(handler, pickle=True), Client("s", pickle=True) as client:
        with pytest.raises(LookupError) as raised:
            client.call(0)
        assert raised.value.args == ("here", 3)
        assert "in handler" in str(raised.value.__cause__)
        with pytest.raises(ringipc.RemoteError, match="OwnError: 1 and 2") as other:
            client.call(1)
        assert "could not be unpickled" in other.value.traceback


def test_a_pickled_exception_is_not_loaded_without_pickle() -> None:
    with serving(fail, pickle=True), Client("s") as client:
        with pytest.raises((ringipc.RemoteError, ringipc.UnsafeMessage)):
            client.call(b"1", timeout=5)


def test_what_one_side_may_not_unpickle_is_an_error_in_the_caller() -> None:
    with serving(same), Client("s", pickle=True) as client:
        with pytest.raises(ringipc.RemoteError, match="UnsafeMessage"):
            client.call({1})
        assert client.call(b"bytes") == b"bytes"
    with serving(lambda x: {x}, pickle=True), Client("s") as client:
        with pytest.raises(ringipc.UnsafeMessage):
            client.call(b"bytes")
        with pytest.raises(ringipc.UnsafeMessage):
            client.submit(b"bytes").result(5)


def test_what_cannot_be_sent_is_an_error_where_it_is_sent() -> None:
    with serving(lambda x: {1, 2} if x else b"x" * 100_000, capacity="64 KiB"), Client("s") as client:
        with pytest.raises(ringipc.UnsafeMessage):
            client.call({1, 2})
        with pytest.raises(ringipc.RemoteError, match="UnsafeMessage"):
            client.call(1)
        assert client.call(0) == b"x" * 100_000  # it is longer than the lane
        with pytest.raises(RecursionError):
            called_deep(lambda: client.call([]), 10_000)
        assert client.call(0) == b"x" * 100_000  # the client is not harmed


@contextmanager
def stalled(client: Client) -> Iterator[None]:
    """A block in which the client receives no replies."""
    entered, goes_on = threading.Event(), threading.Event()

    def stall(_: object) -> None:
        entered.set()
        goes_on.wait()

    client.submit(0).add_done_callback(stall)
    assert entered.wait(20)
    try:
        yield
    finally:
        goes_on.set()


@pytest.mark.parametrize("pickle", [False, True])
def test_a_handler_may_return_the_same_memory_again(pickle: bool) -> None:
    memory = np.zeros((2, 2), "i4")
    all_handled = threading.Event()

    def handler(x: int) -> object:
        memory[:] = x
        if x == 29:
            all_handled.set()
        return [memory, memory[:, 0], memory.T, {"a": memory}, (memory.T, 1), memory.data][x % 6]

    with serving(handler, slots=2, pickle=pickle), Client("s", pickle=pickle) as client:
        with stalled(client):
            futures = [client.submit(x) for x in range(30)]
            assert all_handled.wait(20)
        for x, future in enumerate(futures):
            expected = handler(x)
            assert str(future.result(20)) == str(bytes(memory) if x % 6 == 5 else expected)


def test_what_cannot_be_sent_is_an_error_also_where_replies_wait() -> None:
    refused = threading.Event()

    def serve() -> None:
        for request in server:
            try:
                request.reply({request.payload} if request.payload == 9 else request.payload)
            except ringipc.UnsafeMessage as error:
                request.fail(error)
                refused.set()

    with Server("s", slots=2) as server, Client("s") as client:
        thread = threading.Thread(target=serve)
        thread.start()
        with stalled(client):
            futures = [client.submit(x) for x in range(10)]
            assert refused.wait(20)
        assert [future.result(20) for future in futures[:9]] == list(range(9))
        with pytest.raises(ringipc.RemoteError, match="UnsafeMessage"):
            futures[9].result(20)
        server.close()
        thread.join()


def test_a_call_that_times_out_leaves_nothing_behind() -> None:
    with Server("s") as server, Client("s") as client:
        before = time.monotonic()
        with pytest.raises(TimeoutError, match="no reply in time"):
            client.call("late", timeout=0.1)
        assert time.monotonic() - before < 2
        next(server).reply(np.zeros(1000))
        assert client._connection is not None
        backlog = server._callers.by_lane[1].replies  # type: ignore[union-attr]
        backlog.flush(5)  # the late reply is received and discarded, though nobody calls
        assert (client._connection.calls, client._connection._unattended) == ({}, set())
        future = client.submit("next")
        next(server).reply("its own")
        assert future.result(5) == "its own"


def test_a_cancelled_future_or_task_leaves_nothing_behind() -> None:
    async def cancelled(client: Client) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.acall("cancelled")

    with Server("s") as server, Client("s") as client:
        future = client.submit("cancelled")
        assert future.cancel()
        asyncio.run(cancelled(client))
        for _ in range(2):
            next(server).reply("discarded")
        deadline = time.monotonic() + 5
        while client._connection.calls and time.monotonic() < deadline:  # type: ignore[union-attr]
            time.sleep(0.001)
        assert client._connection.calls == {}  # type: ignore[union-attr]
        assert client._connection._unattended == set()  # type: ignore[union-attr]


def test_without_a_first_server_a_call_waits_for_its_timeout(base: str) -> None:
    with Client("s") as client:
        with pytest.raises(ringipc.TimedOut, match="no server was opened"):
            client.call(1, timeout=0.05)
        with pytest.raises(ringipc.TimedOut):
            client.wait_for_server(0.05)
    assert channels(base) == []


def test_when_the_last_server_has_closed_calls_fail_at_once_until_there_is_another() -> None:
    with Client("s") as client:
        with serving(same):
            assert client.call(1) == 1
        before = time.monotonic()
        with pytest.raises(ringipc.NoServer):
            client.call(2, timeout=30)
        with pytest.raises(ringipc.NoServer):
            client.submit(2).result(30)
        assert time.monotonic() - before < 5
        with serving(same):
            client.wait_for_server(5)
            assert client.call(3) == 3


def test_a_server_that_closes_leaves_its_requests_to_another() -> None:
    with Client("s") as client, Server("s") as other:
        with Server("s") as server:
            future = client.submit("x")
            taken = next(server)
            assert taken.deliveries == 1
        del taken
        request = next(other)
        assert (request.payload, request.deliveries) == ("x", 2)
        request.reply("y")
        assert future.result(5) == "y"


def test_a_request_that_is_never_answered_raises_in_the_caller() -> None:
    with Server("s", max_deliveries=2) as server, Client("s") as client:
        future = client.submit("x")
        for deliveries in 1, 2:
            assert next(server).deliveries == deliveries  # and no reply
        thread = threading.Thread(target=list, args=[server])
        thread.start()
        with pytest.raises(ringipc.ServerDied):
            future.result(5)
        server.close()
        thread.join()


def test_handlers_that_run_when_the_server_is_closed_are_answered() -> None:
    started, go_on = threading.Event(), threading.Event()

    def handler(x: int) -> int:
        started.set()
        go_on.wait()
        return x + 1

    with Client("s") as client, serving(handler, threads=2) as server:
        future = client.submit(1)
        started.wait()
        server.close()
        go_on.set()
        assert future.result(5) == 2


def test_a_request_is_answered_once() -> None:
    with Server("s") as server, Client("s") as client:
        future = client.submit(1)
        request = next(server)
        request.reply(2)
        with pytest.raises(ringipc.Closed):
            request.reply(3)
        with pytest.raises(ringipc.Closed):
            request.fail(OSError())
        assert future.result(5) == 2


def test_requests_wait_when_too_many_are_on_the_way() -> None:
    with Server("s") as server, Client("s", slots=4) as client:
        futures = [client.submit(k) for k in range(4)]
        with pytest.raises(ringipc.TimedOut, match="not sent"):
            client.call(4, timeout=0.05)
        with pytest.raises(ringipc.TimedOut, match="not sent"):
            client.submit(4, timeout=0.05)
        with pytest.raises(ringipc.TimedOut, match="not sent"):
            next(client.map([4], timeout=0.05))
        for _ in range(4):
            next(server).reply()
        wait_for(futures, 5)
        assert all(future.done() for future in futures)


def test_a_client_that_is_gone_is_forgotten(base: str) -> None:
    with Server("s") as server:
        with Client("s") as client:
            future = client.submit(1)
            request = next(server)
        with pytest.raises((ringipc.Closed, CancelledError)):
            future.result(5)
        request.reply(2)  # discarded
        server._callers.sweep(at_once=True)
        assert channels(base) == ["s.requests"]
    assert channels(base) == []


def test_a_callback_of_a_future_may_call() -> None:
    with serving(same), Client("s") as client:
        got: list[int] = []
        future = client.submit(1)
        future.add_done_callback(lambda done: got.append(client.call(done.result() + 1, timeout=5)))
        again = client.submit(3)
        assert again.result(5) == 3
        deadline = time.monotonic() + 5
        while not got and time.monotonic() < deadline:
            time.sleep(0.001)
        assert got == [2]


def test_messages_that_no_client_has_put_are_discarded(caplog: pytest.LogCaptureFixture) -> None:
    with serving(same), ringipc.Producer("s.requests", capacity="64 KiB") as stranger, Client("s") as client:
        stranger.put_many([b"lost"] * 10)
        assert client.call(1, timeout=5) == 1
        stranger.flush(5)
    assert caplog.text.count("no Client put them") == 1


def test_close_ends_the_calls_of_other_threads() -> None:
    with Server("s"), Client("s") as client, ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(client.call, k) for k in range(2)]
        future = client.submit(1)
        while client._connection is None or len(client._connection.calls) < 3:
            time.sleep(0.001)
        client.close()
        for call in calls:
            assert isinstance(call.exception(5), ringipc.Closed)
        assert future.cancelled()
        with pytest.raises(ringipc.Closed):
            client.call(1)


def test_ctrl_c_ends_a_call_and_a_handler() -> None:
    def work(x: Any) -> Any:
        time.sleep(10)

    with Server("s") as server, Client("s") as client:
        client.wait_for_server(5)
        for call in (lambda: client.call("x"), lambda: server.serve(work)):
            threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
            with pytest.raises(KeyboardInterrupt):
                call()
        request = next(server)  # the handler was interrupted, so another server gets it
        assert (request.payload, request.deliveries) == ("x", 2)
        request.reply("for nobody")
        future = client.submit("y")
        next(server).reply("z")
        assert future.result(5) == "z"
        assert client._connection is not None
        assert client._connection.calls == {}


def test_close_ends_a_loop_over_requests() -> None:
    server = Server("s")
    assert not server.closed
    threading.Timer(0.05, server.close).start()
    assert list(server) == []
    assert server.closed


def test_async_with_closes_a_server_and_a_client() -> None:
    async def main() -> None:
        async with Server("s") as server:
            serving = asyncio.create_task(server.aserve(asyncio.sleep))
            async with Client("s") as client:
                assert await client.acall(0) is None
            assert client.closed
        assert server.closed
        await serving

    asyncio.run(main())


def call_in_child(client: Client) -> None:
    assert client.call(5, timeout=20) == 5


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_uses_the_client_of_its_parent(start: Start) -> None:
    server = start(serve_all)
    client = Client("s")
    assert client.call(1, timeout=20) == 1
    child = start(call_in_child, client, method="fork")
    child.join(20)
    assert child.exitcode == 0
    assert client.call(2) == 2
    client.call("stop")
    client.close()
    server.join(20)


def serve_all() -> None:
    with Server("s") as server:
        for request in server:
            x = request.payload
            request.reply(x)
            if isinstance(x, str):  # "stop"
                break


def test_a_service_and_a_channel_cannot_have_one_name() -> None:
    with ringipc.Producer("camera"), Client("camera") as client:
        with pytest.raises(ringipc.Incompatible, match="service 'camera': this is the name of a channel"):
            client.call(1)
        with pytest.raises(ringipc.Incompatible, match="service 'camera': this is the name of a channel"):
            Server("camera")
    with Server("s"):
        with pytest.raises(ringipc.Incompatible, match="channel 's': this is the name of a service"):
            ringipc.Producer("s")
        with pytest.raises(ringipc.Incompatible, match="channel 's': this is the name of a service"):
            ringipc.Consumer("s")


def test_a_channel_whose_name_looks_like_that_of_a_services_requests_stays() -> None:
    with ringipc.Producer("s.requests", groups=["work"]) as producer:
        producer.put(1)
    with ringipc.Producer("s"), ringipc.Consumer("s.requests", group="work") as consumer:
        assert consumer.get(timeout=20) == 1
    with ringipc.Lock("l.requests"), ringipc.Producer("l"):
        pass


def open_and_die(name: str) -> None:
    server = Server(name)
    assert not server.closed
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_name_is_free_again_when_all_who_used_it_have_been_killed(start: Start) -> None:
    start(open_and_die, "s").join(20)
    with ringipc.Producer("s"), ringipc.Consumer("s"):
        pass
    with Server("s"):  # takes over what is left, and removes it
        pass


def test_arguments_are_checked() -> None:
    for wrong in ("~user/s", "x" * 190, "tcp://127.0.0.1:5000x", "a/b"):
        with pytest.raises(ValueError):
            Client(wrong)
    with pytest.raises(TypeError):
        Server(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        Server("s", max_deliveries=0)
    with pytest.raises(ValueError, match="max_deliveries"):  # more are not counted
        Server("s", max_deliveries=64)
    with pytest.raises(TypeError, match="only a Server"):
        ringipc.Request()
    with Server("s") as server, Client("s") as client:
        for wrong_handler in (None, 5):
            with pytest.raises(TypeError, match="handler must be a function, not"):
                server.serve(wrong_handler)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="handler must be a function, not"):
                asyncio.run(server.aserve(wrong_handler))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="use aserve"):
            server.serve(asyncio.sleep)
        future = client.submit(1)
        with pytest.raises(TypeError, match="error must be an exception, not 'no'"):
            next(server).fail("no")  # type: ignore[arg-type]
        future.cancel()
        with pytest.raises(ValueError, match="timeout"):
            client.submit(1, timeout=-1)
    with pytest.raises(TypeError):
        Client("s").call(1, timeout=True)
    with pytest.raises(TypeError, match="give the other process the service"):
        pickle.dumps(Client("s"))
    with Server("s") as server, pytest.raises(TypeError, match="give the other process the service"):
        pickle.dumps(server)


# ---- sockets ----


LONG = [pytest.param(way, marks=pytest.mark.long) for way in ("unix", "tcp, ring passed")]


@pytest.fixture(params=["unix, ring passed", "tcp", *LONG])
def address(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if "passed" not in request.param:
        monkeypatch.setenv("RINGIPC_RING", "0")
    return "tcp://127.0.0.1:0" if "tcp" in request.param else f"unix://@service-{os.getpid()}"


def call_over_socket(url: str) -> None:
    with Client(url) as client:
        assert client.call(4, timeout=20) == 16
        frame = np.arange(300_000.0)
        assert np.array_equal(client.call(frame, timeout=20), frame**2)
        assert [x[0] for x in client.map(np.full(5000, k) for k in range(100))] == [k * k for k in range(100)]
        assert [future.result(20) for future in [client.submit(k) for k in range(50)]] == [k * k for k in range(50)]
        with pytest.raises(ringipc.RemoteError, match="TypeError"):
            client.call("text")
        assert asyncio.run(client.acall(5)) == 25


def test_a_service_works_over_sockets(address: str, start: Start) -> None:
    with serving(lambda x: x * x, address, threads=2) as server:
        url = str(server.service)
        process = start(call_over_socket, url)
        call_over_socket(url)
        process.join(20)
    assert process.exitcode == 0


def test_over_a_socket_the_end_of_the_server_is_an_error_and_another_one_is_found(address: str) -> None:
    with serving(same, address) as server:
        url = str(server.service)
        client = Client(url)
        assert client.call(1) == 1
    before = time.monotonic()
    with pytest.raises(ringipc.NoServer):
        client.call(2, timeout=30)
    assert time.monotonic() - before < 5
    with serving(same, url):
        client.wait_for_server(10)
        assert client.call(3) == 3
    with serving(same, url):  # no call has found that the one before has ended
        client.wait_for_server(10)
        assert client.call(4) == 4
    client.close()


def test_replies_are_not_lost_when_a_server_over_a_socket_closes(address: str) -> None:
    with Server(address) as server, Client(server.service) as client:
        futures = [client.submit(np.full(50_000, k)) for k in range(8)]
        for _ in range(8):
            request = next(server)
            request.reply(request.payload)
            del request
        server.close()
        assert [future.result(5)[0] for future in futures] == list(range(8))


def test_a_client_over_a_socket_that_is_gone_is_forgotten(address: str) -> None:
    with serving(same, address) as server:
        with Client(server.service) as client:
            assert client.call(1) == 1
        deadline = time.monotonic() + 10
        while server._callers.by_lane and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server._callers.by_lane == {}


def test_a_service_refuses_producers_and_consumers(address: str) -> None:
    with Server(address) as server:
        with pytest.raises(ringipc.Incompatible, match="only a Client"):
            ringipc.Consumer(server.service, timeout=5)
    with pytest.raises(ValueError, match="omit bind="):
        Server(ringipc.tcp("127.0.0.1:0", bind=False))
    with pytest.raises(ValueError, match="one direction"):
        Client("fifo:///tmp/x")


def test_an_error_that_lasts_ends_a_server(base: str) -> None:
    with Server("s") as server, Client("s") as client:
        future = client.submit(b"x")
        (lane,) = Path(base).glob("ringipc-*/s.requests/lane-*")
        with lane.open("r+b") as file:
            file.seek(128)  # the number of requests
            file.write(bytes(5) + b"\x01")
        next(server).reply()  # its slot says that it is there
        assert future.result(5) is None
        with pytest.raises(ringipc.Corrupt, match="a lane is malformed"):
            next(server)
