"""Connections of `ringipc.mp`: over sockets as in the standard library, and over rings."""

import errno
import os
import pickle
import selectors
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection as standard
from multiprocessing import reduction
from typing import Any

import numpy as np
import pytest
from conftest import Start

from ringipc import mp
from ringipc.mp import _ring_connection, connection

context = mp.get_context("spawn")
SOON = 20  # seconds; a test that waits so long has failed
KINDS = {
    "socket": {},
    "pipe": {"duplex": False},
    "ring": {"wait": "block"},
    "one ring": {"wait": "block", "duplex": False},
}
Ends = tuple[Any, Any]


@pytest.fixture(params=KINDS)
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """The two ends of a pipe: of the second objects can be sent to the first."""
    receiver, sender = connection.Pipe(**KINDS[request.param])  # type: ignore[arg-type]
    yield receiver, sender
    receiver.close()
    sender.close()


@pytest.fixture(params=["socket", "ring"])
def both_ways(request: pytest.FixtureRequest) -> Iterator[Ends]:
    one, other = connection.Pipe(**KINDS[request.param])  # type: ignore[arg-type]
    yield one, other
    one.close()
    other.close()


def echo(conn: Any) -> None:
    for question in iter(conn.recv, None):
        conn.send(question)


def test_objects_and_bytes_come_out_as_they_were_sent(ends: Ends) -> None:
    receiver, sender = ends
    for obj in (1, None, b"bytes", "text", bytearray(b"b"), [1, {"a": (2, 3.5)}], {4}, b"x" * 50_000):
        sender.send(obj)
        got = receiver.recv()
        assert got == obj
        assert type(got) is type(obj)
        sender.send(obj)
        assert pickle.loads(receiver.recv_bytes()) == obj
        sender.send_bytes(pickle.dumps(obj))
        assert receiver.recv() == obj
    array = np.arange(5)
    sender.send(array)
    got = receiver.recv()
    np.testing.assert_array_equal(got, array)
    assert got.flags.writeable
    for data in (b"", b"raw", bytearray(b"abc"), memoryview(b"view"), np.arange(3)):
        sender.send_bytes(data)
        assert receiver.recv_bytes() == bytes(data)


def test_parts_of_buffers_are_sent_and_received(ends: Ends) -> None:
    receiver, sender = ends
    sender.send_bytes(b"0123456789", 2)
    sender.send_bytes(b"0123456789", 2, 3)
    sender.send_bytes(b"0123456789", 10)
    assert [receiver.recv_bytes() for _ in range(3)] == [b"23456789", b"234", b""]
    for wrong in ((-1,), (11,), (0, -1), (4, 7)):
        with pytest.raises(ValueError, match=r"offset|size"):
            sender.send_bytes(b"0123456789", *wrong)
    place = np.zeros(4, "u2")
    sender.send_bytes(b"abcd")
    assert receiver.recv_bytes_into(place, 2) == 4
    assert place.tobytes() == b"\0\0abcd\0\0"
    sender.send_bytes(b"too long for it")
    with pytest.raises(mp.BufferTooShort) as error:
        receiver.recv_bytes_into(bytearray(4))
    assert error.value.args == (b"too long for it",)
    with pytest.raises(ValueError, match="offset"):
        receiver.recv_bytes_into(bytearray(4), 5)
    with pytest.raises(ValueError, match="offset"):
        receiver.recv_bytes_into(bytearray(4), -1)
    with pytest.raises(ValueError, match="maxlength"):
        receiver.recv_bytes(-1)
    sender.send_bytes(b"1234")
    assert receiver.recv_bytes(4) == b"1234"
    sender.send_bytes(b"12345")
    with pytest.raises(OSError, match="length"):
        receiver.recv_bytes(4)


@pytest.mark.parametrize("size", [70_000, 5 << 20, pytest.param(20 << 20, marks=pytest.mark.long)])
def test_large_messages_are_sent_while_they_are_received(ends: Ends, size: int) -> None:
    receiver, sender = ends
    array = np.arange(size, dtype="u1")
    thread = threading.Thread(target=lambda: (sender.send(array), sender.send_bytes(array), sender.send_bytes(array)))
    thread.start()
    np.testing.assert_array_equal(receiver.recv(), array)
    assert receiver.recv_bytes() == array.tobytes()
    place = np.zeros(size, "u1")
    assert receiver.recv_bytes_into(place) == size
    np.testing.assert_array_equal(place, array)
    thread.join()


