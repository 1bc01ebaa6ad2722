"""How long does a request of 64 bytes take to a server and back?"""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from multiprocessing.managers import BaseManager
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import ringipc
from ringipc._arguments import Wait

from ._contenders import between, if_installed
from ._harness import ONE_CORE, Answer, Contender, Cores, Goal, Missing, compare, scaled, unique
from .roundtrip import TwoRings, answer, call

TITLE = "requests: 64 bytes to a server and back"
REQUEST = b"there" * 12 + b"back"
STOP = b"stop"


@dataclass(frozen=True)
class Service:
    """ringipc.Client and ringipc.Server. Each measurement has a server of its own, which ends with it."""

    wait: Wait
    name: str = field(default_factory=lambda: unique("service"))

    @contextmanager
    def sender(self) -> Iterator[Any]:
        with ringipc.Client(self.name, wait=self.wait) as client:
            yield client

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        yield partial(ringipc.Server, self.name, wait=self.wait)


def ask_server(client: ringipc.Client, count: int) -> float:
    client.wait_for_server()
    request = client.call
    request(REQUEST)
    start = perf_counter()
    for _ in repeat(None, count):
        reply = request(REQUEST)
    seconds = perf_counter() - start
    if reply != REQUEST or request(STOP) != STOP:
        raise RuntimeError("a reply does not match its request")
    return seconds / count


def serve(open_server: Callable[[], ringipc.Server], count: int) -> None:
    def handler(request: bytes) -> bytes:
        if request == STOP:
            server.close()
        return request

    with open_server() as server:
        server.serve(handler)


def iterate(open_server: Callable[[], ringipc.Server], count: int) -> None:
    with open_server() as server:
        for request in server:
            stop = request.payload == STOP
            request.reply(request.payload)
            if stop:
                return


@dataclass(frozen=True)
class ZeroMQPair:
    """pyzmq, REQ to REP over ipc (an abstract Unix socket)."""

    spin: bool
    address: str = field(default_factory=lambda: f"ipc://@{unique('zmq')}")

    @contextmanager
    def _socket(self, type: int) -> Iterator[Any]:
        import zmq

        def receive() -> bytes:
            while True:
                try:
                    return receive_now(zmq.NOBLOCK)
                except zmq.Again:
                    pass

        with zmq.Context() as context, context.socket(type) as socket:
            (socket.bind if type == zmq.REP else socket.connect)(self.address)
            receive_now: Callable[[int], bytes] = socket.recv
            yield SimpleNamespace(put=socket.send, get=receive if self.spin else socket.recv)

    @contextmanager
    def sender(self) -> Iterator[Any]:
        import zmq

        with self._socket(zmq.REQ) as end:
            yield end

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        import zmq

        with self._socket(zmq.REP) as end:
            yield end


class Echo:
    def answer(self, request: bytes) -> bytes:
        return request


class EchoManager(BaseManager):
    pass


EchoManager.register("Echo", Echo)


class StandardManager:
    """multiprocessing.managers: a method of a proxy, over a Unix socket. Its server is started in the receiver."""

    def __init__(self) -> None:
        self._address = f"{tempfile.gettempdir()}/{unique('manager')}"

    @contextmanager
    def sender(self) -> Iterator[Any]:
        manager = EchoManager(self._address, authkey=b"benchmark")
        while not Path(self._address).exists():
            time.sleep(0.01)
        manager.connect()
        yield manager.Echo().answer  # type: ignore[attr-defined]

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        server = EchoManager(self._address, authkey=b"benchmark").get_server()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield None


def ask_manager(method: Callable[[bytes], bytes], count: int) -> float:
    start = perf_counter()
    for _ in repeat(None, count):
        reply = method(REQUEST)
    seconds = perf_counter() - start
    if reply != REQUEST:
        raise RuntimeError("a reply does not match its request")
    return seconds / count


def idle(end: None, count: int) -> None:
    pass  # the threads of the manager's server answer


def ask(cores: Cores) -> Answer:
    if cores.pair is None:
        return Answer(TITLE, notes=[ONE_CORE])
    pair = cores.pair
    waits: list[Wait] = ["spin", "adaptive", "block"]

    def zmq(spin: bool, name: str) -> Contender | Missing:
        return if_installed("zmq", name, lambda: between(name, pair, ZeroMQPair(spin), call, answer))

    contenders: list[Contender | Missing] = [
        *[between(f'two channels, wait="{wait}"', pair, TwoRings(wait), call, answer) for wait in waits],
        *[between(f'Client and Server, wait="{wait}"', pair, Service(wait), ask_server, serve) for wait in waits],
        between("Client, and a loop over Server", pair, Service("adaptive"), ask_server, iterate),
        zmq(True, "pyzmq, REQ to REP, both spin"),
        zmq(False, "pyzmq, REQ to REP"),
        between("multiprocessing.managers", pair, StandardManager(), ask_manager, idle),
    ]
    compared = list(compare(contenders).values())
    channels, services = compared[:3], compared[3:6]
    loop, zmq_spin, zmq_block, manager = compared[6:]
    return Answer(
        TITLE,
        [(series, scaled(1e6), "us") for series in compared],
        [
            *[
                Goal(f"time: Client and Server / two channels, {wait}", channel / service, at_most=1.3)
                for wait, channel, service in zip(waits, channels, services, strict=True)
            ],
            Goal("time: a loop / serve", services[1] / loop),
            Goal("pyzmq / ringipc, both spin, times as fast", services[0] / zmq_spin, at_least=3),
            Goal("pyzmq / ringipc, both sleep, times as fast", services[2] / zmq_block, at_least=3),
            Goal("managers / ringipc, adaptive, times as fast", services[1] / manager, at_least=10),
            Goal("managers / ringipc, both sleep, times as fast", services[2] / manager),
        ],
        ["serve() is given a function that returns its argument."],
    )
