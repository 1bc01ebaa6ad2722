"""Helpers for tests of the greeting: a listener, and a peer that connects to it."""

import contextlib
import dataclasses
import os
import queue
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ringipc import RingError, transports
from ringipc.transports import connections
from ringipc.transports.connections import Listener
from ringipc.transports.endpoint import SocketEndpoint
from ringipc.transports.handshake import Hello, Welcome, boot_id

OPENING = b"ringipc\0" + b"\1\0\0\0" + b"\0\0\0\0" + b"\1"  # without a key; the peer's user is admitted
KEY = b"sixteen bytes at least"

HELLO = Hello(
    producer=True,
    pid=os.getpid(),
    session=bytes(range(16)),
    next=2**64 - 1,
    group="grüppe \udcff",
    shared=True,
    durable=False,
    newest=True,
    maps=False,
    capacity=1 << 20,
    slots=64,
    boot=boot_id(),
)


def welcome(error: int = 0, text: str = "") -> Welcome:
    return Welcome(error, text, os.getpid(), bytes(range(16)), 5, False, 1 << 20, 64, boot_id())


def frame(said: Hello | Welcome) -> bytes:
    data = said.encode()
    return said.KIND.to_bytes(2, "little") + len(data).to_bytes(2, "little") + data


def at(url: str, **options: Any) -> SocketEndpoint:
    """Return the endpoint of a URL, with options."""
    endpoint = transports.resolve(url)
    assert isinstance(endpoint, SocketEndpoint)
    return dataclasses.replace(endpoint, **options)


def connect(url: str, hello: Hello, *, timeout: float | None = None, **options: Any) -> tuple[socket.socket, Welcome]:
    return connections.connect(at(url, **options), hello, timeout=timeout)


class Host:
    def __init__(self, url: str, error: int, text: str, options: dict[str, Any]) -> None:
        self.error = error
        self.text = text
        self.greeted: queue.Queue[Hello] = queue.Queue()
        self.taken: queue.Queue[socket.socket] = queue.Queue()
        self.refusals: queue.Queue[RingError] = queue.Queue()
        self.listener = Listener(at(url, **options), admit=self.admit, refused=self.refusals.put)
        self.url = self.listener.url

    def admit(self, hello: Hello) -> tuple[Welcome, Callable[[socket.socket], None]]:
        self.greeted.put(hello)
        return welcome(self.error, self.text), self.taken.put


@contextlib.contextmanager
def listening(url: str, error: int = 0, text: str = "", **options: Any) -> Iterator[Host]:
    host = Host(url, error, text, options)
    with host.listener:
        yield host
    while not host.taken.empty():
        host.taken.get().close()


@contextlib.contextmanager
def met(host: Host, **options: Any) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return the two ends of a connection, that of the connecting side first."""
    near, said = connect(host.url, HELLO, timeout=5, **options)
    with near, host.taken.get(timeout=5) as far:
        assert said == welcome()
        assert host.greeted.get(timeout=5) == HELLO
        assert near.gettimeout() is far.gettimeout() is None
        for end in near, far:
            end.settimeout(10)  # for the rest of this test
        yield near, far


def exchange(host: Host, **options: Any) -> None:
    with met(host, **options) as (near, far):
        near.sendall(b"there")
        assert far.recv(16) == b"there"
        far.sendall(b"back")
        assert near.recv(16) == b"back"


def sockets_open() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {name for name in found if name.startswith("socket:")}


@pytest.fixture
def no_socket_left() -> Iterator[None]:
    """Check that no socket is left open."""
    before = sockets_open()
    yield
    end = time.monotonic() + 3  # greetings that broke off need a moment to end
    while sockets_open() - before and time.monotonic() < end:
        time.sleep(0.01)
    assert not sockets_open() - before
