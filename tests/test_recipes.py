"""The programs of docs/recipes.md as they stand: each function in a process of its own, some of them killed."""

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import wave
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from recipes import PROGRAMS

import ringipc
from ringipc.cli import main

Process = subprocess.Popen[str]
Run = Callable[..., Process]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts a function of a recipe in a process, with `tmp_path` as its current directory."""
    started: list[Process] = []

    def run(program: str, *arguments: str) -> Process:
        file = tmp_path / program
        if not file.exists():  # a process that has just started may still be reading it
            file.write_text(PROGRAMS[program])
        command = [sys.executable, "-W", "error", program, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    if any(process.returncode for process in started):
        assert main(["clean", "--messages"]) == 0  # what was left by those that were killed


def result(process: Process) -> str:
    """Wait until a process ends, which must be without an error, and return what it has printed."""
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    return out


def await_(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lines(path: Path) -> list[str]:
    """The complete lines of a file that may not exist yet."""
    return re.findall(r"(.*)\n", path.read_text()) if path.exists() else []


def lanes(channel: str) -> list[ringipc.Lane]:
    """The lanes of a channel that may not exist yet."""
    try:
        return ringipc.Channel.open(channel).lanes
    except ringipc.ChannelNotFound:
        return []


def groups(channel: str) -> list[ringipc.Group]:
    """The groups of a channel that may not exist yet."""
    try:
        return ringipc.Channel.open(channel).groups
    except ringipc.ChannelNotFound:
        return []


def kill(process: Process) -> str:
    """Kill a process, and return what it has printed."""
    assert process.poll() is None
    process.kill()
    return process.communicate()[0]


def test_every_program_of_the_page_has_a_test() -> None:
    here = Path(__file__).read_text()
    assert len(PROGRAMS) > 10
    assert [name for name in PROGRAMS if f'run("{name}"' not in here] == []


@pytest.mark.parametrize("order", ["before", pytest.param("after", marks=pytest.mark.long)])
def test_a_slow_viewer_loses_frames_and_the_recorder_has_all(run: Run, tmp_path: Path, order: str) -> None:
    first = ["view", "camera"] if order == "before" else ["camera", "view"]
    processes = {function: run("camera.py", function) for function in first}
    await_(lambda: "view" in [group.name for group in groups("camera") if group.pids])
    processes |= {function: run("camera.py", function) for function in ("detect", "record")}
    printed = {function: result(process) for function, process in processes.items()}
    film = np.fromfile(tmp_path / "film.raw", "u1").reshape(100, -1)
    assert (film == np.arange(100)[:, None]).all()
    assert printed["detect"] == "".join(f"bright: {n}\n" for n in range(96, 100))
    shown, missed = map(int, re.findall(r"\d+", printed["view"]))
    assert (shown + missed, missed > 0) == (100, True)


def samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 48_000)
        found = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert len(found) == file.getnframes()
    assert (found == np.arange(len(found)) % 109 * 100).all()
    return found


def test_a_wav_file_has_all_samples(run: Run, tmp_path: Path) -> None:
    recorder, microphone = run("audio.py", "record"), run("audio.py", "microphone")
    result(microphone)
    result(recorder)
    assert len(samples(tmp_path / "sound.wav")) == 40 * 1024


@pytest.mark.long
def test_a_wav_file_is_whole_if_the_microphone_is_killed(run: Run, tmp_path: Path) -> None:
    recorder, microphone = run("audio.py", "record"), run("audio.py", "microphone")
    sound = tmp_path / "sound.wav"
    await_(lambda: sound.exists() and sound.stat().st_size > 0)
    kill(microphone)
    _, err = recorder.communicate(timeout=20)
    assert recorder.returncode == 1
    assert "ProducerDied" in err
    assert 0 < len(samples(sound)) < 40 * 1024


def jobs_done(tmp_path: Path) -> Counter[int]:
    return Counter(int(line.split()[0]) for line in lines(tmp_path / "done.txt"))


def test_each_job_is_done_once(run: Run, tmp_path: Path) -> None:
    workers = [run("jobs.py", "work") for _ in range(2)]
    assert result(run("jobs.py", "submit")) == "all done\n"
    assert jobs_done(tmp_path) == Counter(range(60))
    assert result(run("jobs.py", "submit")) == "all done\n"
    assert jobs_done(tmp_path) == Counter([*range(60)] * 2)
    for worker in workers:
        kill(worker)


@pytest.mark.long
def test_the_job_of_a_killed_worker_is_done_by_another(run: Run, tmp_path: Path) -> None:
    workers = [run("jobs.py", "work") for _ in range(3)]
    submitter = run("jobs.py", "submit")
    await_(lambda: jobs_done(tmp_path).total() > 10)
    victim = int(lines(tmp_path / "done.txt")[-1].split()[1])
    kill(next(worker for worker in workers if worker.pid == victim))
    assert result(submitter) == "all done\n"
    assert set(jobs_done(tmp_path)) == set(range(60))
    assert jobs_done(tmp_path).total() <= 61


@pytest.mark.long
def test_jobs_wait_for_a_new_worker_if_the_only_one_is_killed(run: Run, tmp_path: Path) -> None:
    worker, submitter = run("jobs.py", "work"), run("jobs.py", "submit")
    await_(lambda: jobs_done(tmp_path).total() > 5)
    kill(worker)
    run("jobs.py", "work")
    assert result(submitter) == "all done\n"
    assert set(jobs_done(tmp_path)) == set(range(60))
    assert jobs_done(tmp_path).total() <= 61


def test_the_statistics_are_those_of_all_ticks(run: Run) -> None:
    statistics, first = run("market.py", "statistics"), run("market.py", "feed")
    result(first)
    result(run("market.py", "feed"))
    printed = [line.split() for line in result(statistics).splitlines()]
    chance = np.random.default_rng(1)
    prices = []
    sizes = []
    for _ in range(200):
        prices.append(100 + chance.standard_normal(50))
        sizes.append(chance.integers(1, 100, 50))
    assert [int(count) for count, _, _ in printed] == list(range(50, 20_001, 50))
    window, weights = np.concatenate(prices[-20:]), np.concatenate(sizes[-20:])
    assert printed[-1][1:] == [f"{np.average(window, weights=weights):.6f}", f"{window.std():.6f}"]


@pytest.mark.long
def test_web_requests_are_answered_although_a_worker_is_killed(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    workers = [run("web.py", "infer") for _ in range(2)]
    run("web.py", "web", str(port))

    def ask(number: int) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", bytes([number]) * 1000, timeout=20) as answer:
            return bytes(answer.read())

    def answers() -> bool:
        try:
            return ask(1) == b'{"mean": 1.0, "max": 1.0}'
        except OSError:
            return False

    await_(answers)
    await_(lambda: all(any(worker.pid in group.pids for group in groups("infer.requests")) for worker in workers))
    with ThreadPoolExecutor(4) as threads:
        replies = threads.map(ask, range(200))
        found = [next(replies) for _ in range(50)]
        kill(workers[0])
        found += replies
    assert found == [b'{"mean": %d.0, "max": %d.0}' % (n, n) for n in range(200)]


def test_a_client_in_asyncio_calls_a_server_with_threads_over_tcp(run: Run, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(range(32)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    call = run("remote.py", "call", address)
    server = run("remote.py", "serve", address)
    assert result(call) == f"{[float(n) for n in range(8)]}\n"
    server.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in server.communicate(timeout=20)[1]


def load(run: Run) -> None:
    result(run("training.py", "load"))
    for loader in [run("training.py", "load") for _ in range(2)]:
        result(loader)


def test_a_trainer_gets_the_batches_of_all_loaders(run: Run) -> None:
    trainer = run("training.py", "train")
    load(run)
    assert result(trainer) == "300 batches: [ 1. -2.  3.]\n"


@pytest.mark.long  # importing torch takes seconds
@pytest.mark.skipif(not find_spec("torch"), reason="needs torch")
def test_a_trainer_with_torch_gets_the_batches_of_all_loaders(run: Run) -> None:
    trainer = run("training_torch.py")
    load(run)
    assert result(trainer) == "300 batches: [[ 1. -2.  3.]]\n"


@pytest.mark.long
def test_a_trainer_fails_if_a_loader_is_killed(run: Run) -> None:
    loader = run("training.py", "load")
    await_(lambda: any(lane.messages > 50 for lane in lanes("batches")))  # the lane is almost full
    kill(loader)
    out, err = run("training.py", "train").communicate(timeout=20)
    assert out == ""
    assert "ProducerDied" in err


def test_the_loader_gives_every_image_once_in_each_epoch(run: Run) -> None:
    assert result(run("loading.py")) == "epoch 0 images 1000 correct 1000\nepoch 1 images 1000 correct 1000\n"


def test_planners_read_whole_poses_also_after_a_restart(run: Run) -> None:
    driver, planner = run("robot.py", "drive"), run("robot.py", "plan")
    assert planner.stdout
    seen = [planner.stdout.readline() for _ in range(30)]
    kill(driver)
    late = run("robot.py", "plan")
    assert late.stdout
    last = late.stdout.readline()
    assert late.stdout.readline() == last
    driver = run("robot.py", "drive")
    deadline = time.monotonic() + 20
    while late.stdout.readline() == last:
        assert time.monotonic() < deadline
    poses = np.array([line.split() for line in [*seen, last]], "f8")
    assert (poses == poses[:, :1] * [1, 2, 3]).all()
    assert (np.diff(poses[:, 0]) >= 0).all()
    assert len(set(seen)) > 10
    for process in driver, planner, late:
        kill(process)


def test_the_log_has_every_line_of_applications_that_come_go_and_crash(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "all.log"
    early = run("logs.py", "application", "crash")
    assert early.wait(20) == -signal.SIGABRT
    collector = run("logs.py", "collect")
    await_(lambda: len(lines(log)) == 100)
    assert collector.poll() is None
    others = [run("logs.py", "application"), run("logs.py", "application", "crash")]
    for other in others:
        other.wait(20)
    await_(lambda: len(lines(log)) == 300)
    for process in [early, *others]:
        mine = [line.split(" ", 1)[1] for line in lines(log) if line.startswith(f"{process.pid} ")]
        assert mine == [f"step {n}" for n in range(100)]
    assert collector.poll() is None
    collector.send_signal(signal.SIGINT)
    collector.wait(20)


@pytest.mark.long
def test_no_value_is_missing_if_any_part_is_killed_and_started_again(run: Run, tmp_path: Path) -> None:
    values = tmp_path / "values.txt"
    reached: dict[int, int] = {}  # the last value that each process has reported as put

    def kill_measure(process: Process) -> None:
        reached[process.pid] = int(re.findall(r"(\d+)\n", kill(process))[-1])

    measure, store = run("restarts.py", "measure"), run("restarts.py", "store")
    for _ in range(2):
        stored = len(lines(values))
        await_(lambda stored=stored: len(lines(values)) > stored + 20)  # type: ignore[misc]
        kill(store)
        kill_measure(measure)
        measure = run("restarts.py", "measure")
        assert measure.stdout
        measure.stdout.readline()
        store = run("restarts.py", "store")
    stored = len(lines(values))
    await_(lambda: len(lines(values)) > stored + 20)
    kill_measure(measure)
    await_(lambda: {f"{pid} {last}" for pid, last in reached.items()} <= set(lines(values)))
    kill(store)
    for pid, last in reached.items():
        mine = [int(line.split()[1]) for line in lines(values) if line.startswith(f"{pid} ")]
        assert sorted(set(mine)) == list(range(max(mine) + 1))
        assert max(mine) >= last
        assert len(mine) <= len(set(mine)) + 2


@pytest.mark.long
def test_a_pipeline_loses_nothing_if_one_of_its_workers_is_killed(run: Run, tmp_path: Path) -> None:
    total, _ = [run("pipeline.py", function) for function in ("total", "save")]
    workers = [run("pipeline.py", "count") for _ in range(3)]
    reader = run("pipeline.py", "read")
    words = tmp_path / "words.txt"
    await_(lambda: len(lines(words)) > 10)
    kill(workers.pop())
    result(reader)
    expected = {f"{n} {6 * n}" for n in range(60)}
    await_(lambda: set(lines(words)) == expected)
    assert len(lines(words)) <= 61
    assert total.stdout
    while not (line := total.stdout.readline()).startswith("60 "):
        assert line, total.communicate()[1]
    assert line == f"60 {sum(6 * n for n in range(60))}\n"


@pytest.mark.long
def test_a_replay_gives_what_was_recorded_at_the_same_pace(run: Run, tmp_path: Path) -> None:
    expected = "".join(f"{n} {n}.0\n" for n in range(20))
    for process in [run("replay.py", "scan"), run("replay.py", "record")]:
        result(process)
    show, replay = run("replay.py", "show"), run("replay.py", "replay")
    assert result(show) == expected
    result(replay)
    with open(tmp_path / "scans.npy", "rb") as file:
        times = []
        while file.peek(1):
            times.append(int(np.load(file)))
            np.load(file)
    assert times[-1] - times[0] >= 19 * 10_000_000
