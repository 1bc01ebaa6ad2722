"""Pinned processes, rounds of measurements, and printed tables.

This module does not know what is measured. A contender starts, measures a given number of messages on request, and
ends. `compare` interleaves all contenders of a question, so that other load on the machine affects them equally.
"""

import ctypes
import itertools
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from typing import Any, Protocol, Self

ROUNDS = 5
PATIENCE = 60.0  # seconds without an answer after which a contender has failed
ONE_CORE = "left out: it needs two cores, and this process may use only one"
SPAWN = multiprocessing.get_context("spawn")

_numbers = itertools.count()


def unique(stem: str) -> str:
    """Return a name for a file or channel that is unique on this machine and that `sweep` finds."""
    return f"{_prefix()}{stem}-{next(_numbers)}"


def _prefix() -> str:
    return f"bench-{os.getpid()}-"


def sweep() -> list[Path]:
    """Remove the files that this run has left; return those that ringipc should have removed."""
    base = Path(os.environ.get("RINGIPC_DIR", "/dev/shm"))
    channels = sorted(base.glob(f"ringipc-*/{_prefix()}*"))
    # iceoryx2 always leaves an empty directory and the file of its node's shared memory
    others = [path for place in ("/dev/shm", tempfile.gettempdir()) for path in Path(place).glob(f"{_prefix()}*")]
    for path in (*channels, *others):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return channels


# ---- cores ----


@dataclass(frozen=True)
class Cores:
    """The cores of the two sides; `other` is None if there is only one core."""

    first: int
    other: int | None

    @property
    def pair(self) -> tuple[int, int] | None:
        return None if self.other is None else (self.first, self.other)


def choose_cores() -> Cores:
    """Return the first CPU that this process may use, and the next one that is not a thread of the same core."""
    cpus = sorted(os.sched_getaffinity(0))
    threads = _threads_of_core(cpus[0])
    others = [cpu for cpu in cpus[1:] if cpu not in threads]
    return Cores(cpus[0], others[0] if others else None)


def _threads_of_core(cpu: int) -> set[int]:
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return {cpu}
    spans = [[int(n) for n in span.split("-")] for span in text.strip().split(",")]
    return {n for span in spans for n in range(span[0], span[-1] + 1)}


# ---- child processes ----

# An opener opens one end of a contender in a child process. A loop moves a given number of messages through it.
# The loop that measures the time returns seconds per message, the others None.
Opener = Callable[[], AbstractContextManager[Any]]
Loop = Callable[[Any, int], float | None]


def _pin(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    # 1 is PR_SET_PDEATHSIG: a child that spins must not outlive a killed parent
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)


def _serve(connection: Connection, cpu: int, opener: Opener, loop: Loop) -> None:
    _pin(cpu)
    with opener() as end:
        connection.send("open")
        while count := connection.recv():
            connection.send("starting")
            connection.send(loop(end, count))


def _run(connection: Connection, cpu: int, task: Callable[[], Any]) -> None:
    _pin(cpu)
    connection.send(task())


class Child:
    """A pinned process, and a pipe to it."""

    def __init__(self, name: str, target: Callable[..., None], cpu: int, *args: Any) -> None:
        self.name = name
        self.line, far = SPAWN.Pipe()
        self._process: BaseProcess = SPAWN.Process(target=target, args=(far, cpu, *args))
        # The child inherits this: only the parent handles Ctrl-C, and it ends the child.
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._process.start()
        signal.signal(signal.SIGINT, interrupt)
        far.close()  # so that the pipe ends when the child does

    def read(self) -> Any:
        if not self.line.poll(PATIENCE):
            raise TimeoutError(f"{self.name}: no answer for {PATIENCE:g} s")
        try:
            return self.line.recv()
        except EOFError:
            raise RuntimeError(f"{self.name}: a process ended early; see its error above") from None

    def end(self, *, failed: bool) -> None:
        """Ask an idle child to end; terminate it after a failure."""
        if failed:
            self._process.terminate()
        else:
            with suppress(OSError):  # it may have ended already
                self.line.send(0)
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.line.close()

    def check(self) -> None:
        """Raise an error if the child, which has ended, failed."""
        if self._process.exitcode != 0:
            raise RuntimeError(f"{self.name}: a process ended with status {self._process.exitcode}")


def _end_all(children: list[Child], *, failed: bool) -> None:
    for child in children:
        child.end(failed=failed)
    if not failed:
        for child in children:
            child.check()


Side = tuple[int, Opener, Loop]  # the core, the opener, the loop


