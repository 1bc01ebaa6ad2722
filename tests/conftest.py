"""Fixtures of all tests. Each test has a base directory of its own, and must leave it empty."""

import contextlib
import gc
import os
import select
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

import ringipc
from ringipc import Consumer, Producer

collect_ignore = ["stdlib_mp"]  # programs; test_stdlib_mp.py runs them

SHM = "/dev/shm"
MINUTES = float(os.environ.get("MINUTES", "1"))  # duration of each long test that searches for faults at random


# a program whose producer dies without a message
DIE = "import os, ringipc; p = ringipc.Producer('c', capacity=4096); os.kill(os.getpid(), 9)"


def files_in(path: str) -> list[str]:
    return [os.path.join(where, name) for where, _, names in os.walk(path) for name in names]


def remove_ends(path: str) -> None:
    """Remove channels in which only the end of a stream waits for a first consumer: a control file and nothing else."""
    for where, _, files in os.walk(path):
        if files == ["control"]:
            with contextlib.suppress(ringipc.RingError):  # the file is damaged, or not that of a channel: it stays
                channel = ringipc.Channel.open(os.path.basename(where))
                if channel.end_waits and channel.lanes == [] and channel.groups == [] and channel.pids == []:
                    channel.remove()


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The base directory of the channels of this test."""
    path = tempfile.mkdtemp(prefix="test-ringipc-", dir=SHM if os.access(SHM, os.W_OK) else None)
    monkeypatch.setenv("RINGIPC_DIR", path)
    yield path
    monkeypatch.setenv("RINGIPC_DIR", path)  # the test may have set another one
    remove_ends(path)
    left = files_in(path)
    if left:  # an exception that was caught keeps the views of its frames in a reference cycle
        gc.collect()
        left = files_in(path)
    for name in left:
        os.unlink(name)
    for where, _, _ in os.walk(path, topdown=False):
        os.rmdir(where)
    assert not left, f"the test left files: {left}"


@pytest.fixture
def producer() -> Iterator[Producer]:
    with Producer("c", capacity="1 MiB") as producer:
        yield producer


@pytest.fixture
def consumer(producer: Producer) -> Iterator[Consumer]:
    with Consumer("c") as consumer:
        yield consumer


@pytest.fixture
def picklers() -> Iterator[tuple[Producer, Consumer]]:
    """A producer and a consumer with pickle=True."""
    with Producer("p", capacity="1 MiB", pickle=True) as producer, Consumer("p", pickle=True) as consumer:
        yield producer, consumer


@pytest.fixture(params=["named", pytest.param("anonymous", marks=pytest.mark.long)])
def any_channel(request: pytest.FixtureRequest) -> Iterator[str | ringipc.Channel]:
    """A named or an anonymous channel; nothing may be left in it.

    Name this fixture before `start`: the processes of `start` end before the channel is checked.
    """
    if request.param == "named":
        yield "c"
        return
    with ringipc.Channel.anonymous() as channel:
        yield channel
        assert (channel.lanes, channel.groups, channel.pids) == ([], [], [])


AnyChannel = str | ringipc.Channel
Start = Callable[..., BaseProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts functions in processes, which must exit with status 0 or be killed by SIGKILL before the test ends."""
    started: list[BaseProcess] = []

    def start(function: Callable[..., None], *args: Any, method: str = "spawn") -> BaseProcess:
        process: BaseProcess = get_context(method).Process(target=function, args=args)  # type: ignore[attr-defined]
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.join(20)
        if process.is_alive():
            process.kill()
            process.join()
            pytest.fail(f"{process} did not end")
        assert process.exitcode in (0, -9), process
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # the next test has another environment


def rest(consumer: Consumer) -> list[int]:
    """The messages that can be got without waiting: numbers, as text."""
    got = []
    while True:
        try:
            got.append(int(consumer.get_nowait()))
        except ringipc.Empty:
            return got


def directory_of(base: str, name: str = "c") -> Path:
    """The directory of the files of a name."""
    return Path(base, f"ringipc-{os.geteuid()}", name)


def is_readable(end: int | Consumer | Producer, timeout: float = 0) -> bool:
    return bool(select.select([end], [], [], timeout)[0])


def called_deep(call: Callable[[], Any], depth: int) -> Any:
    """Call a function with this number of further frames on the stack."""
    return called_deep(call, depth - 1) if depth else call()
