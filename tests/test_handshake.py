"""The greeting over real sockets: which peers are admitted, and which are refused."""

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from greetings import HELLO, KEY, OPENING, connect, exchange, frame, listening, no_socket_left, sockets_open, welcome

from ringipc import AuthenticationError, ChannelNotFound, Consumer, Corrupt, Incompatible
from ringipc.transports import handshake
from ringipc.transports.tcp import Tcp

__all__ = ["no_socket_left"]
pytestmark = pytest.mark.usefixtures("no_socket_left")

LOCAL = "tcp://127.0.0.1:0"


def raw(url: str) -> socket.socket:
    endpoint = Tcp.from_url(url)
    return socket.create_connection((endpoint.host, endpoint.port), timeout=10)


def heard(connection: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(4096):
            got += data
    return got


@contextlib.contextmanager
def foreign_listener(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A listener of another program, for one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("options", [{}, {"key": KEY}])
@pytest.mark.parametrize("url", [LOCAL, "tcp://[::1]:0", "tcp://localhost:0", "unix://@test-ringipc-{pid}"])
def test_peers_with_matching_options_connect(url: str, options: dict[str, Any]) -> None:
    with contextlib.ExitStack() as stack:
        try:
            host = stack.enter_context(listening(url.format(pid=os.getpid()), **options))
        except OSError as error:
            if "::1" in url and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                pytest.skip("no IPv6 here")
            raise
        exchange(host, **options)
        exchange(host, **options)


def test_a_refused_peer_learns_the_reason() -> None:
    with listening(LOCAL, error=errno.EBUSY, text="go away") as host:
        connection, said = connect(host.url, HELLO, timeout=5)
        assert (said.error, said.text) == (errno.EBUSY, "go away")
        assert connection.fileno() == -1
        assert host.taken.empty()


@pytest.mark.parametrize("local", ["unix://@ringipc-nobody", "unix://@ringipc-" + "x" * 200, "tcp://localhost:9"])
def test_the_stream_is_used_if_the_local_socket_of_a_listener_is_missing(local: str) -> None:
    with listening(LOCAL, text=local) as host, Consumer(host.url, timeout=5) as consumer:
        assert consumer.stats.transport == "tcp"
        assert [host.greeted.get(timeout=5).maps for _ in range(2)] == [True, False]
        assert host.greeted.empty()


@pytest.mark.parametrize(
    ("theirs", "ours"), [(KEY, KEY + b"!"), (KEY, None), (None, KEY)], ids=["another", "none", "one too many"]
)
def test_a_wrong_key_is_refused_on_both_sides_and_the_next_peer_is_admitted(
    theirs: bytes | None, ours: bytes | None
) -> None:
    with listening(LOCAL, key=theirs) as host:
        with pytest.raises(AuthenticationError, match="key"):
            connect(host.url, HELLO, key=ours, timeout=5)
        refusal = host.refusals.get(timeout=5)
        assert isinstance(refusal, AuthenticationError)
        assert isinstance(refusal, PermissionError)
        assert "key" in str(refusal)
        exchange(host, key=theirs)
        assert host.greeted.empty()


def test_a_key_must_be_long_enough() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        connect(LOCAL, HELLO, key=b"x" * 15)
    with pytest.raises(ValueError, match="16 bytes"), listening(LOCAL, key=b"x" * 15):
        pass
    with pytest.raises(TypeError, match="bytes"):
        connect(LOCAL, HELLO, key="x" * 16)


def test_a_reflected_proof_is_refused() -> None:
    answers = []

    def mirror(connection: socket.socket) -> None:
        connection.sendall(connection.recv(17, socket.MSG_WAITALL))  # returns the opening
        connection.sendall(connection.recv(32, socket.MSG_WAITALL))  # returns the challenge
        connection.sendall(b"\1" + connection.recv(32, socket.MSG_WAITALL))  # "accepted", and the listener's own proof
        answers.append(heard(connection))

    with foreign_listener(mirror) as url, pytest.raises(AuthenticationError, match="cannot prove"):
        connect(url, HELLO, key=KEY, timeout=5)
    assert answers == [b"\0"]


def test_a_replayed_proof_is_refused() -> None:
    """A relay cannot use a recorded proof again."""
    overheard = []
    with listening(LOCAL, key=KEY) as host:

        def relay(connection: socket.socket) -> None:
            with raw(host.url) as onward:
                for size in (17, 32):
                    overheard.append(connection.recv(size, socket.MSG_WAITALL))
                    onward.sendall(overheard[-1])
                    connection.sendall(onward.recv(size, socket.MSG_WAITALL))
                overheard.append(connection.recv(32, socket.MSG_WAITALL))

        with foreign_listener(relay) as url, pytest.raises(Corrupt, match="hung up"):
            connect(url, HELLO, key=KEY, timeout=5)
        assert isinstance(host.refusals.get(timeout=5), Corrupt)
        with raw(host.url) as again:
            again.sendall(b"".join(overheard))
            assert heard(again)[17 + 32 :] == b"\0"
        assert isinstance(host.refusals.get(timeout=5), AuthenticationError)


def test_another_version_is_reported_on_both_sides() -> None:
    with listening(LOCAL) as host, raw(host.url) as newer:
        newer.sendall(b"ringipc\0" + b"\7\0\0\0" + b"the rest is unknown")
        assert heard(newer)[:12] == OPENING[:12]
        refusal = host.refusals.get(timeout=5)
        assert isinstance(refusal, Incompatible)
        assert "version 7" in str(refusal)
        assert "this side 1" in str(refusal)
        exchange(host)

    with foreign_listener(lambda other: other.sendall(b"ringipc\0\7\0\0\0")) as url:
        with pytest.raises(Incompatible, match="version 7 of the protocol, this side 1"):
            connect(url, HELLO, timeout=5)


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"ringipc!" + bytes(64),
    OPENING[:12] + b"\2\0\0\0\1",
    OPENING + b"\2\0\x40\0" + bytes(64),
    OPENING + b"\1\0\xfd\x03",  # the length of a frame that is one byte too long
    OPENING + b"\1\0\0\0",
    OPENING + b"\1\0\x40\0" + bytes(64),
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_refused_at_once_and_the_next_peer_is_admitted(garbage: bytes) -> None:
    with listening(LOCAL) as host:
        with raw(host.url) as other:
            other.settimeout(3)
            with contextlib.suppress(ConnectionError):
                other.sendall(garbage)
            assert heard(other) == OPENING
        assert isinstance(host.refusals.get(timeout=2), Corrupt)
        exchange(host)


@pytest.mark.parametrize(
    "garbage", [*GARBAGE[:4], OPENING + b"\1\0\x40\0" + bytes(64), OPENING + b"\2\0\x40\0" + bytes(64)]
)
def test_a_listener_of_another_protocol_is_refused(garbage: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(garbage)
        heard(connection)

    with foreign_listener(talk) as url, pytest.raises(Corrupt):
        connect(url, HELLO, timeout=5)


def listen_only(connection: socket.socket) -> None:
    heard(connection)


def test_connecting_to_a_silent_listener_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "GREETING_SECONDS", 0.5)
    began = time.monotonic()
    with foreign_listener(listen_only) as url, pytest.raises(Corrupt, match="within 5 s"):
        connect(url, HELLO)
    assert time.monotonic() - began < 2


def test_a_greeting_that_breaks_off_at_any_byte_is_refused() -> None:
    whole = OPENING + frame(HELLO)
    with listening(LOCAL) as host:
        for cut in range(len(whole)):
            with raw(host.url) as other:
                other.sendall(whole[:cut])
                other.shutdown(socket.SHUT_WR)
                assert heard(other) == OPENING
            if cut:
                assert isinstance(host.refusals.get(timeout=5), Corrupt)
        exchange(host)
        assert host.refusals.empty()

    whole = OPENING + frame(welcome())
    for cut in range(len(whole)):
        expected = Corrupt if cut else ChannelNotFound  # a peer that sends nothing may have closed

        def hang_up(connection: socket.socket, cut: int = cut) -> None:
            connection.sendall(whole[:cut])
            connection.shutdown(socket.SHUT_WR)
            heard(connection)

        with foreign_listener(hang_up) as url, pytest.raises(expected):
            connect(url, HELLO, timeout=0)


def test_a_slow_peer_has_no_more_time_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "GREETING_SECONDS", 0.5)
    began = time.monotonic()
    with listening(LOCAL) as host, raw(host.url) as slow:
        for byte in OPENING + frame(HELLO):
            with contextlib.suppress(ConnectionError):
                slow.send(bytes([byte]))
            if not host.refusals.empty():
                break
            time.sleep(0.1)
        assert "within 5 s" in str(host.refusals.get(timeout=0))
    assert time.monotonic() - began < 2


def test_silent_peers_delay_nobody() -> None:
    with listening(LOCAL) as host, contextlib.ExitStack() as stack:
        for silent, longest in (20, 1), (40, 3):  # at most 32 at a time: one more ends the oldest
            for _ in range(silent):
                stack.enter_context(raw(host.url)).sendall(OPENING)
            began = time.monotonic()
            exchange(host)
            assert time.monotonic() - began < longest
        assert isinstance(host.refusals.get(timeout=0), Corrupt)


def test_closing_ends_greetings_and_waits_for_nobody() -> None:
    before = sockets_open()
    with contextlib.ExitStack() as stack:
        with listening(LOCAL) as host:
            silent = [stack.enter_context(raw(host.url)) for _ in range(5)]
            for each in silent:
                assert each.recv(17, socket.MSG_WAITALL) == OPENING
            began = time.monotonic()
        assert time.monotonic() - began < 0.5
        host.listener.close()
        for each in silent:
            assert heard(each) == b""
        with pytest.raises(ChannelNotFound):
            connect(host.url, HELLO, timeout=0.1)
    while sockets_open() - before:
        time.sleep(0.01)