class Crowd:
    """A contender of several pinned processes. They open their ends once, and run a loop for each measurement.

    They start a measurement in reverse order, receivers first. The longest time of several receivers counts.
    """

    def __init__(self, name: str, sides: Sequence[Side]) -> None:
        self.name = name
        self._sides = sides
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        for cpu, opener, loop in self._sides:
            self._children.append(Child(self.name, _serve, cpu, opener, loop))
        return self

    def wait_until_ready(self) -> None:
        for child in self._children:
            child.read()

    def measure(self, count: int) -> float:
        for child in reversed(self._children):
            child.line.send(count)
            child.read()
        waiting = list(self._children)
        seconds = []
        while waiting:  # reads in any order: if one fails, the others may never answer
            ready = wait([child.line for child in waiting], PATIENCE)
            if not ready:
                raise TimeoutError(f"{self.name}: {count} messages did not arrive within {PATIENCE:g} s")
            for child in [child for child in waiting if child.line in ready]:
                result = child.read()
                waiting.remove(child)
                seconds += [] if result is None else [result]
        return float(max(seconds))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _end_all(self._children, failed=kind is not None)


def together(tasks: Sequence[tuple[int, Callable[[], Any]]]) -> list[Any]:
    """Run tasks at the same time, each in a process of its own on the given core; return their results."""
    children: list[Child] = []
    failed = True
    try:
        children += [Child(str(task), _run, cpu, task) for cpu, task in tasks]
        results = [child.read() for child in children]
        failed = False
        return results
    finally:
        _end_all(children, failed=failed)


# ---- comparison ----


class Contender(AbstractContextManager[Any], Protocol):
    name: str

    def wait_until_ready(self) -> None:
        """Wait until the contender is ready to measure."""

    def measure(self, count: int, /) -> float:
        """Measure this number of messages; return seconds per message."""


@dataclass(frozen=True)
class Missing:
    """A contender that cannot run here, with the reason."""

    name: str
    why: str


@dataclass(frozen=True)
class Series:
    """The results of a contender, one per round: seconds per message, if the question does not define it otherwise."""

    name: str
    values: tuple[float, ...]
    missing: str = ""

    def __truediv__(self, other: "Series") -> tuple[float, ...]:
        """Return how many times as fast this one is as the other one, per round."""
        return tuple(theirs / ours for ours, theirs in zip(self.values, other.values, strict=False))


def _count_for(contender: Contender, seconds: float) -> int:
    """Warm a contender up; return the number of messages that take about this many seconds."""
    count = 10
    while True:
        each = contender.measure(count)
        if each * count > seconds / 5:
            return max(10, int(seconds / each))
        count = min(count * 10, max(count * 2, int(seconds / 4 / each)))


def compare(contenders: Sequence[Contender | Missing], *, seconds: float = 0.25) -> dict[str, Series]:
    """Measure all contenders in each of ROUNDS rounds, each one for about this many seconds."""
    values: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    with ExitStack() as stack:
        present = [contender for contender in contenders if not isinstance(contender, Missing)]
        for contender in present:
            stack.enter_context(contender)
        for contender in present:
            contender.wait_until_ready()
        counts = [_count_for(contender, seconds) for contender in present]
        for _ in range(ROUNDS):
            for contender, count in zip(present, counts, strict=True):
                values[contender.name].append(contender.measure(count))
    return {c.name: Series(c.name, tuple(values[c.name]), c.why if isinstance(c, Missing) else "") for c in contenders}


# ---- output ----


@dataclass(frozen=True)
class Goal:
    """A ratio, and the bound that its median must keep; without a bound it is only printed."""

    what: str
    values: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool:
        middle = median(self.values)
        return (self.at_least is None or middle >= self.at_least) and (self.at_most is None or middle <= self.at_most)


Row = tuple[Series, Callable[[float], float], str]  # a series, the conversion of its values, and their unit


@dataclass(frozen=True)
class Answer:
    """The answer to a question, as its module returns it."""

    title: str
    rows: Sequence[Row] = ()
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def _spread(values: Sequence[float]) -> str:
    return f"{_number(min(values))} .. {_number(max(values))}"


def _print_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    for line in (head, *lines):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _row_line(row: Row) -> tuple[str, str, str, str]:
    series, shown, unit = row
    if series.missing:
        return series.name, series.missing, "", ""
    values = [shown(value) for value in series.values]
    return series.name, _number(median(values)), unit, _spread(values)


def _goal_line(goal: Goal) -> tuple[str, str, str, str, str]:
    if not goal.values:
        return goal.what, "-", "", "", ""
    target = met = ""
    if goal.at_least is not None or goal.at_most is not None:
        target = f">= {goal.at_least:.3g}" if goal.at_least is not None else f"<= {goal.at_most:.3g}"
        met = "yes" if goal.is_met else "NO"
    return goal.what, _number(median(goal.values)), _spread(goal.values), target, met


def print_answer(answer: Answer) -> None:
    print(f"\n{answer.title}")
    if answer.rows:
        _print_table(("measured", "median", "", "spread"), [_row_line(row) for row in answer.rows])
        print()
    if answer.goals:
        _print_table(("compared", "median", "spread", "target", "met"), [_goal_line(goal) for goal in answer.goals])
    for note in answer.notes:
        print(f"  {note}")
    sys.stdout.flush()


def per_second(scale: float) -> Callable[[float], float]:
    """Return a conversion from seconds per message to messages, or bytes, per second."""
    return lambda seconds: scale / seconds


def scaled(scale: float) -> Callable[[float], float]:
    return lambda value: value * scale
