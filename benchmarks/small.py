"""How many small messages per second, one per call and many per call?"""

from collections.abc import Callable
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any

import numpy as np

from ._contenders import (
    DEPTH,
    Cloudtoid,
    FasterFifo,
    Iceoryx2,
    Ring,
    StandardQueue,
    Transport,
    ZeroMQ,
    between,
    if_installed,
)
from ._harness import ONE_CORE, Answer, Contender, Cores, Crowd, Goal, Missing, compare, per_second, unique
from ._limits import program

TITLE = "small: messages of 64 bytes from one process to another"
SIZE = 64
IN_FIFO = SIZE + 8  # bytes that a message takes in faster-fifo
IN_CLOUDTOID = SIZE + 16  # and in cloudtoid-interprocess
MANY = 100
MESSAGE, LAST = b"m" * SIZE, b"l" * SIZE
ARRAY, LAST_ARRAY = np.full((4, 4), 1, "f4"), np.full((4, 4), 2, "f4")


def put_each(message: Any, last: Any, end: Any, count: int) -> None:
    """Put a message that starts the clock, then count messages; the last one shows that none is missing."""
    put = end.put
    for _ in repeat(None, count):
        put(message)
    put(last)


def get_each(last: Any, end: Any, count: int) -> float:
    get = end.get
    message = get()
    start = perf_counter()
    for _ in repeat(None, count):
        message = get()
    seconds = perf_counter() - start
    _check(message, last)
    return seconds / count


def put_hundreds(end: Any, count: int) -> None:
    hundreds, rest = divmod(count - 1, MANY)
    put_many = end.put_many
    messages = [MESSAGE] * MANY
    end.put(MESSAGE)
    for _ in repeat(None, hundreds):
        put_many(messages)
    put_many([MESSAGE] * rest + [LAST])


def get_hundreds(end: Any, count: int) -> float:
    get_many = end.get_many
    end.get()
    got = 0
    start = perf_counter()
    while got < count:
        messages = get_many(MANY)
        got += len(messages)
    seconds = perf_counter() - start
    _check(messages[-1], LAST)
    return seconds / count


def _check(message: Any, last: Any) -> None:
    if type(message) is not type(last) or bytes(message) != bytes(last):
        raise RuntimeError(f"messages are missing: the last one was {message!r}")


def ask(cores: Cores) -> Answer:
    if cores.pair is None:
        return Answer(TITLE, notes=[ONE_CORE])
    pair = cores.pair

    def each(name: str, transport: Transport) -> Crowd:
        return between(name, pair, transport, partial(put_each, MESSAGE, LAST), partial(get_each, LAST))

    def many(name: str, transport: Transport) -> Crowd:
        return between(name, pair, transport, put_hundreds, get_hundreds)

    def one_of_faster_fifo(name: str, kind: Callable[[str, Transport], Crowd]) -> Contender | Missing:
        return if_installed("faster_fifo", name, lambda: kind(name, FasterFifo(DEPTH * IN_FIFO)))

    array_loops = partial(put_each, ARRAY, LAST_ARRAY), partial(get_each, LAST_ARRAY)
    contenders: list[Contender | Missing] = [
        program("C: bare ring", "spsc", SIZE, cores=pair),
        program("C: ringipc's rip_put, rip_get", "core", "calls", unique("core"), cores=pair),
        program("C: ringipc's inline calls", "core", "inline", unique("core"), cores=pair),
        each("ringipc put, get", Ring()),
        many("ringipc put_many, get_many of 100", Ring()),
        between("ringipc put, get of 4x4 float32", pair, Ring(), *array_loops),
        each("multiprocessing.Queue", StandardQueue(DEPTH)),
        if_installed("zmq", "pyzmq", lambda: each("pyzmq", ZeroMQ(DEPTH))),
        one_of_faster_fifo("faster-fifo put, get", each),
        one_of_faster_fifo("faster-fifo put_many, get_many of 100", many),
        if_installed("iceoryx2", "iceoryx2", lambda: each("iceoryx2", Iceoryx2(DEPTH, SIZE))),
        if_installed(
            "cloudtoid_interprocess",
            "cloudtoid-interprocess",
            lambda: each("cloudtoid-interprocess", Cloudtoid(DEPTH * IN_CLOUDTOID)),
        ),
    ]
    compared = list(compare(contenders).values())
    bare, calls, inline, ring, hundreds, arrays, queue, zmq, fifo, fifo_many, iceoryx, cloudtoid = compared
    return Answer(
        TITLE,
        [(series, per_second(1e-6), "M messages/s") for series in compared],
        [
            Goal("ringipc / multiprocessing.Queue", ring / queue, at_least=40),
            Goal("ringipc / pyzmq", ring / zmq, at_least=12),
            Goal("ringipc / faster-fifo", ring / fifo),
            Goal("ringipc / faster-fifo, both many at once", hundreds / fifo_many),
            Goal("ringipc / iceoryx2", ring / iceoryx),
            Goal("ringipc / cloudtoid-interprocess", ring / cloudtoid, at_least=5),
            Goal("many at once / one at a time", hundreds / ring, at_least=1),
            Goal("4x4 arrays / bytes", arrays / ring, at_least=1 / 1.5),
            Goal("C: rip_put, rip_get / bare ring", calls / bare, at_least=0.4),
            Goal("C: inline calls / bare ring", inline / bare, at_least=0.4),
            Goal("ringipc from Python / C: bare ring", ring / bare, at_least=0.6),
        ],
    )
