"""The latest value, used from Python."""

import asyncio
import mmap
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from conftest import Start, directory_of, is_readable

import ringipc
from ringipc import (
    Closed,
    Corrupt,
    Empty,
    Event,
    Incompatible,
    Latest,
    LatestMessage,
    MessageTooLarge,
    Producer,
    Semaphore,
    UnsafeMessage,
)

VALUES: list[Any] = [
    b"",
    b"bytes",
    b"x" * 100_000,
    np.arange(6, dtype="f4"),
    np.zeros((0, 3)),
    np.array(7),
    np.asfortranarray(np.arange(12).reshape(3, 4)),
    np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
    np.arange(20)[::3],
    np.arange(100_000),
    np.array(["2026-01-01"], "M8[D]"),
    np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]),
    np.zeros(2, [("a long name of a field " * 4, "i4"), ("b", [("c", "f8", (2, 2))])]),
    np.ndarray((3,), "S0", buffer=bytearray(1)),
    None,
    True,
    3,
    2.5,
    "text",
    [1, [2, {"three": 3}]],
    {"t": 0.5, "pose": (1.0, 2.0), "raw": b"raw", "frame": np.arange(100_000)},
    np.float32(2.5),
]


def is_equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_equal(one[key], other[key]) for key in one)
    return bool(one == other)


# ---- one process ----


@pytest.mark.parametrize("pickled", [False, True])
def test_values_come_out_as_they_went_in(pickled: bool) -> None:
    with Latest("v", pickle=pickled) as writer, Latest("v", pickle=pickled) as reader:
        for number, value in enumerate(VALUES * 2, 1):
            assert writer.set(value) == number
            for _ in range(2):
                assert is_equal(reader.get(timeout=0), value)
        for value, wanted in [(bytearray(b"ab"), b"ab"), (memoryview(b"abcd")[::2], b"ac")]:
            writer.set(value)
            assert pickled or reader.get() == wanted
        if pickled:
            writer.set({1, 2})
            assert reader.get() == {1, 2}


def test_arrays_belong_to_the_reader() -> None:
    with Latest() as latest:
        for value in (np.arange(4), {"a": np.arange(4)}, {"a": np.arange(4), "b": 1}):
            latest.set(value)
            one, other = latest.get(), latest.get()
            for got in (one, other):
                array = got["a"] if isinstance(got, dict) else got
                assert array.flags.writeable
                array += 100
            latest.set(b"other")
            array = one["a"] if isinstance(one, dict) else one
            assert list(array) == [100, 101, 102, 103]


def test_a_structured_dtype_can_be_renamed_by_its_owner() -> None:
    with Latest() as latest:
        value = np.zeros(2, [("a", "i4"), ("b", "f8")])
        latest.set(value)
        first = latest.get()
        first.dtype.names = ("x", "y")
        assert latest.get().dtype.names == ("a", "b")
        value.dtype.names = ("c", "d")
        latest.set(value)
        assert latest.get().dtype.names == ("c", "d")


def test_get_waits_for_the_first_value_and_for_newer_ones() -> None:
    with Latest("v") as latest, Latest("v") as other:
        assert latest.seq == 0
        with pytest.raises(Empty, match=r"latest value 'v': nobody has set a value now"):
            latest.get_nowait()
        before = time.monotonic()
        with pytest.raises(Empty, match=r"a value within 0\.02 s"):
            latest.get(0.02)
        assert time.monotonic() - before >= 0.02
        assert not latest.wait(timeout=0)
        assert other.set(b"one") == 1
        assert latest.wait()
        assert (latest.get(), latest.get_nowait(), latest.seq) == (b"one", b"one", 1)
        with pytest.raises(Empty, match="a value newer than seq 1"):
            latest.get(0.01, newer_than=1)
        assert not latest.wait(0.01, newer_than=1)
        timer = threading.Timer(0.05, other.set, [b"two"])
        timer.start()
        assert latest.get(20, newer_than=1) == b"two"
        timer.join()
        assert latest.wait(newer_than=1, timeout=0)


def test_a_message_has_a_number_and_a_time() -> None:
    with Latest() as latest:
        before = time.monotonic_ns()
        seq = latest.set({"k": 1})
        message = latest.message()
        after = time.monotonic_ns()
        assert message == LatestMessage({"k": 1}, seq, message.timestamp)
        assert before - 1_000_000 <= message.timestamp <= after + 1_000_000