def test_poll_and_wait_see_messages_and_ends(ends: Ends) -> None:
    receiver, sender = ends
    other, unused = connection.Pipe()
    begin = time.monotonic()
    assert not receiver.poll()
    assert not receiver.poll(0.1)
    assert connection.wait([receiver, other], 0.1) == []
    assert time.monotonic() - begin >= 0.2
    sender.send(1)
    for _ in range(3):
        assert receiver.poll()
        assert receiver.poll(None)
        assert connection.wait([receiver, other]) == [receiver]
    assert receiver.recv() == 1
    assert not receiver.poll(0.01)
    assert connection.wait([receiver, other], 0.01) == []
    timer = threading.Timer(0.1, sender.send, [2])
    timer.start()
    with selectors.DefaultSelector() as selector:
        selector.register(receiver, selectors.EVENT_READ)
        assert [key.fileobj for key, _ in selector.select(SOON)] == [receiver]
        assert receiver.recv() == 2
        assert selector.select(0) == []
    timer.join()
    threading.Timer(0.1, sender.close).start()
    assert connection.wait([receiver, other], SOON) == [receiver]
    assert receiver.poll()
    with pytest.raises(EOFError):
        receiver.recv()
    other.close()
    unused.close()


@pytest.mark.parametrize("duplex", [True, False])
def test_an_idle_connection_is_not_readable_for_no_reason(duplex: bool) -> None:
    receiver, sender = connection.Pipe(duplex)
    sender.send(1)
    assert receiver.recv() == 1
    begin = time.monotonic()
    assert connection.wait([receiver], 1) == []
    assert time.monotonic() - begin >= 1
    receiver.close()
    sender.close()


def test_what_was_sent_before_the_end_is_received(ends: Ends) -> None:
    receiver, sender = ends
    for number in range(100):
        sender.send(number)
    sender.close()
    assert [receiver.recv() for _ in range(100)] == list(range(100))
    for _ in range(2):
        with pytest.raises(EOFError):
            receiver.recv()
        with pytest.raises(EOFError):
            receiver.recv_bytes()


def test_nothing_can_be_sent_when_the_other_end_is_gone(ends: Ends) -> None:
    receiver, sender = ends
    sender.send(1)
    receiver.close()
    time.sleep(2 * _ring_connection.CHECK_EVERY)
    with pytest.raises(BrokenPipeError) as error:
        sender.send(2)
    assert error.value.errno == errno.EPIPE


def test_a_sender_that_waits_for_room_is_told_when_the_other_end_is_gone(both_ways: Ends) -> None:
    receiver, sender = both_ways
    timer = threading.Timer(0.3, receiver.close)
    timer.start()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while True:
            sender.send(bytes(1 << 20))
    timer.join()


def test_a_closed_connection_refuses_calls(ends: Ends) -> None:
    receiver, sender = ends
    with pytest.raises(OSError, match="-only") if not receiver.writable else pytest.raises(OSError, match="closed"):
        receiver.send(1) if not receiver.writable else (receiver.close(), receiver.send(1))
    receiver.close()
    sender.close()
    sender.close()
    assert receiver.closed
    for call in (receiver.recv, receiver.recv_bytes, receiver.fileno, receiver.poll, lambda: sender.send(1)):
        with pytest.raises(OSError, match="closed"):
            call()


def test_a_connection_refuses_what_cannot_be_pickled(ends: Ends) -> None:
    receiver, sender = ends
    with pytest.raises((AttributeError, pickle.PicklingError)):
        sender.send(lambda: None)
    sender.send("next")
    assert receiver.recv() == "next"


@pytest.mark.parametrize("method", ["spawn", "fork", pytest.param("forkserver", marks=pytest.mark.long)])
def test_a_child_uses_a_connection_of_its_parent(both_ways: Ends, start: Start, method: str) -> None:
    mine, theirs = both_ways
    mine.send("before")
    assert theirs.recv() == "before"  # this process has handles, which a forked child cannot use
    child = start(echo, theirs, method=method)
    for obj in (1, "text", list(range(1000))):
        mine.send(obj)
        assert mine.poll(SOON)
        assert mine.recv() == obj
    mine.send(None)
    child.join()


def hold(conn: Any, go: Any) -> None:
    conn.send("here")
    go.wait(SOON)


def send_and_close(conn: Any) -> None:
    conn.send("here")
    conn.close()


def test_nothing_is_readable_while_another_process_has_the_other_end(both_ways: Ends, start: Start) -> None:
    mine, theirs = both_ways
    child = start(send_and_close, theirs)
    assert connection.wait([mine], SOON) == [mine]
    assert mine.recv() == "here"
    child.join()
    assert not mine.poll(0.1)
    theirs.send("here too")
    assert mine.recv() == "here too"
    theirs.close()
    with pytest.raises(EOFError):
        mine.recv()


