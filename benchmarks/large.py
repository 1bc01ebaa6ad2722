"""How many bytes per second in large arrays, at several capacities? Does reserve cost the same at every size?"""

from collections.abc import Callable
from functools import partial
from itertools import repeat
from time import perf_counter
from typing import Any

import numpy as np

from ._contenders import (
    FRAMES,
    FasterFifo,
    Frame,
    Iceoryx2,
    Ring,
    StandardQueue,
    Transport,
    ZeroMQ,
    between,
    if_installed,
)
from ._harness import ONE_CORE, Answer, Contender, Cores, Crowd, Goal, Missing, Row, Series, compare, per_second, scaled
from ._limits import program

TITLE = "large: arrays copied in and viewed in another process, which touches the first and the last element"
SHAPES = {"1 MiB": ((512, 512), "f4"), "6 MiB": ((1024, 2048, 3), "u1")}
CAPACITIES = (16, 64, 256)  # MiB
RESERVED = (4096, 65536, 1 << 20, 6 << 20)  # bytes
SECONDS = 0.2  # short, because there are many contenders


def _frame(size: str) -> Frame:
    shape, dtype = SHAPES[size]
    frame = np.zeros(shape, dtype)
    frame.flat[0], frame.flat[-1] = 1, 2
    return frame


def put_frames(size: str, end: Any, count: int) -> None:
    put = end.put
    frame = _frame(size)
    for _ in repeat(None, count + 1):
        put(frame)


def fill_reserved(size: int, end: Any, count: int) -> None:
    reserve = end.reserve
    for _ in repeat(None, count + 1):
        with reserve(size) as frame:
            frame[0], frame[-1] = 1, 2


def get_frames(keep: bool, end: Any, count: int) -> float:
    """Read each frame and release it, like the reader of the C ring, or keep it until the next one has arrived."""
    get = end.get
    frame = get()
    total = 0
    start = perf_counter()
    for _ in repeat(None, count):
        frame = get()
        total += frame.item(0) + frame.item(-1)
        if not keep:
            del frame
    seconds = perf_counter() - start
    if total != 3 * count:
        raise RuntimeError(f"a frame was damaged: sum {total} for {count} frames")
    return seconds / count


def _compare_frames(size: str, pair: tuple[int, int]) -> tuple[list[Series], list[Goal]]:
    frame = _frame(size)

    def frames(name: str, transport: Transport, *, keep: bool = False) -> Crowd:
        return between(f"{size} {name}", pair, transport, partial(put_frames, size), partial(get_frames, keep))

    def optional(module: str, name: str, make: Callable[[], Transport]) -> Contender | Missing:
        return if_installed(module, f"{size} {name}", lambda: frames(name, make()))

    small, middle, large = (
        frames(f"ringipc, capacity {capacity} MiB", Ring(capacity=capacity << 20)) for capacity in CAPACITIES
    )
    contenders: list[Contender | Missing] = [
        small,
        program(f"{size} C: two hot slots", "spsc", frame.nbytes, cores=pair),
        middle,
        large,
        frames("ringipc, each kept until the next arrives", Ring(), keep=True),
        optional("iceoryx2", "iceoryx2", lambda: Iceoryx2(FRAMES, frame.nbytes, frame)),
        frames("multiprocessing.Queue", StandardQueue(FRAMES)),
        optional("zmq", "pyzmq, copy=False", lambda: ZeroMQ(FRAMES, frame)),
        optional("faster_fifo", "faster-fifo", lambda: FasterFifo(FRAMES * (frame.nbytes + 8), frame)),
        program(f"{size} C: memcpy, hot", "copy", "hot", frame.nbytes, cores=pair[:1]),
        program(f"{size} C: memcpy, cold", "copy", "cold", frame.nbytes, cores=pair[:1]),
    ]
    series = list(compare(contenders, seconds=SECONDS).values())
    small_ring, bare, ring, large_ring, keeping, iceoryx, queue, zmq, fifo, _, _ = series
    return series, [
        *(Goal(f"{one.name} / C: two hot slots", one / bare, at_least=0.9) for one in (small_ring, ring, large_ring)),
        Goal(f"{keeping.name} / C: two hot slots", keeping / bare),
        Goal(f"{ring.name} / multiprocessing.Queue", ring / queue, at_least=40),
        Goal(f"{ring.name} / iceoryx2", ring / iceoryx),
        Goal(f"{ring.name} / pyzmq", ring / zmq),
        Goal(f"{ring.name} / faster-fifo", ring / fifo),
    ]


def _compare_reserved(pair: tuple[int, int]) -> tuple[list[Series], list[Goal]]:
    contenders = [  # with the same small backlog at every size
        between(
            f"reserve, {size} bytes", pair, Ring(slots=FRAMES), partial(fill_reserved, size), partial(get_frames, False)
        )
        for size in RESERVED
    ]
    series = list(compare(contenders, seconds=SECONDS).values())
    least, *_, most = series
    return series, [Goal(f"time: {most.name} / {RESERVED[0]} bytes", least / most, at_most=1.25)]


def ask(cores: Cores) -> Answer:
    if cores.pair is None:
        return Answer(TITLE, notes=[ONE_CORE])
    rows: list[Row] = []
    goals: list[Goal] = []
    for size in SHAPES:
        series, more = _compare_frames(size, cores.pair)
        rows += [(one, per_second(_frame(size).nbytes * 1e-9), "GB/s") for one in series]
        goals += more
    series, more = _compare_reserved(cores.pair)
    rows += [(one, scaled(1e6), "us") for one in series]
    return Answer(TITLE, rows, goals + more)