def test_get_into_fills_an_array_and_returns_its_number() -> None:
    frame = np.empty((64, 64), "f4")
    strided = np.zeros((128, 64), "f4")[::2]
    with Latest("v") as latest:
        latest.set(np.ones((64, 64), "f4"))
        assert latest.get_into(frame) == 1
        latest.set(np.asfortranarray(np.arange(4096, dtype="f4").reshape(64, 64)))
        assert latest.get_into(strided, newer_than=1) == 2
        assert frame.sum() == 4096
        assert strided[1, 2] == 66
        with pytest.raises(Empty):
            latest.get_into(frame, 0, newer_than=2)
        with pytest.raises(ValueError, match=r"latest value 'v': the value is an array of shape \(64, 64\).*fit into"):
            latest.get_into(np.empty((64, 63), "f4"))
        with pytest.raises(ValueError, match="does not fit"):
            latest.get_into(np.empty((64, 64), "f8"))
        frame.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            latest.get_into(frame)
        latest.set(b"bytes")
        with pytest.raises(TypeError, match="the value is 5 bytes"):
            latest.get_into(strided)
        with pytest.raises(TypeError):
            latest.get_into(bytearray(5))  # type: ignore[arg-type]


def test_iteration_gives_the_newest_value_and_skips_older_ones() -> None:
    with Latest("v") as latest, Latest("v") as writer:
        for k in range(3):
            writer.set(k)
        got = []
        for value in latest:
            got.append(value)
            if value == 12:
                break
            writer.set(value + 5)
        assert got == [2, 7, 12]


def test_a_value_is_as_long_as_the_capacity_at_most() -> None:
    with Latest("v", capacity="4 KiB") as latest:
        assert latest.capacity == 4096
        latest.set(b"x" * 4096)
        with pytest.raises(MessageTooLarge, match=r"latest value 'v': a value of 4097 bytes.*capacity of 4096"):
            latest.set(b"x" * 4097)
        with pytest.raises(MessageTooLarge, match="4160 bytes"):
            latest.set(np.zeros(4096, "u1"))
        with pytest.raises(MessageTooLarge):
            latest.set([np.broadcast_to(np.zeros(1), (1 << 40, 1 << 10))])
        assert latest.get() == b"x" * 4096
        with Latest("v", capacity=100):
            pass
        with pytest.raises(Incompatible, match="exists with a capacity of less than 5000 bytes"):
            Latest("v", capacity=5000)
        with pytest.raises(Incompatible, match="for something else"):
            Semaphore("v")
        with pytest.raises(Incompatible):
            Producer("v")
    semaphore = Semaphore("s")
    with pytest.raises(Incompatible, match="for something else"):
        Latest("s")
    semaphore.close()


def test_either_side_may_start_first() -> None:
    with Latest("v") as reader, Latest("v", capacity="1 MiB") as writer:
        writer.set(1)
        assert reader.get() == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"capacity": 0}, ValueError),
        ({"capacity": "much"}, ValueError),
        ({"capacity": 2.5}, TypeError),
        ({"pickle": 1}, TypeError),
        ({"wait": "sleep"}, ValueError),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Latest("v", **options)
    with pytest.raises(TypeError, match="latest value's name must be a str"):
        Latest(3)  # type: ignore[arg-type]
    for name in ("", "a/b", ".a"):
        with pytest.raises(ValueError, match="latest value's name"):
            Latest(name)


def test_what_cannot_be_sent_is_refused_and_the_value_stays() -> None:
    with Latest("v") as latest, Latest("v", pickle=True) as pickler:
        latest.set(1)
        for value in ({1, 2}, [object()], np.array([object()])):
            with pytest.raises(UnsafeMessage, match="latest value 'v': "):
                latest.set(value)
        assert latest.message()[:2] == (1, 1)
        pickler.set({1, 2})
        assert pickler.get() == {1, 2}
        with pytest.raises(UnsafeMessage, match="pickle=True"):
            latest.get()


CALLS: dict[str, Callable[..., Any]] = {
    "get": Latest.get,
    "message": Latest.message,
    "wait": Latest.wait,
    "get_into": lambda latest, *timeout, **options: latest.get_into(np.empty(3), *timeout, **options),
    "get_nowait": Latest.get_nowait,
    "aget": lambda latest, **options: asyncio.run(latest.aget(**options)),
    "amessage": lambda latest, **options: asyncio.run(latest.amessage(**options)),
}


