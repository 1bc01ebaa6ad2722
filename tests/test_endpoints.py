"""URLs, and endpoints with options."""

import dataclasses
import os
import pickle
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Self

import pytest

import ringipc
from ringipc import Consumer, Producer
from ringipc.transports import TRANSPORTS, resolve
from ringipc.transports.address import Listening
from ringipc.transports.endpoint import Endpoint, SocketEndpoint
from ringipc.transports.forks import closed_in_children
from ringipc.transports.pipe import Fifo, Pipe
from ringipc.transports.sockets import connected, enlarge_buffers
from ringipc.transports.tcp import Tcp
from ringipc.transports.unix import Unix

KEY = b"sixteen bytes at least"


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("pipe:3", Pipe(3)),
        ("fifo:///run/camera", Fifo("/run/camera")),
        ("unix:///run/camera", Unix("/run/camera")),
        ("unix://@camera", Unix("@camera")),
        ("unix:///" + "x" * 106, Unix("/" + "x" * 106)),
        ("tcp://localhost:0", Tcp("localhost", 0)),
        ("tcp://127.0.0.1:65535", Tcp("127.0.0.1", 65535)),
        ("tcp://[::1]:80", Tcp("::1", 80)),
    ],
)
def test_a_url_names_an_endpoint_whose_str_is_the_url(text: str, endpoint: Endpoint) -> None:
    assert resolve(text) == endpoint
    assert str(endpoint) == text


def test_a_plain_name_means_shared_memory() -> None:
    assert resolve("camera") == "camera"
    assert resolve("~ann/camera") == "~ann/camera"
    assert resolve("a:b") == "a:b"


@dataclasses.dataclass(frozen=True, slots=True)
class Loop(SocketEndpoint):
    """A transport that this test adds: one class, and one line in the table."""

    name: str

    scheme = "loop"
    form = "loop://name"

    @classmethod
    def from_url(cls, url: str) -> Self:
        return cls(url.removeprefix("loop://"))

    def __str__(self) -> str:
        return f"loop://{self.name}"

    def _socket(self) -> socket.socket:
        return closed_in_children(lambda: socket.socket(socket.AF_UNIX))

    def listen(self, backlog: int) -> Listening:
        made = self._socket()
        made.bind(f"\0test-ringipc-{self.name}")
        made.listen(backlog)
        return Listening(made, str(self))

    def connect(self, seconds: float) -> socket.socket | None:
        return connected(self._socket(), f"\0test-ringipc-{self.name}", str(self), seconds)

    def prepare(self, connection: socket.socket) -> None:
        enlarge_buffers(connection)


def test_a_transport_is_added_by_one_line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSPORTS, "loop", Loop)
    url = f"loop://{os.getpid()}"
    with Producer(url) as producer:
        with Consumer(url, timeout=20) as one, Consumer(Loop(str(os.getpid())), group="other", timeout=20) as other:
            producer.put(b"1")
            for consumer in one, other:
                assert (consumer.get(5), consumer.stats.transport) == (b"1", "loop")
            with pytest.raises(ringipc.AuthenticationError):
                Consumer(Loop(str(os.getpid()), key=KEY), timeout=20)
            producer.close()


def test_every_transport_is_in_the_table_by_its_scheme() -> None:
    assert {scheme: kind.scheme for scheme, kind in TRANSPORTS.items()} == {scheme: scheme for scheme in TRANSPORTS}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("shm://camera", "names without a scheme"),
        ("http://host:80", r"'http' is not known; there are .*unix:///path.*tcp://host:port"),
        ("://x", "is not known"),
        ("pipe:", "no descriptor"),
        ("pipe:-1", "number"),
        ("pipe:9999999999", "number"),
        ("fifo://run/camera", "absolute"),
        ("fifo:///a\0b", "NUL"),
        ("unix://run/camera", "absolute"),
        ("unix://", "absolute"),
        ("unix://@", "no name"),
        ("unix:///run/", "directory"),
        ("unix:///a\0b", "NUL"),
        ("unix:///" + "x" * 107, "107 bytes"),
        ("unix:///" + "ü" * 54, "107 bytes"),
        ("tcp://host", "no port"),
        ("tcp://host:", "no port"),
        ("tcp://[::1]", "no port"),
        ("tcp://:80", "no host"),
        ("tcp://host:65536", "0 to 65535"),
        ("tcp://host:-1", "0 to 65535"),
        ("tcp://host:٣", "0 to 65535"),
        ("tcp://host:+5", "0 to 65535"),
        ("tcp://::1:80", "brackets"),
        ("tcp://[::1:80", "brackets"),
        ("tcp://[nonsense]:80", "not an IPv6"),
        ("tcp://host:80/path", "more than"),
        ("tcp://ann@host:80", "more than"),
    ],
)
def test_a_malformed_url_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        resolve(text)
    for kind in Producer, Consumer:
        with pytest.raises(ValueError, match=why):
            kind(text)


