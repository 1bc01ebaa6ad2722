"""The output of the demo: the progress of a run, and the results of both runs."""

import os
import platform
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from .link import DEPTH
from .runs import Run

if TYPE_CHECKING:  # an extra: not imported before it is needed
    from rich.console import Console
    from rich.table import Table

_LATELY = 1.0  # seconds that the live figures cover


class Live:
    """A line that shows the progress of a run. It is drawn only when something changes, to cost little."""

    def __init__(self, console: "Console", name: str, seconds: float) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        columns = TextColumn("{task.description:<5}"), BarColumn(10), TextColumn("{task.fields[figures]}")
        self._progress = Progress(*columns, console=console, auto_refresh=False)
        self._task = self._progress.add_task(name.rpartition(".")[2], figures="")
        self._seconds = seconds

    def decoding(self, done: int, total: int) -> None:
        self._show(done, total, f"decoding ahead: {done} of at most {total} frames" if done else "starting")

    def running(self, run: Run, elapsed: float) -> None:
        window = min(elapsed, _LATELY)
        lately = run.since(elapsed - window)
        if not lately.frames:
            self._show(elapsed, self._seconds, "0 frames/s")
            return
        rate = lately.frames / window
        self._show(
            elapsed,
            self._seconds,
            f"{rate:4.0f} frames/s {run.bytes_moved * rate / 1e9:5.2f} GB/s "
            f"p50 {lately.latency(50) * 1e3:5.1f} p99 {lately.latency(99) * 1e3:5.1f} ms, "
            f"{run.waiting[0]}+{run.waiting[1]} queued",
        )

    def done(self, run: Run) -> None:
        self._show(1, 1, f"frames back: {run.frames}, all intact and in order")

    def _show(self, done: float, total: float, figures: str) -> None:
        self._progress.update(self._task, completed=done, total=total, figures=figures, refresh=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def table(rings: Run, queue: Run) -> "Table":
    """Return both runs, side by side."""
    from rich.table import Table

    table = Table("")
    for heading in (rings.name, queue.name, "ratio"):
        table.add_column(heading, justify="right")
    table.add_row("frames", str(rings.frames), str(queue.frames), "")
    for what, digits, a, b in (
        ("frames/s", 1, rings.rate, queue.rate),
        ("GB/s moved", 2, rings.bytes_moved * rings.rate / 1e9, queue.bytes_moved * queue.rate / 1e9),
        ("latency p50, ms", 1, rings.latency(50) * 1e3, queue.latency(50) * 1e3),
        ("latency p99, ms", 1, rings.latency(99) * 1e3, queue.latency(99) * 1e3),
        ("work ms a frame", 1, rings.work / rings.frames * 1e3, queue.work / queue.frames * 1e3),
        ("CPU seconds", 1, rings.cpu, queue.cpu),
        ("CPU ms a frame", 1, rings.cpu / rings.frames * 1e3, queue.cpu / queue.frames * 1e3),
    ):
        table.add_row(what, f"{a:.{digits}f}", f"{b:.{digits}f}", _ratio(a, b))
    return table


def _ratio(a: float, b: float) -> str:
    """Return the ratio of two positive numbers.

    >>> _ratio(300, 25), _ratio(2, 5)
    ('12 : 1', '1 : 2.5')
    """
    return f"{a / b:.2g} : 1" if a > b else f"1 : {b / a:.2g}"


def what_was_measured(clip: Path, run: Run) -> "Table":
    """Return what the figures include."""
    from rich.table import Table

    notes = Table.grid(padding=(0, 2))
    for what, meaning in (
        (
            "frames",
            f"{run.decoded} of {clip.name}, decoded and scaled to {run.size[0]}×{run.size[1]} beforehand, then sent "
            "forwards and backwards at full speed, from the source to a worker that marks what moves, to this process",
        ),
        (
            "the same",
            f"in both runs: frames, work, checks, and the capacity of each of the two links ({DEPTH} frames)",
        ),
        ("checked", "the number of each frame and a checksum of all its bytes, in the worker and in this process"),
        ("GB/s", f"the {run.frame_bytes / 1e6:.1f} MB of a frame count in each of the two links"),
        ("latency", "from when the source has a frame ready until its result arrives, including the wait for room"),
        ("work", "the time of the worker's checks and marking, which limits the rate over any transport"),
        ("CPU", "of all three processes, including work, checks and this display, without decoding"),
    ):
        notes.add_row(what, meaning)
    return notes


def machine() -> str:
    """Return the machine and the versions, in one line."""
    from ... import __version__

    cores = len(os.sched_getaffinity(0))
    return (
        f"{_processor()}, {cores} core{'s' if cores > 1 else ''}; {platform.system()}; "
        f"Python {platform.python_version()}; NumPy {np.__version__}; ringipc {__version__}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
