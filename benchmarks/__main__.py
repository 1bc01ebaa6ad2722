"""Run the benchmarks that the command line names, or all of them, and print the results."""

import argparse
import importlib.metadata
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import (
    call,
    gaps,
    large,
    latest,
    many,
    mp,
    order,
    requests,
    roundtrip,
    small,
    streams,
    units,
    values,
    waiting,
    writers,
)
from ._harness import ROUNDS, Answer, Cores, choose_cores, print_answer, sweep

QUESTIONS: dict[str, Callable[[Cores], Answer]] = {
    "small": small.ask,
    "call": call.ask,
    "large": large.ask,
    "many": many.ask,
    "order": order.ask,
    "roundtrip": roundtrip.ask,
    "requests": requests.ask,
    "waiting": waiting.ask,
    "gaps": gaps.ask,
    "units": units.ask,
    "latest": latest.ask,
    "values": values.ask,
    "streams": streams.ask,
    "mp": mp.ask,
    "writers": writers.ask,
}
COMPARED = ("ringipc", "numpy", "pyzmq", "faster-fifo", "iceoryx2", "cloudtoid-interprocess", "msgspec", "posix_ipc")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _print_machine(cores: Cores) -> None:
    used = f"core {cores.first}, the only one" if cores.other is None else f"cores {cores.first} and {cores.other}"
    print(f"{_processor()}, {used}; {platform.system()} {platform.release()}; Python {platform.python_version()}")
    print(", ".join(f"{package} {_version(package)}" for package in COMPARED))
    load = os.getloadavg()[0]
    print(
        f"Load average {load:.2f}"
        + (": other programs use the cores too, so the figures are not reliable" if load > 0.5 else "")
    )
    print(
        f"Medians of {ROUNDS} rounds. Each round measures all contenders; a ratio compares two in one round.",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("question", nargs="*", default=list(QUESTIONS), help=", ".join(QUESTIONS))
    asked = parser.parse_args().question
    if unknown := [question for question in asked if question not in QUESTIONS]:
        parser.error(f"unknown question: {', '.join(unknown)} (choose from {', '.join(QUESTIONS)})")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # exits, which ends the children
    cores = choose_cores()
    _print_machine(cores)
    started = time.monotonic()
    try:
        for question in asked:
            print_answer(QUESTIONS[question](cores))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        left = sweep()
    for path in left:
        print(f"ringipc did not remove {path}", file=sys.stderr)
    print(f"\n{time.monotonic() - started:.0f} s")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
