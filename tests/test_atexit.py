"""Programs that exit without closing: what they report, and what they leave."""

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ringipc

HEAD = """
import multiprocessing, os, signal, sys, threading, time
import ringipc

def lose(url):
    producer = ringipc.Producer(url, capacity="1 MiB", linger=0.2)
    producer.put(b"1")
    return producer
"""


def end(body: str, *arguments: str) -> tuple[int, str, float]:
    """Run a program; return its exit status, its stderr, and the seconds that it took from the time that it printed."""
    program = HEAD + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    began = float(done.stdout.split()[0])
    return done.returncode, done.stderr, time.time() - began


@contextmanager
def child(program: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a program, which is killed if the test fails."""
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True) as process:
        failing = threading.Timer(20, process.kill)  # else a read of its output could block for ever
        failing.start()
        try:
            yield process
        finally:
            failing.cancel()
            process.kill()


LOST = "ringipc: at exit: channel '{}': 1 message is lost after 0.2 s without progress (linger=): no consumer {}\n"


@pytest.mark.parametrize("scheme", ["unix", "tcp", "fifo"])
def test_a_program_that_loses_messages_reports_it_and_fails(base: str, scheme: str) -> None:
    path = f"{base}/place"
    url = "tcp://127.0.0.1:0" if scheme == "tcp" else f"{scheme}://{path}"
    status, stderr, seconds = end("print(time.time()); p = lose(sys.argv[1])", url)
    Path(path).unlink(missing_ok=True)
    assert status == 120
    assert stderr.count("\n") == 1
    assert "ringipc: at exit: channel '" in stderr
    assert "1 message is lost after 0.2 s without progress (linger=): no consumer" in stderr
    assert seconds < 5


def test_all_handles_are_closed_and_flushed_even_if_one_fails(base: str) -> None:
    """The exit functions of other modules run too."""
    status, stderr, _ = end(
        """
        import atexit
        atexit.register(print, "registered before", flush=True)
        first, second = lose(f"unix://{sys.argv[1]}/1"), lose(f"unix://{sys.argv[1]}/2")
        ring = ringipc.Producer("c", capacity=4096)
        consumer = ringipc.Consumer("c")
        print(time.time())
        print("not flushed yet")
        print("last words", file=sys.stderr)
        sys.exit(3)
        """,
        base,
    )
    assert status == 120
    lines = stderr.splitlines()
    assert lines[0] == "last words"
    assert sorted(lines[1:]) == [
        LOST.format(f"unix://{base}/{k}", "is connected").strip() for k in (1, 2)
    ]  # `base` checks that no file is left


def test_losses_of_a_collected_producer_count_too(base: str) -> None:
    status, stderr, _ = end('print(time.time()); lose(f"unix://{sys.argv[1]}/1")', base)
    assert status == 120
    assert "1 message is lost after 0.2 s without progress (linger=): no consumer is connected" in stderr


def test_a_program_that_loses_nothing_ends_with_its_own_status(base: str) -> None:
    status, stderr, _ = end(
        """
        print(time.time())
        producer = ringipc.Producer(f"unix://{sys.argv[1]}/1")
        consumer = ringipc.Consumer(f"unix://{sys.argv[1]}/1")
        producer.put(b"1")
        assert consumer.get() == b"1"
        sys.exit(3)
        """,
        base,
    )
    assert (status, stderr) == (3, "")


@pytest.mark.parametrize("method", ["spawn", "fork", pytest.param("forkserver", marks=pytest.mark.long)])
def test_a_child_that_loses_messages_fails(base: str, method: str, tmp_path: Path) -> None:
    """Children of multiprocessing exit in another way than programs."""
    program = tmp_path / "program.py"
    program.write_text(
        HEAD
        + textwrap.dedent(
            """
            kept = []

            def child(url, how):
                kept.append(lose(url))
                if how == "raises":
                    raise KeyError("its own")
                if how == "exits":
                    sys.exit(0)

            if __name__ == "__main__":
                context = multiprocessing.get_context(sys.argv[2])
                for how in "returns", "exits", "raises":
                    process = context.Process(target=child, args=(f"unix://{sys.argv[1]}/{how}", how))
                    process.start()
                    process.join()
                    print(process.exitcode)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, program, base, method], capture_output=True, text=True, timeout=30, check=False
    )
    *ended, raised = done.stdout.split()
    assert (done.returncode, ended, done.stderr.count("1 message is lost")) == (0, ["120", "120"], 3)
    assert raised in ("1", "120")
    assert done.stderr.count("Traceback") == 1
    assert "KeyError: 'its own'" in done.stderr


