"""One run of the demo and its measurements."""

import queue
import time
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from . import work
from .crew import Crew, RunFailed
from .frame import Pixels, check
from .link import Link, Reader

SAMPLES = 8  # results kept for the picture
_TICK = 0.2  # seconds between two polls of the children, and two updates of the display


@dataclass
class Run:
    """The measurements of a run. The lists have one element for each frame that came back intact.

    Attributes
    ----------
    name
        Of the kind of link.
    size
        Of the frames, width and height.
    arrivals
        Seconds from the start until the result arrived.
    latencies
        Seconds from when the source had the frame ready until its result arrived.
    waiting
        Number of frames in the first and second link, at the last frame.
    samples
        A few of the results.
    cpu
        CPU seconds of all three processes.
    work
        Seconds of wall time in which the worker checked and marked frames.
    decoded
        Number of different frames.
    """

    name: str
    size: tuple[int, int]
    arrivals: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    waiting: tuple[int, int] = (0, 0)
    samples: list[Pixels] = field(default_factory=list)
    cpu: float = 0.0
    work: float = 0.0
    decoded: int = 0

    @property
    def frames(self) -> int:
        return len(self.arrivals)

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.arrivals[-1]

    @property
    def frame_bytes(self) -> int:
        """Size of the pixels of one frame."""
        return self.size[0] * self.size[1] * 3

    @property
    def bytes_moved(self) -> int:
        """For each frame; it counts in each of the two links."""
        return 2 * self.frame_bytes

    def latency(self, percentile: float) -> float:
        """Return the latency in seconds."""
        return float(np.percentile(self.latencies, percentile))

    def since(self, moment: float) -> "Run":
        """Return the part of the run after a moment, in seconds."""
        first = bisect_left(self.arrivals, moment)
        arrivals = [arrival - moment for arrival in self.arrivals[first:]]
        return Run(self.name, self.size, arrivals, self.latencies[first:], self.waiting)


class Display(Protocol):
    """Displays the progress of a run."""

    def decoding(self, done: int, total: int) -> None: ...

    def running(self, run: Run, elapsed: float) -> None: ...


def play(
    name: str, frames: Link, results: Link, clip: Path, size: tuple[int, int], seconds: float, display: Display
) -> Run:
    """Send a clip through the source, the worker and this process.

    Raises
    ------
    DamagedFrame
        A result was not what the worker sent.
    RunFailed
        One of the processes failed or died.
    """
    run = Run(name, size)
    with frames.held(), results.held(), Crew() as crew:
        crew.start("source", work.source, frames, clip, *size, seconds)
        crew.start("worker", work.worker, frames, results)
        crew.await_ready(lambda: display.decoding(*crew.decoded))
        run.decoded, _ = crew.decoded
        wanted = {max(k, k * (run.decoded - 1) // SAMPLES) for k in range(1, SAMPLES + 1)}
        with results.reader() as reader:
            crew.go("source")
            start = time.monotonic_ns()
            cpu = time.process_time()
            next_poll = _TICK
            with suppress(EOFError):  # the end of the stream; if the worker has failed, the crew knows
                while True:
                    with suppress(queue.Empty):
                        _take(run, reader, start, wanted)
                    elapsed = (time.monotonic_ns() - start) * 1e-9
                    if elapsed >= next_poll:
                        next_poll = elapsed + _TICK
                        crew.poll()
                        display.running(run, elapsed)
            run.cpu = time.process_time() - cpu
        crew.await_end()
    sent = crew.finished["source"].frames
    if sent != run.frames:
        raise RunFailed(f"{sent} frames were sent, {run.frames} came back")
    run.cpu += sum(finished.cpu for finished in crew.finished.values())
    run.work = crew.finished["worker"].work
    return run


def _take(run: Run, reader: Reader, start: int, wanted: set[int]) -> None:
    record = reader.get(_TICK)
    now = time.monotonic_ns()
    check(record, run.frames)
    if run.frames in wanted:
        run.samples.append(record["pixels"].copy())
    run.arrivals.append((now - start) * 1e-9)
    run.latencies.append((now - int(record["sent"])) * 1e-9)
    run.waiting = int(record["backlog"]), reader.backlog()