@pytest.mark.parametrize("name", CALLS)
def test_invalid_arguments_are_refused(name: str) -> None:
    call = CALLS[name]
    with Latest("v") as latest:
        latest.set(np.ones(3))
        for newer_than in (-1, 1 << 64, -(1 << 70)):
            with pytest.raises(ValueError, match=rf"^newer_than must be the seq of a value, .*, not {newer_than}$"):
                call(latest, newer_than=newer_than)
        for other in (True, 1.0, "1", None):
            with pytest.raises(TypeError, match=r"^newer_than must be the seq of a value, an int, not "):
                call(latest, newer_than=other)
        for timeout in (-1, float("nan"), True, "1") if name in ("get", "message", "wait", "get_into") else ():
            with pytest.raises((ValueError, TypeError), match=r"^timeout must be None or a number of seconds"):
                call(latest, timeout)
        call(latest, newer_than=np.int64(0))


def test_a_name_ends_with_its_last_handle() -> None:
    first = Latest("v")
    first.set(1)
    with Latest("v") as second:
        first.close()
        assert second.get() == 1
        with Latest("v") as third:
            assert third.get() == 1
    with Latest("v") as anew:
        assert anew.seq == 0


def test_calls_on_closed_handles_raise_closed() -> None:
    latest = Latest("v")
    latest.set(1)
    latest.close()
    latest.close()
    assert latest.closed
    assert repr(latest) == "<Latest 'v', closed>"
    for call in (latest.get, latest.message, latest.fileno, latest.wait, lambda: latest.set(1), lambda: latest.seq):
        with pytest.raises(Closed, match="latest value 'v' is closed"):
            call()


