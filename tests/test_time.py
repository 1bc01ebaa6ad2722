"""Timestamps of every clock, in every time namespace."""

import os
import platform
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ringipc
from ringipc import Consumer, Producer

AHEAD = 100_000  # seconds
ELSEWHERE = ["unshare", "-UrT", f"--monotonic={AHEAD}", "--fork", "--kill-child"]
REMOUNTED = ["unshare", "-Urm"]
SOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"


def needs(command: list[str], what: str) -> pytest.MarkDecorator:
    try:
        refused = subprocess.run([*command, "true"], capture_output=True).returncode != 0
    except FileNotFoundError:
        refused = True
    return pytest.mark.skipif(refused, reason=f"the kernel, or unshare(1), refuses {what}")


needs_a_time_namespace = needs(ELSEWHERE, "a time namespace")

PUT = """
import ringipc, sys, time
with ringipc.Producer(*sys.argv[1:], capacity=4096) as producer:
    producer.put(b"%d" % time.monotonic_ns())
"""
GET = """
import ringipc, sys, time
with ringipc.Consumer(*sys.argv[1:]) as consumer, consumer.message(timeout=20) as message:
    print(message.timestamp - int(message.payload), time.monotonic_ns())
"""


@needs_a_time_namespace
def test_a_timestamp_is_in_the_time_namespace_of_its_reader() -> None:
    with Producer("c", capacity=4096, groups=["g"]) as producer:
        before = time.monotonic_ns()
        producer.put(b"0")
        after = time.monotonic_ns()
        code = GET.replace("sys.argv[1:]", "'c', group='g'")
        output = subprocess.check_output([*ELSEWHERE, sys.executable, "-c", code], timeout=20)
        stamp, now = map(int, output.split())
        ahead = now - time.monotonic_ns()
        assert ahead > (AHEAD - 10) * 1_000_000_000  # it is in another namespace
        assert before - 1_000_000 < stamp - AHEAD * 1_000_000_000 < after + 1_000_000


@needs_a_time_namespace
@pytest.mark.parametrize("way", ["ring", "unix"])
def test_a_timestamp_from_another_time_namespace_is_converted_to_ours(base: str, way: str) -> None:
    channel = "c" if way == "ring" else f"unix://{base}/s"
    environment = os.environ | ({} if way == "ring" else {"RINGIPC_RING": "0"})
    before = time.monotonic_ns()
    with subprocess.Popen([*ELSEWHERE, sys.executable, "-c", PUT, channel], env=environment):
        with Consumer(channel, timeout=20) as consumer, consumer.message(timeout=20) as message:
            after = time.monotonic_ns()
            assert before < message.timestamp < after
            assert abs(int(message.payload) - AHEAD * 1_000_000_000 - message.timestamp) < 1_000_000_000


@pytest.mark.parametrize("newest", ["local", "far"])
def test_latest_over_lanes_with_different_clocks_is_the_message_put_last(newest: str) -> None:
    code = (
        "import ringipc, sys; p = ringipc.Producer(ringipc.tcp(sys.argv[1], bind=False)); "
        "input(); p.put(b'far'); input()"
    )
    with Consumer(ringipc.tcp("127.0.0.1:0", bind=True)) as consumer:
        url = str(consumer.channel)
        far = subprocess.Popen(
            [sys.executable, "-c", code, url],
            env=os.environ | {"RINGIPC_RING": "0"},
            stdin=subprocess.PIPE,
            text=True,
        )
        assert far.stdin
        with far, Producer(ringipc.tcp(url, bind=False)) as local:
            assert local.stats.transport == "ring"
            for sender in ("far", "local") if newest == "local" else ("local", "far"):
                if sender == "local":
                    local.put(b"local")
                else:
                    far.stdin.write("\n")
                    far.stdin.flush()
                end = time.monotonic() + 20
                while consumer.stats.backlog < (2 if sender == newest else 1):
                    assert time.monotonic() < end
                    consumer.fileno()  # reads what has arrived
                    time.sleep(0.01)
            assert consumer.latest(timeout=20) == newest.encode()
            assert consumer.stats.backlog == 0
            far.stdin.write("\n")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86-64 has such a counter")
@needs(REMOUNTED, "a mount namespace")
@pytest.mark.parametrize(("source", "is_counter"), [("tsc", True), ("kvm-clock", False), ("", False)])
def test_the_processors_counter_is_used_only_if_the_kernel_uses_it(
    base: str, tmp_path: Path, source: str, is_counter: bool
) -> None:
    (tmp_path / "source").write_text(f"{source}\n")
    code = "import ringipc; p = ringipc.Producer('c', capacity=4096, groups=['g']); p.put(b'x'); p.close()"
    mount = f'mount --bind "{tmp_path}/source" {SOURCE} && exec "{sys.executable}" -c "{code}"'
    subprocess.run([*REMOUNTED, "sh", "-c", mount], check=True, timeout=20)
    (lane,) = Path(base).glob("*/c/lane-0")
    (clock,) = struct.unpack_from("<I", lane.read_bytes(), 64)
    cpuinfo = Path("/proc/cpuinfo").read_text()
    assert clock == (1 if is_counter and "constant_tsc" in cpuinfo and "nonstop_tsc" in cpuinfo else 0)
    before = time.monotonic_ns()
    with Consumer("c", group="g") as consumer, consumer.message() as message:
        assert 0 < before - message.timestamp < 20_000_000_000
