"""`ringipc demo`, run as a user runs it: its results, its failures, and what it leaves."""

import os
import signal
import struct
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import ringipc
from ringipc.cli import main
from ringipc.cli.demo.frame import DamagedFrame, Record, check, checksum, record_dtype

needs_extra = pytest.mark.skipif(
    not all(find_spec(package) for package in ("av", "matplotlib", "rich", "skvideo")), reason="needs the extra demo"
)
SMALL = ("--size", "320x192")


@contextmanager
def running(tmp_path: Path, *arguments: str, script: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Run the demo in a directory of its own, as the leader of its own process group."""
    (tmp_path / "channels").mkdir()
    program = [str(script)] if script else ["-m", "ringipc"]
    process = subprocess.Popen(
        [sys.executable, *program, "demo", *SMALL, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"RINGIPC_DIR": str(tmp_path / "channels")},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def channels(tmp_path: Path) -> list[str]:
    """Return the files in the directory of the demo's channels."""
    return [str(path) for path in (tmp_path / "channels").rglob("*")]


def await_(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Return the pids of the demo's children, the source first."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in pids if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"  # a zombie does not run
    except OSError:
        return False


def await_frames(tmp_path: Path, process: "subprocess.Popen[str]") -> list[int]:
    """Wait until frames pass through both channels; return the pids of source and worker."""

    def are_whole() -> bool:
        lanes = list(tmp_path.glob("channels/*/demo-*/lane-*"))
        return len(lanes) == 2 and all(ringipc.Channel.open(lane.parent.name).groups for lane in lanes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RINGIPC_DIR", str(tmp_path / "channels"))
        await_(are_whole, "the channels were not made")
    time.sleep(1)
    return children(process.pid)


def frame_record() -> Record:
    record: Record = np.zeros((), record_dtype(64, 64))
    record["pixels"] = np.random.default_rng(1).integers(0, 256, (64, 64, 3))
    record["seq"] = 3
    record["checksum"] = checksum(record["pixels"])
    return record


@needs_extra
def test_a_short_run_checks_frames_over_both_transports_and_draws_a_picture(tmp_path: Path) -> None:
    with running(tmp_path, "--seconds", "0.5", "--picture", "sheet.png") as process:
        out, err = process.communicate(timeout=50)
    assert (process.returncode, err) == (0, "")
    assert out.count("all intact and in order") == 2
    assert "multiprocessing.Queue" in out
    head = (tmp_path / "sheet.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:]) == (1600, 1025)
    assert channels(tmp_path) == []


@needs_extra
@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1], ids=["source", "worker"])
def test_a_killed_child_ends_the_demo_and_is_named(tmp_path: Path, victim: int) -> None:
    with running(tmp_path, "--seconds", "60") as process:
        pids = await_frames(tmp_path, process)
        os.kill(pids[victim], signal.SIGKILL)
        _, err = process.communicate(timeout=10)
    name = ("source", "worker")[victim]
    assert process.returncode == 1
    assert err == f"ringipc demo: failed: the {name} process (pid {pids[victim]}) was killed by signal SIGKILL\n"
    assert channels(tmp_path) == []


@needs_extra
@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1], ids=["source", "worker"])
def test_a_killed_child_of_the_queue_run_ends_the_demo_too(tmp_path: Path, victim: int) -> None:
    with running(tmp_path, "--seconds", "4") as process:
        first = await_frames(tmp_path, process)
        await_(lambda: len(set(children(process.pid)) - set(first)) == 2, "the second run did not start")
        time.sleep(2)
        pid = children(process.pid)[victim]
        os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=10)
    assert process.returncode == 1
    assert f"(pid {pid}) was killed by signal SIGKILL" in err
    assert "Traceback" not in err


@needs_extra
def test_ctrl_c_ends_all_processes_and_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "--seconds", "60") as process:
        pids = await_frames(tmp_path, process)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=5)
    assert (process.returncode, err) == (130, "ringipc demo: stopped\n")
    assert not any(map(is_running, pids))
    assert channels(tmp_path) == []


