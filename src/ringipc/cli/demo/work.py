"""The demo's two child processes: the source of the frames, and the worker that marks what moves in them."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import RingError
from .frame import GRAIN, DamagedFrame, Pixels, check, checksum
from .link import PATIENCE, Link, Reader, Room, patiently
from .video import decode, most_frames


@dataclass(frozen=True)
class Decoded:
    """The source has decoded done frames of at most total; fewer if the clip ends before."""

    done: int
    total: int


@dataclass(frozen=True)
class Ready:
    """The source waits for the start, or the worker for its first frame."""


@dataclass(frozen=True)
class Finished:
    """The stream has ended.

    Attributes
    ----------
    frames
        Number of frames that this process has handled.
    cpu
        CPU seconds that it used.
    work
        Seconds of wall time in which the worker checked and marked frames.
    """

    frames: int
    cpu: float
    work: float = 0.0


@dataclass(frozen=True)
class Failed:
    """This process ends because of an error."""

    text: str


def child(job: Callable[..., None], control: Connection, *arguments: Any) -> None:
    """Run a child process. Its parent can kill it at any time."""
    try:
        job(control, *arguments)
    except (DamagedFrame, RingError, OSError, MemoryError) as error:
        with suppress(BrokenPipeError):  # the parent has ended
            control.send(Failed(str(error)))
        sys.exit(1)


def source(control: Connection, frames: Link, clip: Path, width: int, height: int, seconds: float) -> None:
    """Decode the frames, wait for the start, then send them forwards and backwards for a number of seconds."""
    with frames.writer() as room:
        stock = []
        for pixels in decode(clip, width, height):
            stock.append((pixels, checksum(pixels)))
            control.send(Decoded(len(stock), most_frames(width, height)))
        back_and_forth = cycle([*stock, *stock[-2:0:-1]])  # no jump from the last frame to the first
        control.send(Ready())
        try:
            control.recv()
        except EOFError:  # the parent has ended
            return
        cpu = time.process_time()
        end = time.monotonic() + seconds
        for seq, (pixels, its_checksum) in enumerate(back_and_forth):
            sent = time.monotonic_ns()
            with room() as record:
                record["pixels"] = pixels
                record["seq"] = seq
                record["sent"] = sent
                record["checksum"] = its_checksum
            if time.monotonic() >= end:
                break
        control.send(Finished(seq + 1, time.process_time() - cpu))


def worker(control: Connection, frames: Link, results: Link) -> None:
    """Check each frame, mark what moves in it, and send the result, until the stream of the source ends."""
    with frames.reader() as reader, results.writer() as room:
        motion = Motion()
        control.send(Ready())
        cpu = time.process_time()
        work = 0.0
        for seq in count():
            try:
                work += _handle_one(seq, reader, room, motion)
            except EOFError:  # if the source has failed, the parent knows
                break
        control.send(Finished(seq, time.process_time() - cpu, work))


def _handle_one(seq: int, reader: Reader, room: Room, motion: "Motion") -> float:
    """Handle a frame; return the seconds of work, without transport. Keeps no reference to the frame."""
    record = patiently(lambda: reader.get(PATIENCE))
    backlog = reader.backlog()
    start = time.perf_counter()
    check(record, seq)
    work = time.perf_counter() - start
    with room() as result:
        start = time.perf_counter()
        motion.mark(record["pixels"], result["pixels"])
        result["seq"] = seq
        result["sent"] = record["sent"]
        result["checksum"] = checksum(result["pixels"])
        result["backlog"] = backlog
        work += time.perf_counter() - start
    return work


class Motion:
    """Marks what moves: blocks of 8 × 8 pixels that changed since the last frame become orange, the rest is dimmed."""

    # For the sum of 36 differences: samples of a block and its neighbours. Larger than noise and grass in the wind.
    _THRESHOLD = 500
    _TINT = np.tile(np.array([160, 40, 0], np.uint8), GRAIN).view(np.uint64)  # one row of a block

    def __init__(self) -> None:
        self._before: npt.NDArray[np.int16] | None = None

    def mark(self, frame: Pixels, result: Pixels) -> None:
        """Write the marked frame to result."""
        luma = frame[::4, ::4, 1].astype(np.int16)  # approximated by green
        np.right_shift(frame, 1, out=result)
        if self._before is not None:
            y, x = np.nonzero(_summed_around(_summed_in_fours(np.abs(luma - self._before))) > self._THRESHOLD)
            _rows_of_blocks(result)[y, :, x] = _rows_of_blocks(frame)[y, :, x] | self._TINT
        self._before = luma


def _summed_in_fours(a: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    rows: npt.NDArray[np.int16] = a[::2] + a[1::2]
    sums: npt.NDArray[np.int16] = rows[:, ::2] + rows[:, 1::2]
    return sums


def _summed_around(a: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Return the sum of each element and its eight neighbours."""
    rows = a.copy()
    rows[1:] += a[:-1]
    rows[:-1] += a[1:]
    sums = rows.copy()
    sums[:, 1:] += rows[:, :-1]
    sums[:, :-1] += rows[:, 1:]
    return sums


def _rows_of_blocks(pixels: Pixels) -> npt.NDArray[np.uint64]:
    """Return a view with the axes: block row, row in it, block column, 64-bit words of that row."""
    height, width, _ = pixels.shape
    words = pixels.reshape(height // GRAIN, GRAIN, width * 3).view(np.uint64)
    return words.reshape(height // GRAIN, GRAIN, width // GRAIN, 3)
