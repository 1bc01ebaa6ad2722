"""Over sockets and pipes: how many small messages, how many bytes in arrays, and how long is a round trip?"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

import ringipc

from ._contenders import DEPTH, FRAMES, Frame, Ring, StandardPipe, Transport, ZeroMQ, between, if_installed
from ._harness import ONE_CORE, Answer, Contender, Cores, Crowd, Goal, Missing, Row, compare, per_second, scaled, unique
from .large import get_frames, put_frames
from .roundtrip import answer, call
from .small import LAST, MESSAGE, get_each, get_hundreds, put_each, put_hundreds

TITLE = "streams: messages over sockets and pipes"
SIZE = "1 MiB"
FRAME = np.zeros((512, 512), "f4")
SECONDS = 0.3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def unix() -> str:
    return f"unix://@{unique('stream')}"


def tcp() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


@dataclass(frozen=True)
class Stream(Ring):
    """ringipc with a URL, over the socket itself: the ring is not passed to the other process."""

    channel: str = field(default_factory=unix)

    def sender(self) -> ringipc.Producer:
        os.environ["RINGIPC_RING"] = "0"
        return super().sender()

    def receiver(self) -> ringipc.Consumer:
        os.environ["RINGIPC_RING"] = "0"
        return super().receiver()


class Pipe:
    """ringipc through one anonymous pipe."""

    def __init__(self) -> None:
        self._to, self._of = ringipc.pair()

    def sender(self) -> ringipc.Producer:
        self._of.close()
        return ringipc.Producer(self._to)

    def receiver(self) -> ringipc.Consumer:
        self._to.close()
        return ringipc.Consumer(self._of)


class TwoPipes:
    """A pipe in each direction."""

    def __init__(self) -> None:
        self._there, self._back = Pipe(), Pipe()

    @contextmanager
    def sender(self) -> Iterator[Any]:
        with self._there.sender() as producer, self._back.receiver() as consumer:
            yield SimpleNamespace(put=producer.put, get=consumer.get)

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        with self._back.sender() as producer, self._there.receiver() as consumer:
            yield SimpleNamespace(put=producer.put, get=consumer.get)


class FramesInPipe(StandardPipe):
    """Frames as bytes, without pickle, which would take longer."""

    @contextmanager
    def receiver(self) -> Iterator[Any]:
        def get() -> Frame:
            return np.frombuffer(self._second.recv_bytes(), FRAME.dtype).reshape(FRAME.shape)

        yield SimpleNamespace(get=get)


def _small(pair: tuple[int, int]) -> tuple[list[Row], list[Goal]]:
    def each(name: str, transport: Transport) -> Crowd:
        return between(f"64 B {name}", pair, transport, partial(put_each, MESSAGE, LAST), partial(get_each, LAST))

    def many(name: str, transport: Transport) -> Crowd:
        return between(f"64 B {name} put_many", pair, transport, put_hundreds, get_hundreds)

    def zmq(name: str, address: str) -> Contender | Missing:
        return if_installed("zmq", f"64 B {name}", lambda: each(name, ZeroMQ(DEPTH, address=address)))

    series = list(
        compare(
            [
                each("ringipc unix, ring passed", Ring(channel=unix())),
                each("ringipc unix, stream", Stream()),
                many("ringipc unix, stream", Stream()),
                each("ringipc tcp, stream", Stream(channel=tcp())),
                each("ringipc pipe", Pipe()),
                zmq("pyzmq ipc", f"ipc://@{unique('zmq')}"),
                zmq("pyzmq tcp", tcp()),
                each("multiprocessing.Pipe", StandardPipe()),
            ],
            seconds=SECONDS,
        ).values()
    )
    passed, stream, batch, over_tcp, pipe, ipc, zmq_tcp, standard = series
    return [(one, per_second(1e-6), "M/s") for one in series], [
        Goal("64 B: unix, ring passed / pyzmq ipc", passed / ipc, at_least=1),
        Goal("64 B: unix, stream / pyzmq ipc", stream / ipc, at_least=1),
        Goal("64 B: unix, stream, put_many / pyzmq ipc", batch / ipc),
        Goal("64 B: tcp, stream / pyzmq tcp", over_tcp / zmq_tcp),
        Goal("64 B: pipe / multiprocessing.Pipe", pipe / standard),
    ]


def _large(pair: tuple[int, int]) -> tuple[list[Row], list[Goal]]:
    def frames(name: str, transport: Transport) -> Crowd:
        return between(f"{SIZE} {name}", pair, transport, partial(put_frames, SIZE), partial(get_frames, False))

    def zmq(name: str, address: str) -> Contender | Missing:
        return if_installed("zmq", f"{SIZE} {name}", lambda: frames(name, ZeroMQ(FRAMES, FRAME, address=address)))

    series = list(
        compare(
            [
                frames("ringipc unix, ring passed", Ring(channel=unix())),
                frames("ringipc tcp, same machine: ring passed", Ring(channel=tcp())),
                frames("ringipc unix, stream", Stream()),
                frames("ringipc tcp, stream", Stream(channel=tcp())),
                frames("ringipc pipe", Pipe()),
                zmq("pyzmq ipc, copy=False", f"ipc://@{unique('zmq')}"),
                zmq("pyzmq tcp, copy=False", tcp()),
                frames("multiprocessing.Pipe, bytes", FramesInPipe()),
            ],
            seconds=SECONDS,
        ).values()
    )
    passed, near, stream, over_tcp, pipe, ipc, zmq_tcp, standard = series
    return [(one, per_second(FRAME.nbytes * 1e-9), "GB/s") for one in series], [
        Goal("1 MiB: unix, ring passed / pyzmq ipc", passed / ipc, at_least=2),
        Goal("1 MiB: unix, ring passed / multiprocessing.Pipe", passed / standard, at_least=2),
        Goal("1 MiB: unix, stream / pyzmq ipc", stream / ipc, at_least=1),
        Goal("1 MiB: unix, stream / multiprocessing.Pipe", stream / standard),
        Goal("1 MiB: tcp, ring passed / pyzmq tcp", near / zmq_tcp, at_least=2),
        Goal("1 MiB: tcp, ring passed / multiprocessing.Pipe", near / standard, at_least=2),
        Goal("1 MiB: tcp, stream / pyzmq tcp", over_tcp / zmq_tcp, at_least=1),
        Goal("1 MiB: tcp, stream / multiprocessing.Pipe", over_tcp / standard, at_least=2),
        Goal("1 MiB: pipe / multiprocessing.Pipe", pipe / standard),
    ]


def _round_trips(pair: tuple[int, int]) -> tuple[list[Row], list[Goal]]:
    series = list(
        compare(
            [
                between("round trip, ringipc through two pipes", pair, TwoPipes(), call, answer),
                between("round trip, multiprocessing.Pipe", pair, StandardPipe(), call, answer),
            ],
            seconds=SECONDS,
        ).values()
    )
    pipes, standard = series
    return [(one, scaled(1e6), "us") for one in series], [
        Goal("time of a round trip: pipes / multiprocessing.Pipe", standard / pipes, at_most=1.2)
    ]


def ask(cores: Cores) -> Answer:
    if cores.pair is None:
        return Answer(TITLE, notes=[ONE_CORE])
    rows: list[Row] = []
    goals: list[Goal] = []
    for compared in _small, _large, _round_trips:
        more_rows, more_goals = compared(cores.pair)
        rows += more_rows
        goals += more_goals
    return Answer(TITLE, rows, goals)