@needs_extra
@pytest.mark.long
def test_children_of_a_killed_parent_end_and_clean_up(tmp_path: Path) -> None:
    with running(tmp_path, "--seconds", "60") as process:
        pids = await_frames(tmp_path, process)
        process.kill()
        await_(lambda: not any(map(is_running, pids)), "the children still run")
    assert channels(tmp_path) == []


DAMAGING = """
import multiprocessing, sys, time
from ringipc.cli import main
from ringipc.cli.demo import work

honest = work.checksum

def text_after_close(error):
    time.sleep(0.3)  # the channel has closed before the parent reads what happened
    return ValueError.__str__(error)

work.DamagedFrame.__str__ = text_after_close

def damaging(pixels):
    value = honest(pixels)
    pixels[9, 9, 0] ^= 1
    return value

if multiprocessing.current_process().name == "{process}":
    work.checksum = damaging
if __name__ == "__main__":
    sys.exit(main())
"""


@needs_extra
@pytest.mark.long
@pytest.mark.parametrize(("sender", "finder"), [("source", "worker: "), ("worker", "")])
def test_a_frame_that_its_sender_damages_fails_the_demo(tmp_path: Path, sender: str, finder: str) -> None:
    script = tmp_path / "damaging.py"
    script.write_text(DAMAGING.format(process=sender))
    with running(tmp_path, "--seconds", "60", script=script) as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.startswith(f"ringipc demo: failed: {finder}frame 0 arrived damaged: its checksum is ")
    assert err.count("\n") == 1
    assert channels(tmp_path) == []


def test_the_check_accepts_an_intact_frame() -> None:
    check(frame_record(), 3)


def test_the_check_finds_a_change_in_any_byte() -> None:
    record = frame_record()
    pixels = record["pixels"].reshape(-1)
    for i in range(pixels.size):
        pixels[i] ^= 0x80
        with pytest.raises(DamagedFrame, match="frame 3 arrived damaged"):
            check(record, 3)
        pixels[i] ^= 0x80


def test_the_check_finds_swapped_rows() -> None:
    record = frame_record()
    record["pixels"][[5, 6]] = record["pixels"][[6, 5]]
    with pytest.raises(DamagedFrame, match="frame 3 arrived damaged"):
        check(record, 3)


def test_the_check_finds_a_frame_out_of_order() -> None:
    with pytest.raises(DamagedFrame, match="frame 3 arrived instead of frame 2"):
        check(frame_record(), 2)


@needs_extra
def test_a_file_that_is_not_a_video_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video, whatever its name says\n" * 100)
    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    for path, problem in (
        (tmp_path / "nowhere.mp4", "there is no such file"),
        (tmp_path, "is not a file"),
        (text, "is not a video that can be decoded"),
        (sound, "has no video stream"),
    ):
        assert main(["demo", str(path)]) == 2
        err = capsys.readouterr().err
        assert err.startswith("ringipc demo: ")
        assert str(path) in err
        assert problem in err
        assert err.count("\n") == 1


@needs_extra
def test_a_picture_that_could_not_be_written_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--picture", "/no/such/directory/sheet.png"]) == 2
    assert capsys.readouterr().err == "ringipc demo: the picture cannot be written to /no/such/directory/sheet.png\n"


@pytest.mark.parametrize("package", ["av", "matplotlib", "rich"])
def test_without_its_extra_the_demo_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["demo"]) == 2
    assert 'pip install ".[demo]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("--size", "100x100"), ("--size", "big"), ("--seconds", "0"), ("--seconds", "soon")]
)
def test_invalid_arguments_are_refused(arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["demo", *arguments])
    assert exit_.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_importing_the_command_line_does_not_import_the_extra() -> None:
    code = "import ringipc.cli, sys; print({'av', 'matplotlib', 'rich', 'skvideo'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "set()\n"