@pytest.mark.parametrize(
    ("make", "error", "why"),
    [
        (lambda: ringipc.tcp("localhost"), ValueError, "has no port"),
        (lambda: ringipc.tcp("::1:80"), ValueError, r"an IPv6 address stands in brackets, as in \[::1\]:5000"),
        (lambda: ringipc.tcp("unix://host:80"), ValueError, "more than a host and a port"),
        (lambda: ringipc.tcp(5000), TypeError, "must be a str"),  # type: ignore[arg-type]
        (lambda: ringipc.tcp("host:80", key=b"x" * 15), ValueError, "at least 16 bytes, not 15"),
        (lambda: ringipc.tcp("host:80", key="x" * 16), TypeError, "must be bytes"),  # type: ignore[arg-type]
        (lambda: ringipc.tcp("host:80", tls=True), TypeError, "SSLContext"),  # type: ignore[arg-type]
        (lambda: ringipc.tcp("host:80", bind=1), TypeError, "bind must be"),  # type: ignore[arg-type]
        (lambda: ringipc.tcp("host:80", users=[1]), TypeError, "users"),  # type: ignore[call-arg]
        (lambda: ringipc.unix("/s", tls=None), TypeError, "tls"),  # type: ignore[call-arg]
        (lambda: ringipc.unix("s"), ValueError, "absolute"),
        (lambda: ringipc.unix(b"/s"), TypeError, "must be a str"),  # type: ignore[arg-type]
        (lambda: ringipc.unix("/s", key=b""), ValueError, "at least 16 bytes"),
        (lambda: ringipc.unix("/s", users=["ann"]), TypeError, "uids"),  # type: ignore[list-item]
        (lambda: ringipc.unix("/s", users=1001), TypeError, r"such as \[1001\]"),  # type: ignore[arg-type]
        (lambda: ringipc.fifo("f"), ValueError, "absolute"),
        (lambda: Producer(ringipc.tcp), TypeError, "a name, a URL, a Channel or an endpoint"),  # type: ignore[arg-type]
        (lambda: Producer("c", key=KEY), TypeError, "key"),  # type: ignore[call-arg]
    ],
)
def test_wrong_use_is_refused_at_once(make: Callable[[], object], error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        make()


@pytest.mark.parametrize(
    "endpoint",
    [
        ringipc.tcp("localhost:5000", bind=True, key=KEY),
        ringipc.unix("@camera", bind=False, users=[1, 2]),
        ringipc.fifo("/run/frames"),
    ],
)
def test_an_endpoint_is_a_value(endpoint: Any) -> None:
    """An endpoint can be compared, hashed and pickled, cannot be changed, and does not show its key."""
    again = pickle.loads(pickle.dumps(endpoint))
    assert again == endpoint
    assert hash(again) == hash(endpoint)
    assert again.__class__ is endpoint.__class__
    assert KEY.decode() not in repr(endpoint) + str(endpoint)
    with pytest.raises(AttributeError):
        setattr(endpoint, dataclasses.fields(endpoint)[0].name, None)
    assert isinstance(endpoint, ringipc.Endpoint)


def test_a_url_is_an_address_too() -> None:
    """The attribute `channel` of a handle is such a URL."""
    assert ringipc.tcp("tcp://localhost:80") == ringipc.tcp("localhost:80")
    assert ringipc.unix("unix://@camera") == ringipc.unix("@camera")
    assert ringipc.fifo("fifo:///run/camera") == ringipc.fifo("/run/camera")


def test_an_endpoint_with_tls_is_hashable() -> None:
    context = ssl.create_default_context()
    assert len({ringipc.tcp("host:80", tls=context), ringipc.tcp("host:80", tls=context)}) == 1


@pytest.mark.parametrize("binds", ["producer", "consumer"])
def test_either_side_can_bind(base: str, binds: str) -> None:
    there, here = ringipc.unix(f"{base}/s", bind=True), ringipc.unix(f"{base}/s", bind=False)
    if binds == "producer":
        with Producer(there) as producer, Consumer(here, timeout=20) as consumer:
            producer.put(b"1")
            assert consumer.get(5) == b"1"
    else:
        with Consumer(there) as consumer, Producer(here, timeout=20) as producer:
            producer.put(b"1")
            assert consumer.get(5) == b"1"


def test_a_producer_that_connects_gives_up_in_time(base: str) -> None:
    with pytest.raises(ringipc.ChannelNotFound, match="nobody listens"):
        Producer(ringipc.unix(f"{base}/s", bind=False), timeout=0.05)


def test_the_channel_of_a_handle_is_the_url_with_the_actual_port() -> None:
    with Producer(ringipc.tcp("127.0.0.1:0", key=KEY)) as producer:
        assert isinstance(producer.channel, str)
        assert not producer.channel.endswith(":0")
        with Consumer(ringipc.tcp(producer.channel, key=KEY), timeout=20) as consumer:
            assert consumer.channel == producer.channel


def test_a_fallback_can_have_options(base: str) -> None:
    fallback = ringipc.unix(f"{base}/s", key=KEY)
    with Producer("c", fallback=fallback) as producer, Consumer("c", fallback=fallback) as consumer:
        producer.put(b"1")
        assert (consumer.get(5), consumer.stats.transport) == (b"1", "ring")
    for kind, bind in (Producer, False), (Consumer, True):
        with pytest.raises(ValueError, match="a producer binds its fallback"):
            kind("c", fallback=ringipc.unix(f"{base}/s", bind=bind))


def test_the_wrong_end_of_a_pipe_is_refused_and_stays_open() -> None:
    writer, reader = ringipc.pair()
    with writer, reader:
        for kind, end, what in (Producer, reader, "writing"), (Consumer, writer, "reading"):
            for where in end, str(end):
                with pytest.raises(ValueError, match=f"is not the end of a pipe for {what}"):
                    kind(where)
        with Producer(writer) as producer, Consumer(reader) as consumer:
            producer.put(b"1")
            assert consumer.get(5) == b"1"


def test_a_program_without_connections_does_not_import_their_modules() -> None:
    code = "import ringipc, sys; print({'ssl', 'hmac', 'secrets', 'ringipc.transports.link'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