@pytest.mark.parametrize("ended", ["exit", "kill"])
def test_the_end_comes_when_the_last_process_has_let_go(both_ways: Ends, start: Start, ended: str) -> None:
    mine, theirs = both_ways
    go = context.Event()
    child = start(hold, theirs, go)
    assert mine.recv() == "here"
    theirs.close()
    assert not mine.poll(0.1)
    if ended == "kill":
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
    else:
        go.set()
    begin = time.monotonic()
    with pytest.raises(EOFError):
        mine.recv()
    assert time.monotonic() - begin < 5
    child.join()


def send_numbers(conn: Any, first: int) -> None:
    for number in range(first, first + 200):
        conn.send(number)


def receive_numbers(conn: Any, results: Any) -> None:
    results.put([conn.recv() for _ in range(100)])


@pytest.mark.parametrize("kind", ["ring"])
def test_an_end_is_shared_by_several_processes(start: Start, kind: str) -> None:
    """Over sockets the messages of several senders, or to several receivers, can be mixed up."""
    receiver, sender = connection.Pipe(**KINDS[kind])  # type: ignore[arg-type]
    results = context.Queue()
    for first in (0, 1000):
        start(send_numbers, sender, first, method="fork")
    for _ in range(4):
        start(receive_numbers, receiver, results, method="fork")
    got = [results.get(timeout=SOON) for _ in range(4)]
    assert sorted(number for numbers in got for number in numbers) == [*range(200), *range(1000, 1200)]
    receiver.close()
    sender.close()


def answer_over(conn: Any) -> None:
    other = conn.recv()
    other.send(("answer", other.recv()))
    other.close()


@pytest.mark.parametrize("kind", ["socket", "ring"])
@pytest.mark.parametrize("way", ["connection", "queue"])
def test_a_connection_is_sent_to_another_process(start: Start, kind: str, way: str) -> None:
    mine, theirs = connection.Pipe(**KINDS[kind])  # type: ignore[arg-type]
    one, other = connection.Pipe()
    q = context.Queue()
    start(answer_over, other) if way == "connection" else start(answer_from_queue, q)
    mine.send("question")
    one.send(theirs) if way == "connection" else q.put(theirs)
    assert mine.recv() == ("answer", "question")
    mine.send("back")
    assert theirs.recv() == "back"  # it is still usable here
    for conn in (mine, theirs, one, other):
        conn.close()


def answer_from_queue(q: Any) -> None:
    other = q.get()
    other.send(("answer", other.recv()))


def test_a_connection_of_the_standard_library_is_understood() -> None:
    ours, handle = socket.socketpair()
    here, there = connection.Connection(ours.detach()), standard.Connection(handle.detach())
    for obj in (1, "text", list(range(1000))):
        here.send(obj)
        assert there.recv() == obj
        there.send(obj)
        assert here.recv() == obj
    here.close()
    with pytest.raises(EOFError):
        there.recv()
    there.close()


def take_descriptor(conn: Any) -> None:
    conn.send(os.getpid())
    with open(reduction.recv_handle(conn), "w") as file:
        file.write("by another process")


def test_file_descriptors_pass_through_a_connection(start: Start, tmp_path: Any) -> None:
    mine, theirs = connection.Pipe()
    child = start(take_descriptor, theirs)
    pid = mine.recv()
    with open(tmp_path / "file", "w+") as file:
        reduction.send_handle(mine, file.fileno(), pid)
        child.join()
        file.seek(0)
        assert file.read() == "by another process"
    mine.close()
    theirs.close()


def test_messages_that_arrive_in_pieces_and_broken_ones() -> None:
    raw, handle = socket.socketpair()
    conn = connection.Connection(handle.detach())
    data = pickle.dumps("piece by piece")
    whole = struct.pack("!i", len(data)) + data

    def trickle() -> None:
        for k in range(len(whole)):
            raw.send(whole[k : k + 1])
            time.sleep(0.001)
        raw.send(struct.pack("!iQ", -1, 5) + b"abcde")
        raw.send(struct.pack("!i", 100) + b"only a part")
        raw.close()

    thread = threading.Thread(target=trickle)
    thread.start()
    assert conn.recv() == "piece by piece"
    assert conn.recv_bytes() == b"abcde"
    with pytest.raises(OSError, match="end of file during message"):
        conn.recv_bytes()
    thread.join()
    conn.close()