def test_any_number_of_handles_can_read() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        with Latest("v") as writer:
            writer.set(np.arange(6.0))
            readers = [Latest("v") for _ in range(600)]
            assert all(reader.get()[5] == 5 for reader in readers)
            writer.set(b"new")
            assert all(reader.get(newer_than=1) == b"new" for reader in readers)
            for reader in readers:
                reader.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_damaged_values_are_reported(base: str) -> None:
    with Latest("v", capacity=4096) as latest:
        with (directory_of(base, "v") / "control").open("r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
        slots = 20480
        for value in (np.arange(6.0), {"k": 1}, {"k": np.arange(3)}):
            for damage in (b"\xff" * 8, b"\1\1", b"\0" * 24):
                latest.set(value)
                slot = [memory[slots + 64 * k : slots + 64 * k + 8] for k in range(8)].index(memory[256:264])
                memory[28672 + 4096 * slot : 28672 + 4096 * slot + len(damage)] = damage
                with pytest.raises(Corrupt, match="latest value 'v'"):
                    latest.get()
        latest.set(1)
        slot = [memory[slots + 64 * k : slots + 64 * k + 8] for k in range(8)].index(memory[256:264])
        memory[slots + 64 * slot + 8 : slots + 64 * slot + 16] = b"\xff" * 8  # its length
        with pytest.raises(Corrupt):
            latest.get()
        memory[slots + 64 * slot : slots + 64 * slot + 8] = b"\0" * 8  # it seems to be being written
        with pytest.raises(Corrupt):
            latest.wait()
        memory.close()


# ---- threads ----


def test_threads_share_a_handle() -> None:
    with Latest() as latest:
        size = 100_000  # copied without the GIL
        failed = []

        def work(k: int) -> None:
            try:
                for n in range(60):
                    latest.set(np.full(size, 100 * k + n))
                    got = latest.get()
                    assert got.min() == got.max()
            except BaseException as error:  # noqa: BLE001
                failed.append(error)

        threads = [threading.Thread(target=work, args=[k]) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not failed
        assert latest.seq == 240


@pytest.mark.parametrize("call", ["get", "wait", "message"])
def test_closing_ends_the_waits_of_other_threads(call: str) -> None:
    latest = Latest()
    ended = []

    def wait() -> None:
        try:
            getattr(latest, call)()
        except Closed as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    latest.close()
    thread.join(10)
    assert len(ended) == 1


def test_closing_waits_until_another_thread_has_set_its_value() -> None:
    value = np.ones(3_000_000)
    for _ in range(10):
        with Latest("v") as reader:
            latest = Latest("v")
            latest.set(b"")
            started = threading.Event()

            def work(latest: Latest = latest, started: threading.Event = started) -> None:
                started.set()
                with suppress(Closed):
                    while True:
                        latest.set(value)

            thread = threading.Thread(target=work)
            thread.start()
            started.wait()
            latest.close()
            got = reader.get()
            assert len(got) == 0 or got.min() == 1
            assert reader.set(b"next") == reader.seq
            thread.join(10)
            assert not thread.is_alive()


# ---- other processes ----


def follow(latest: Latest, answers: Latest, last: int) -> None:
    seq = 0
    while seq < last:
        message = latest.message(20, newer_than=seq)
        seq = message.seq
        assert message.payload[0] == seq
        answers.set(seq)
    latest.close()
    answers.close()


@pytest.mark.parametrize(
    ("method", "name"), [("spawn", "v"), ("spawn", None), ("fork", None), ("fork", "v"), ("forkserver", None)]
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_handles_are_passed_to_processes_as_arguments(start: Start, method: str, name: str | None) -> None:
    with Latest(name, capacity="1 MiB") as latest, Latest(name and "answers", pickle=True) as answers:
        assert latest.set(np.array([1])) == 1
        process = start(follow, latest, answers, 20, method=method)
        for k in range(1, 21):
            if k > 1:
                latest.set(np.array([k]))
            assert answers.get(20, newer_than=k - 1) == k
        process.join(20)
    assert process.exitcode == 0


def test_a_passed_one_that_has_ended_raises_closed() -> None:
    latest = Latest("v", pickle=True)
    passed = pickle.dumps(latest)
    again = pickle.loads(passed)
    again.set({1})
    assert latest.get() == {1}
    latest.close()
    again.close()
    with pytest.raises(Closed, match="ended before"):
        pickle.loads(passed)


def test_a_value_survives_its_killed_writer(start: Start) -> None:
    with Latest("v") as reader:
        code = "import ringipc, os, signal; ringipc.Latest('v').set(7); os.kill(os.getpid(), signal.SIGKILL)"
        subprocess.run([sys.executable, "-c", code], check=False)
        assert reader.get(timeout=0) == 7
        assert reader.set(8) == 2


def set_for_ever(size: int) -> None:
    latest = Latest("v")
    value = np.empty(size)
    number = latest.seq
    while True:
        number += 1
        value[:] = number
        number = latest.set(value)


@pytest.mark.parametrize("size", [6, 30_000])
def test_killed_writers_leave_whole_values(start: Start, size: int) -> None:
    """One writer after the other is killed, most in the middle of setting a value."""
    with Latest("v") as reader:
        seq = 0
        for _ in range(2):
            process = start(set_for_ever, size)
            end = time.monotonic() + 20
            until = reader.message(20, newer_than=seq).seq + 200
            while (message := reader.message(20)).seq < until:
                assert time.monotonic() < end
                assert message.payload.min() == message.payload.max()
            process.kill()
            process.join()
            message = reader.message()
            assert message.seq >= seq
            assert message.payload.min() == message.payload.max()
            seq = message.seq


def read_poses(count: int, go: Event) -> None:
    with Latest("v") as latest:
        assert go.wait(20)
        last = 0
        for _ in range(count):
            message = latest.get()
            assert (message == message[0]).all()
            assert message[0] >= last
            last = message[0]
    go.close()


def keep_pace(writer: Latest, stop: threading.Event) -> None:
    pose = np.zeros(6)
    put = writer.set
    while not stop.is_set():
        for _ in range(1000):
            pose += 1
            put(pose)


def poses_are_never_torn(start: Start, readers: int, reads: int) -> None:
    go, stop = Event("go"), threading.Event()
    with Latest("v") as writer:
        writer.set(np.zeros(6))
        thread = threading.Thread(target=keep_pace, args=[writer, stop])
        thread.start()
        processes = [start(read_poses, reads, go) for _ in range(readers)]
        go.set()
        for process in processes:
            process.join(600)
            assert process.exitcode == 0
        stop.set()
        thread.join()
        assert writer.seq > 1000
    go.close()


def test_no_pose_is_torn(start: Start) -> None:
    poses_are_never_torn(start, 2, 50_000)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_pose_is_torn_in_ten_million_reads(start: Start) -> None:
    poses_are_never_torn(start, 8, 1_250_000)


# ---- event loops and signals ----


def test_the_file_descriptor_is_readable_while_there_is_a_newer_value() -> None:
    with Latest("v") as latest, Latest("v") as writer:
        assert not is_readable(latest)  # type: ignore[arg-type]
        for k in range(20):
            writer.set(k)
            assert is_readable(latest, 20)  # type: ignore[arg-type]
            assert ringipc.wait([latest], 20) == [latest]
            assert latest.get() == k
            assert ringipc.wait([latest], 0.01) == []


def test_tasks_get_values_as_they_come() -> None:
    async def follow(latest: Latest, last: int) -> list[int]:
        got = []
        async for value in latest:
            got.append(value)
            if value == last:
                return got
        raise AssertionError

    async def main() -> None:
        with Latest("v") as writer:
            async with Latest("v") as latest:
                tasks = [asyncio.create_task(follow(latest, 20)) for _ in range(3)]
                for k in range(21):
                    await asyncio.sleep(0.002)
                    writer.set(k)
                for got in await asyncio.wait_for(asyncio.gather(*tasks), 20):
                    assert got == sorted(set(got))
                    assert got[-1] == 20
                assert await latest.aget() == 20
                message = await latest.amessage()
                assert message.seq == 21
                waiting = asyncio.create_task(latest.aget(newer_than=21))
                await asyncio.sleep(0.02)
                assert latest.get() == 20  # by another caller: the task still gets the next value
                writer.set(b"next")
                assert await asyncio.wait_for(waiting, 20) == b"next"
                waiting = asyncio.create_task(latest.aget(newer_than=100))
                await asyncio.sleep(0.02)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                waiting = asyncio.create_task(latest.aget(newer_than=100))
                await asyncio.sleep(0.02)
            with pytest.raises(Closed):
                await asyncio.wait_for(waiting, 20)

    asyncio.run(main())


def test_no_task_misses_a_value_that_another_call_has_found() -> None:
    """Calls of other threads make the descriptor unreadable while tasks wait for it."""

    async def main() -> None:
        with Latest("v") as writer:
            async with Latest("v") as latest:
                stop = threading.Event()

                def look() -> None:
                    while not stop.is_set():
                        latest.wait(newer_than=1 << 60, timeout=0)

                thread = threading.Thread(target=look)
                thread.start()
                try:
                    for seq in range(300):
                        tasks = [asyncio.create_task(latest.amessage(newer_than=seq)) for _ in range(2)]
                        await asyncio.sleep(0)
                        writer.set(b"")
                        for message in await asyncio.wait_for(asyncio.gather(*tasks), 20):
                            assert message.seq == seq + 1
                finally:
                    stop.set()
                    thread.join()

    asyncio.run(main())


def test_trio_tasks_get_values() -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        with Latest("v") as writer, Latest("v") as latest:
            got = []

            async def follow() -> None:
                async for value in latest:
                    got.append(value)
                    if value == 5:
                        return

            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(follow)
                    nursery.start_soon(follow)
                    for k in range(6):
                        await trio.sleep(0.005)
                        writer.set(k)
            assert got.count(5) == 2

    trio.run(main)


INTERRUPTED = """
import ringipc, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell may ignore SIGINT
latest = ringipc.Latest("v")
print("waits", flush=True)
try:
    latest.get()
except KeyboardInterrupt:
    print("interrupted", latest.seq)
"""


def test_ctrl_c_ends_a_wait_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        failing = threading.Timer(20, process.kill)  # else the read below could block for ever
        failing.start()
        assert process.stdout.readline() == "waits\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "interrupted 0\n"
        failing.cancel()
    assert process.returncode == 0


# ---- tools ----


def test_ls_shows_it_and_clean_removes_what_was_left(capsys: pytest.CaptureFixture[str], base: str) -> None:
    from ringipc.cli import main

    with Latest("v") as latest:
        latest.set(1)
        with Latest("v"):
            assert main(["ls"]) == 0
            assert f"v     latest value  {28672 + 4096}  -        {os.getpid()}" in capsys.readouterr().out
            assert main(["clean"]) == 0
            assert latest.get() == 1
    code = "import ringipc, os; v = ringipc.Latest('v'); v.set(1); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert directory_of(base, "v").exists()
    capsys.readouterr()
    assert main(["clean"]) == 0
    assert "removed latest value 'v'" in capsys.readouterr().out
    assert not directory_of(base, "v").exists()


def test_what_killed_processes_left_starts_again() -> None:
    code = "import ringipc, os; v = ringipc.Latest('v', capacity=4096); v.set(1); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with Latest("v", capacity="1 MiB") as latest:
        assert latest.seq == 0
        assert latest.capacity == 1 << 20
