"""The ways from a producer to a consumer; each can be opened in this process or in another."""

import contextlib
import dataclasses
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from greetings import KEY
from test_tls import OPENSSL, certificate, of_listener, trusting

import ringipc
from ringipc import Channel, Consumer, Producer, transports
from ringipc.transports.endpoint import Endpoint, SocketEndpoint

__all__ = ["certificate", "no_trace", "way"]

PASSED = ["unix", "abstract", "tcp"]  # ways that pass the ring itself
STREAMS = ["unix-stream", "tcp-stream", "key-stream"] + ["tls"] * (OPENSSL is not None)
MANY = ["ring", "anonymous", *PASSED, *STREAMS]  # ways that allow several producers or groups
LISTENING = MANY[2:]
ALL = [*MANY, "pipe", "fifo"]

Where = str | Channel | Endpoint


@dataclass(frozen=True)
class Way:
    """How the two ends connect; it can be passed to another process. By default the producer binds."""

    name: str
    to: Where
    of: Where
    transport: str
    key: bytes | None = None
    certificate: Path | None = None

    @property
    def scheme(self) -> str:
        """The name that the listener has for it; the listener may have passed its ring to others."""
        return ("tcp" if self.name == "tcp" else "unix") if self.name in PASSED else self.transport

    def _endpoint(self, where: Where, bind: bool | None, binds: bool) -> Where:
        """The endpoint, with options if there are any."""
        endpoint = transports.resolve(where)
        if not isinstance(endpoint, SocketEndpoint):
            return where
        options: dict[str, Any] = {"bind": bind, "key": self.key}
        if self.certificate is not None:
            options["tls"] = (of_listener if binds else trusting)(self.certificate)
        return dataclasses.replace(endpoint, **options)

    def producer(self, *, bind: bool | None = None, **options: Any) -> Producer:
        if bind is False:
            options = {"timeout": 20} | options
        return Producer(self._endpoint(self.to, bind, bind is not False), **{"capacity": "1 MiB"} | options)

    def consumer(self, *, bind: bool | None = None, **options: Any) -> Consumer:
        return Consumer(self._endpoint(self.of, bind, bind is True), **{"timeout": 20} | options)

    @contextlib.contextmanager
    def both(self, give: dict[str, Any] | None = None, take: dict[str, Any] | None = None) -> Iterator[Any]:
        """A producer and a consumer in this process, with options of their own."""
        with self.producer(**give or {}) as producer, self.consumer(**take or {}) as consumer:
            yield producer, consumer


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def make(name: str, base: str, request: pytest.FixtureRequest) -> Way:
    kind, _, stream = name.partition("-")
    match kind:
        case "ring":
            return Way(name, "c", "c", "ring")
        case "anonymous":
            channel = Channel.anonymous()
            request.addfinalizer(channel.close)
            return Way(name, channel, channel, "ring")
        case "unix" | "abstract":
            request.addfinalizer(lambda: Path(f"{base}/socket").unlink(missing_ok=True))  # if its listener is killed
            url = f"unix://{base}/socket" if kind == "unix" else f"unix://@test-ringipc-{os.getpid()}"
            return Way(name, url, url, "unix" if stream else "ring")
        case "fifo":
            path = f"{base}/fifo"
            request.addfinalizer(lambda: Path(path).unlink(missing_ok=True))
            return Way(name, f"fifo://{path}", f"fifo://{path}", "fifo")
        case "pipe":
            to, of = ringipc.pair()
            request.addfinalizer(to.close)
            request.addfinalizer(of.close)
            return Way(name, to, of, "pipe")
    url = f"tcp://localhost:{free_port()}"
    if kind == "tls":
        return Way(name, url, url, "tcp", certificate=request.getfixturevalue("certificate"))
    return Way(name, url, url, "tcp" if stream else "ring", KEY if kind == "key" else None)


RARE = ("abstract", "key-stream", "tcp", "tcp-stream")  # these differ little from others


def _params(names: Iterable[str], also: Iterable[str]) -> list[Any]:
    late = {*also, *RARE}
    return [pytest.param(name, marks=pytest.mark.long if name in late else ()) for name in (*names, *also)]


@pytest.fixture(params=_params(ALL, ()))
def way(request: pytest.FixtureRequest, base: str, monkeypatch: pytest.MonkeyPatch) -> Way:
    if request.param in STREAMS:
        monkeypatch.setenv("RINGIPC_RING", "0")
    return make(request.param, base, request)


def over(*names: str, also: Iterable[str] = ()) -> pytest.MarkDecorator:
    """Run a test over some of the ways only, and over others in the long run."""
    return pytest.mark.parametrize("way", _params(names, also), indirect=True)


def traces() -> tuple[set[str], set[str]]:
    """Return the file descriptors of this process, and the threads of ringipc."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return found, {each.name for each in threading.enumerate() if each.name.startswith("ringipc")}


@pytest.fixture
def no_trace() -> Iterator[None]:
    """Check that no file descriptor and no thread is left, after those that are ending have ended."""
    before, _ = traces()
    yield

    def left() -> set[str]:
        descriptors, threads = traces()
        if descriptors - before and not threads:
            gc.collect()  # an exception that was caught keeps the handles of its frames in a reference cycle
            descriptors, threads = traces()
        return descriptors - before | threads

    eventually(lambda: not left(), left)


def eventually(is_so: Callable[[], bool], tell: Callable[[], object] = lambda: "", seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, tell()
        time.sleep(0.01)