def test_ctrl_c_ends_the_wait_at_exit(base: str) -> None:
    """The warning before names the consumer that it waits for."""
    program = HEAD + (
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "producer = ringipc.Producer(f'unix://{sys.argv[1]}/1', linger=None); producer.put(b'1')"
    )
    with child(program, base) as process:
        assert process.stderr is not None
        stderr = process.stderr.readline()
        assert "close() waits (linger=): 1 message is left: no consumer is connected" in stderr
        process.send_signal(signal.SIGINT)
        stderr = process.stderr.read()
        assert process.wait(5) == 120
        assert stderr == (
            f"ringipc: at exit: channel 'unix://{base}/1': close() was interrupted: 1 message is lost: no consumer is "
            "connected\n"
        )
        assert "Traceback" not in stderr
    Path(f"{base}/1").unlink(missing_ok=True)


def test_exit_functions_of_other_modules_are_not_disturbed(base: str) -> None:
    """They may flush stderr, after ringipc has reported the losses and before the interpreter is finalized."""
    program = "import atexit, sys\natexit.register(lambda: print('bye', file=sys.stderr, flush=True))\n" + HEAD
    done = subprocess.run(
        [sys.executable, "-c", program + "lose(f'unix://{sys.argv[1]}/1')", base],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 120
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "bye"


CLOSE_INTERRUPTED = """
def run():
    with ringipc.Producer(f"{sys.argv[1]}", linger=None) as producer:
        producer.put(b"1")
        producer.put(b"2")
        kept.append(producer if len(sys.argv) > 2 else None)

kept = []
signal.signal(signal.SIGINT, signal.default_int_handler)
run()
"""


@pytest.mark.long
@pytest.mark.parametrize("how", [["kept"], []], ids=["kept", "forgotten"])
@pytest.mark.parametrize("scheme", ["unix", "fifo"])
def test_one_ctrl_c_ends_a_program_whose_close_waits(base: str, scheme: str, how: list[str]) -> None:
    url = f"{scheme}://{base}/1"
    with child(HEAD + CLOSE_INTERRUPTED, url, *how) as process:
        assert process.stderr is not None
        assert "close() waits" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        stderr = process.stderr.read()
        assert process.wait(5) == -signal.SIGINT  # the status of any program that Ctrl-C ends
    assert stderr.count("Traceback") == 1
    assert "close() was interrupted: 2 messages are lost: no consumer" in stderr
    assert "closed>" not in stderr
    Path(f"{base}/1").unlink(missing_ok=True)


def test_an_exception_in_a_with_block_is_not_hidden_by_lost_messages(base: str) -> None:
    """The exception leaves the block, with a note about the loss."""
    with pytest.raises(KeyError) as caught, ringipc.Producer(f"unix://{base}/1", linger=0.1) as producer:
        producer.put(b"1")
        raise KeyError("mine")
    (note,) = caught.value.__notes__
    assert note.startswith(f"channel 'unix://{base}/1': 1 message is lost after 0.1 s without progress")


CHILD_READS = """
import multiprocessing, sys
import ringipc

def read():
    with ringipc.Consumer("c", timeout=20) as consumer:
        print(list(consumer))

if __name__ == "__main__":
    producer = ringipc.Producer("c", capacity="1 MiB")
    producer.put(b"1")
    multiprocessing.get_context(sys.argv[1]).Process(target=read).start()
"""


@pytest.mark.parametrize("method", ["spawn", pytest.param("forkserver", marks=pytest.mark.long)])
def test_a_program_that_ends_without_closing_ends_the_stream_of_its_children(
    base: str, method: str, tmp_path: Path
) -> None:
    """multiprocessing joins the children at exit, and a child waits for the end of the stream."""
    program = tmp_path / "program.py"
    program.write_text(CHILD_READS)
    done = subprocess.run([sys.executable, program, method], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[b'1']\n", "")


FINALIZERS = """
import multiprocessing, os, sys, threading
from multiprocessing import util
import ringipc
from ringipc import _atexit

def flush(producer, early, thread):
    assert early.closed
    thread.join()  # it sleeps in a put, until the reader has made room
    producer.put(b"flushed")

def work():
    early = ringipc.Producer("early", capacity=4096)
    producer = ringipc.Producer("c", capacity="1 MiB", slots=8)
    _atexit.close_last(producer)
    kept.extend([early, producer])
    thread = threading.Thread(target=lambda: [producer.put(b"%d" % k) for k in range(1000)], daemon=True)
    thread.start()
    util.Finalize(None, flush, args=(producer, early, thread), exitpriority=-5)
    util.Finalize(None, producer.put, args=(b"last",), exitpriority=-100)

kept = []
if __name__ == "__main__":
    if sys.argv[1] == "main":
        work()
    else:
        process = multiprocessing.get_context(sys.argv[1]).Process(target=work)
        process.start()
        process.join()
        sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("method", ["main", "spawn", "fork", pytest.param("forkserver", marks=pytest.mark.long)])
def test_finalizers_of_multiprocessing_can_use_handles_that_are_closed_last(
    base: str, method: str, tmp_path: Path
) -> None:
    """As queues do, whose threads send what is left when the children have been joined."""
    program = tmp_path / "program.py"
    program.write_text(FINALIZERS)
    with subprocess.Popen([sys.executable, program, method], stderr=subprocess.PIPE, text=True) as process:
        with ringipc.Consumer("c", timeout=20) as consumer, ringipc.Consumer("early", timeout=20) as early:
            assert list(early) == []  # its end does not wait for the finalizers
            assert list(consumer) == [*[b"%d" % k for k in range(1000)], b"flushed", b"last"]
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_daemon_thread_says_nothing_when_its_handle_is_closed_at_exit(base: str) -> None:
    status, stderr, _ = end(
        """
        from ringipc import _atexit
        first, last = ringipc.Producer("a", capacity=4096), ringipc.Producer("b", capacity=4096)
        _atexit.close_last(last)
        consumers = ringipc.Consumer("a"), ringipc.Consumer("b")
        _atexit.close_last(consumers[1])
        for consumer in consumers:
            threading.Thread(target=consumer.get, daemon=True).start()
        multiprocessing.util.Finalize(None, time.sleep, args=(0.2,), exitpriority=-5)
        print(time.time())
        """
    )
    assert (status, stderr) == (0, "")


def test_handles_stay_open_if_a_program_runs_the_finalizers_of_multiprocessing(base: str) -> None:
    """And its threads run on."""
    status, stderr, _ = end(
        """
        from multiprocessing import util
        from ringipc import _atexit
        producer, consumer = ringipc.Producer("a", capacity=4096), ringipc.Consumer("a")
        last = ringipc.Producer("b", capacity=4096)
        _atexit.close_last(last)
        util._run_finalizers(0)
        util._run_finalizers()
        got = []
        thread = threading.Thread(target=lambda: got.extend([consumer.get(), consumer.get()]))
        thread.start()
        producer.put(b"1")
        time.sleep(0.1)
        producer.put(b"2")
        thread.join(10)
        assert got == [b"1", b"2"] and not last.closed
        print(time.time())
        """
    )
    assert (status, stderr) == (0, "")
