"""The standard library's own tests of multiprocessing pass over `ringipc.mp`; see stdlib_mp."""

import os
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        find_spec("test") is None or find_spec("test._test_multiprocessing") is None,
        reason="this Python comes without the tests of the standard library",
    ),
]

LIMIT = 280  # seconds for the tests of one start method


def _group(leader: int) -> list[str]:
    """Return the command lines of the processes in a process group."""
    members = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            stat = (directory / "stat").read_text().rpartition(")")[2].split()
            command = (directory / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        if int(stat[2]) == leader and stat[0] != "Z":
            members.append(f"{directory.name}: {command}")
    return members


def _run(method: str, failures: list[str]) -> None:
    """Run the tests of a start method in a process group of their own, which is killed in the end."""
    command = [sys.executable, "-m", "stdlib_mp", method]
    tests = subprocess.Popen(
        command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        process_group=0,
    )  # fmt: skip
    try:
        output, _ = tests.communicate(timeout=LIMIT)
        if tests.returncode != 0:
            failures.append(f"{method}: exit status {tests.returncode}\n{output}")
        elif left := _group(tests.pid):
            failures.append(f"{method}: processes are left: {left}")
    except subprocess.TimeoutExpired:
        left = _group(tests.pid)
        os.killpg(tests.pid, signal.SIGKILL)
        output, _ = tests.communicate()
        failures.append(f"{method}: not finished after {LIMIT} s; left: {left}\n{output}")
    finally:
        if _group(tests.pid):
            os.killpg(tests.pid, signal.SIGKILL)


def test_the_tests_of_the_standard_library_pass() -> None:
    """Two start methods at a time: children of spawn take as long to start as those of the other two together."""
    failures: list[str] = []
    spawn = threading.Thread(target=_run, args=("spawn", failures))
    spawn.start()
    _run("fork", failures)
    _run("forkserver", failures)
    spawn.join()
    assert not failures, "\n\n".join(failures)
