"""TLS below the greeting: a tunnel to a plain file descriptor."""

import contextlib
import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from greetings import HELLO, KEY, connect, exchange, listening, met, no_socket_left

from ringipc import AuthenticationError, Corrupt

__all__ = ["no_socket_left"]

OPENSSL = shutil.which("openssl")
pytestmark = [
    pytest.mark.usefixtures("no_socket_left"),
    pytest.mark.skipif(OPENSSL is None, reason="no openssl to make a certificate with"),
]

LOCAL = "tcp://localhost:0"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, with its key in the same file."""
    where = tmp_path_factory.mktemp("tls")
    made, key = where / "certificate", where / "key"
    arguments = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -keyout {key} -out {made}"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([str(OPENSSL), *arguments.split(), *names], check=True, capture_output=True)
    made.write_text(made.read_text() + key.read_text())
    return made


def of_listener(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


OLDER = pytest.param(ssl.TLSVersion.TLSv1_2, marks=pytest.mark.long, id="1.2")


@pytest.fixture(params=[OLDER, pytest.param(ssl.TLSVersion.TLSv1_3, id="1.3")])
def contexts(request: pytest.FixtureRequest, certificate: Path) -> Iterator[tuple[ssl.SSLContext, ssl.SSLContext]]:
    """The TLS contexts of the listener and of the connecting side."""
    theirs, ours = of_listener(certificate), trusting(certificate)
    ours.minimum_version = ours.maximum_version = request.param
    yield theirs, ours
    end = time.monotonic() + 3
    while any(thread.name == "ringipc tls" for thread in threading.enumerate()):
        assert time.monotonic() < end, "a tunnel does not end"
        time.sleep(0.01)


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


def test_peers_connect_within_tls(contexts: Contexts) -> None:
    theirs, ours = contexts
    with listening(LOCAL, tls=theirs, key=KEY) as host:
        exchange(host, tls=ours, key=KEY)
        with pytest.raises(AuthenticationError, match=rf"^{host.url}: .*another key"):
            connect(host.url, HELLO, tls=ours, key=KEY + b"!", timeout=5)
        exchange(host, tls=ours, key=KEY)


def send_and_end(end: socket.socket, data: bytes) -> None:
    end.sendall(data)
    end.shutdown(socket.SHUT_WR)


def send_until_cut_off(end: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        end.sendall(data)


def send_and_close(end: socket.socket, data: bytes) -> None:
    end.sendall(data)
    end.close()


def all_of(end: socket.socket) -> str:
    digest = hashlib.sha256()
    while data := end.recv(1 << 16):
        digest.update(data)
    return digest.hexdigest()


def test_data_goes_both_ways_at_once_and_each_half_closes_separately(contexts: Contexts) -> None:
    theirs, ours = contexts
    there, back = os.urandom(30_000_000), os.urandom(10_000_001)
    with listening(LOCAL, tls=theirs) as host, met(host, tls=ours) as (near, far):
        senders = [threading.Thread(target=send_and_end, args=each) for each in ((near, there), (far, back))]
        senders[0].start()
        senders[1].start()
        got: list[str] = []
        reader = threading.Thread(target=lambda: got.append(all_of(near)))
        reader.start()
        assert all_of(far) == hashlib.sha256(there).hexdigest()
        reader.join()
        assert got == [hashlib.sha256(back).hexdigest()]
        for sender in senders:
            sender.join()


@pytest.mark.parametrize("listener_first", [False, True])
def test_after_one_half_is_closed_the_other_continues(contexts: Contexts, listener_first: bool) -> None:
    theirs, ours = contexts
    with listening(LOCAL, tls=theirs) as host, met(host, tls=ours) as ends:
        ended, open_ = ends if not listener_first else ends[::-1]
        open_.sendall(b"crosses the end")
        send_and_end(ended, b"last")
        assert open_.recv(16) == b"last"
        assert open_.recv(16) == b""
        for number in range(3):
            open_.sendall(b"%d" % number)
            time.sleep(0.05)
        open_.shutdown(socket.SHUT_WR)
        got = b""
        while data := ended.recv(100):
            got += data
        assert got == b"crosses the end012"


def test_data_sent_before_a_close_arrives(contexts: Contexts) -> None:
    theirs, ours = contexts
    data = os.urandom(8_000_000)
    with listening(LOCAL, tls=theirs) as host, met(host, tls=ours) as (near, far):
        far.settimeout(None)
        flood = threading.Thread(target=send_until_cut_off, args=(far, bytes(32_000_000)))  # the peer does not read
        flood.start()
        time.sleep(0.2)
        sender = threading.Thread(target=send_and_close, args=(near, data))
        sender.start()
        time.sleep(0.2)
        assert all_of(far) == hashlib.sha256(data).hexdigest()
        sender.join()
        flood.join()


def test_a_slow_reader_holds_the_sender_back(contexts: Contexts) -> None:
    theirs, ours = contexts
    with listening(LOCAL, tls=theirs) as host, met(host, tls=ours) as (near, far):
        near.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:
                sent += near.send(bytes(1 << 16))
        assert sent < 64 << 20
        for close in (False, True):
            if close:
                near.close()
            used = time.process_time()
            time.sleep(0.5)
            assert time.process_time() - used < 0.1  # no thread spins
        got = 0
        while got < sent:
            got += len(far.recv(1 << 20))
        assert got == sent


def test_a_connection_that_breaks_off_without_a_tls_close_ends(contexts: Contexts) -> None:
    """A peer that is killed sends no close_notify."""
    theirs, ours = contexts
    with listening(LOCAL, tls=theirs) as host:
        proxy = socket.create_server(("127.0.0.1", 0))
        port = int(host.url.rpartition(":")[2])
        joined: list[socket.socket] = []

        def carry() -> None:
            one, _ = proxy.accept()
            other = socket.create_connection(("localhost", port))
            joined.extend((one, other))
            back = threading.Thread(target=pour, args=(other, one))
            back.start()
            pour(one, other)
            back.join()

        carrier = threading.Thread(target=carry)
        carrier.start()
        direct = host.url
        host.url = f"tcp://localhost:{proxy.getsockname()[1]}"
        with met(host, tls=ours) as (near, far):
            for each in joined:
                each.shutdown(socket.SHUT_RDWR)
            assert near.recv(1) == far.recv(1) == b""
        carrier.join()
        for each in (proxy, *joined):
            each.close()
        host.url = direct
        exchange(host, tls=ours)


def pour(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)


def test_a_certificate_that_is_not_trusted_is_refused(contexts: Contexts, certificate: Path) -> None:
    theirs, ours = contexts
    with listening(LOCAL, tls=theirs) as host:
        with pytest.raises(AuthenticationError, match="certificate is not trusted: self"):
            connect(host.url, HELLO, tls=ssl.create_default_context(), timeout=5)
        refusal = host.refusals.get(timeout=5)
        assert isinstance(refusal, AuthenticationError)
        assert "UNKNOWN_CA" in str(refusal)
        exchange(host, tls=ours)


def test_a_certificate_of_another_host_is_refused(contexts: Contexts) -> None:
    theirs, ours = contexts
    with listening("tcp://127.0.0.2:0", tls=theirs) as host:
        with pytest.raises(AuthenticationError, match=r"not valid for '127\.0\.0\.2'"):
            connect(host.url, HELLO, tls=ours, timeout=5)
    with listening("tcp://127.0.0.1:0", tls=theirs) as host:
        exchange(host, tls=ours)


def test_a_listener_can_require_a_certificate_of_its_peers(contexts: Contexts, certificate: Path) -> None:
    theirs, ours = contexts
    theirs.verify_mode = ssl.CERT_REQUIRED
    theirs.load_verify_locations(certificate)
    with listening(LOCAL, tls=theirs) as host:
        with pytest.raises(AuthenticationError, match="refused"):
            connect(host.url, HELLO, tls=ours, timeout=5)
        ours.load_cert_chain(certificate)
        exchange(host, tls=ours)


def test_tls_on_one_side_only_is_refused(contexts: Contexts) -> None:
    theirs, ours = contexts
    for listener, connector in ((theirs, None), (None, ours)):
        with listening(LOCAL, tls=listener) as host:
            with pytest.raises(Corrupt, match="tls="):
                connect(host.url, HELLO, tls=connector, timeout=5)
            refusal = host.refusals.get(timeout=5)
            assert isinstance(refusal, Corrupt)
            assert "tls=" in str(refusal)
            exchange(host, tls=ours if listener else None)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # the child has no other threads
def test_a_forked_child_keeps_no_tunnel_open(contexts: Contexts) -> None:
    theirs, ours = contexts
    with listening(LOCAL, tls=theirs) as host, met(host, tls=ours) as (near, far):
        release, hold = socket.socketpair()
        child = os.fork()
        if child == 0:
            release.close()
            hold.recv(1)
            os._exit(0)
        with release, hold:
            hold.close()
            near.close()
            assert far.recv(1) == b""
            release.sendall(b"!")
            os.waitpid(child, 0)