def test_a_pipe_is_made_as_quickly_and_with_as_few_descriptors_as_that_of_the_standard_library() -> None:
    def descriptors(make: Callable[[], Ends]) -> int:
        before = len(os.listdir("/proc/self/fd"))
        ends = make()
        made = len(os.listdir("/proc/self/fd")) - before
        for end in ends:
            end.close()
        return made

    for duplex in (True, False):
        assert descriptors(lambda duplex=duplex: connection.Pipe(duplex)) == 2  # type: ignore[misc]


def test_an_invalid_handle_is_refused() -> None:
    for wrong in (-1, "3", None):
        with pytest.raises((ValueError, AttributeError, TypeError)):
            connection.Connection(wrong)
    with pytest.raises(ValueError, match="readable"):
        connection.Connection(0, readable=False, writable=False)


# ---- listeners and clients ----

FAMILIES = ["AF_UNIX", "AF_INET", "ring"]


def serve(listener: Any, results: list[Any], count: int = 1) -> None:
    for _ in range(count):
        try:
            with listener.accept() as conn:
                results.append("accepted")
                echo(conn)
        except (EOFError, OSError, mp.AuthenticationError) as error:
            results.append(error)


def ask(address: Any, family: str, key: bytes | None) -> None:
    with connection.Client(address, family, key) as conn:
        for obj in ("question", 2, list(range(10_000)), b"bytes"):
            conn.send(obj)
            assert conn.recv() == obj
        conn.send(None)


@pytest.mark.parametrize("key", [None, b"secret"])
@pytest.mark.parametrize("family", FAMILIES)
def test_clients_and_listeners_of_all_families(start: Start, family: str, key: bytes | None) -> None:
    results: list[Any] = []
    with connection.Listener(family=family, authkey=key) as listener:
        client = start(ask, listener.address, family, key, method="fork")
        serve(listener, results)
        client.join()
    assert results == ["accepted"]
    with pytest.raises(OSError):
        listener.accept()


@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_keys_are_refused_on_both_sides(family: str) -> None:
    results: list[Any] = []
    with connection.Listener(family=family, authkey=b"right") as listener:
        thread = threading.Thread(target=serve, args=(listener, results, 2))
        thread.start()
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(mp.AuthenticationError):
            connection.Client(listener.address, family, b"wrong")
        ask(listener.address, family, b"right")
        thread.join()
        assert isinstance(results[0], mp.AuthenticationError)
        assert results[1] == "accepted"
        results.clear()
        assert len(os.listdir("/proc/self/fd")) == before


GARBAGE = [b"", b"x", b"\0\0\0\4abcd", b"\xff\xff\xff\xff\x7f" + b"\0" * 20, b"GET / HTTP/1.1\r\n\r\n" * 99]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("family", FAMILIES)
def test_garbage_at_a_listener_is_an_error_and_the_next_client_is_served(family: str, garbage: bytes) -> None:
    results: list[Any] = []
    with connection.Listener(family=family, authkey=b"right") as listener:
        thread = threading.Thread(target=serve, args=(listener, results, 2))
        thread.start()
        address = connection.abstract_address("listener", listener.address) if family == "ring" else listener.address
        with socket.socket(socket.AF_INET if family == "AF_INET" else socket.AF_UNIX) as raw:
            raw.connect(address)
            raw.sendall(garbage)
        ask(listener.address, family, b"right")
        thread.join()
    assert isinstance(results[0], EOFError | OSError | mp.AuthenticationError)
    assert results[1] == "accepted"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_client_that_says_nothing_is_refused_in_time(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in connection, _ring_connection:
        monkeypatch.setattr(module, "PEER_SECONDS", 0.2)
    with connection.Listener(family=family, authkey=b"right") as listener:
        address = connection.abstract_address("listener", listener.address) if family == "ring" else listener.address
        with socket.socket(socket.AF_INET if family == "AF_INET" else socket.AF_UNIX) as raw:
            raw.connect(address)
            with pytest.raises((mp.AuthenticationError, OSError)):
                listener.accept()


def test_names_of_rings(base: str) -> None:
    with connection.Listener("name", "ring") as listener:
        assert listener.address == "name"
        with pytest.raises(OSError, match="in use"):
            connection.Listener("name", "ring")
    with pytest.raises(OSError, match="refused"):
        connection.Client("name", "ring")
    connection.Listener("n" * 200, "ring").close()
    with pytest.raises(ValueError, match="name"):
        connection.Listener("a/b", "ring")
    with pytest.raises(TypeError, match="byte string"):
        connection.Listener(family="ring", authkey="text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="byte string"):
        connection.Client("name", "ring", "text")  # type: ignore[arg-type]


def test_a_listener_that_was_closed_accepts_nobody() -> None:
    listener = connection.Listener()
    listener.close()
    with pytest.raises(OSError, match="closed"):
        listener.accept()
