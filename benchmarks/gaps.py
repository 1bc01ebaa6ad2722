"""What does each way to wait cost, in latency and in CPU time, for messages at different intervals?"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

import ringipc
from ringipc._arguments import Wait

from ._harness import ONE_CORE, ROUNDS, Answer, Cores, Goal, Row, Series, scaled, together, unique

TITLE = "gaps: messages of 8 bytes at an interval, to a consumer that waits for each"
WAITS: tuple[Wait, ...] = ("spin", "adaptive", "block")
WARM_UP = 100  # messages; fewer if fewer are measured


@dataclass(frozen=True)
class Gap:
    name: str
    seconds: float
    messages: int  # per round
    goal: str


GAPS = (
    Gap("1 us", 1e-6, 50_000, "latency"),
    Gap("100 us", 1e-4, 3_000, "latency"),
    Gap("10 ms", 1e-2, 100, "CPU"),
    Gap("1 s", 1.0, 3, "CPU"),
)


def _paced(gap: Gap, count: int) -> Iterator[None]:
    due = time.monotonic()
    for _ in range(count):
        due += gap.seconds
        if gap.seconds >= 1e-3:
            time.sleep(max(0.0, due - time.monotonic()))
        else:
            while time.monotonic() < due:
                pass
        yield


def _send(channel: str, gap: Gap, wait: Wait) -> None:
    count = gap.messages + min(gap.messages, WARM_UP)
    with ringipc.Producer(channel, slots=1 << 17) as producer:
        put, now = producer.put, time.monotonic_ns
        producer.put(b"")  # the consumer is ready when it has read this
        producer.flush(timeout=20)
        for _ in _paced(gap, count):
            put(now().to_bytes(8, "little"))


def _receive(channel: str, gap: Gap, wait: Wait) -> tuple[float, float]:
    """Return the median latency in seconds, and the CPU time per second."""
    late = []
    with ringipc.Consumer(channel, wait=wait, timeout=20) as consumer:
        get, now = consumer.get, time.monotonic_ns
        get()
        for _ in range(min(gap.messages, WARM_UP)):
            get()
        used, start = time.process_time(), time.monotonic()
        for _ in range(gap.messages):
            sent = get()
            late.append(now() - int.from_bytes(sent, "little"))
        took = time.monotonic() - start
        return median(late) * 1e-9, (time.process_time() - used) / took


def _measure(cores: tuple[int, int], gap: Gap, wait: Wait) -> tuple[float, float]:
    channel = unique("gap")
    _, result = together(
        [(cores[0], partial(_send, channel, gap, wait)), (cores[1], partial(_receive, channel, gap, wait))]
    )
    latency, share = result
    return latency, share


def ask(cores: Cores) -> Answer:
    if cores.pair is None:
        return Answer(TITLE, notes=[ONE_CORE])
    rows: list[Row] = []
    goals = []
    for gap in GAPS:
        measured: dict[Wait, list[tuple[float, float]]] = {wait: [] for wait in WAITS}
        for _ in range(ROUNDS):
            for wait in WAITS:
                measured[wait].append(_measure(cores.pair, gap, wait))
        latency = {wait: Series(f"{gap.name}, {wait}: latency", tuple(x for x, _ in measured[wait])) for wait in WAITS}
        share = {wait: Series(f"{gap.name}, {wait}: of a core", tuple(y for _, y in measured[wait])) for wait in WAITS}
        for wait in WAITS:
            rows += [(latency[wait], scaled(1e6), "us"), (share[wait], scaled(100), "%")]
        compared, bound = (latency, 1.3) if gap.goal == "latency" else (share, 1.2)
        best = Series("best", tuple(min(values) for values in zip(*(compared[w].values for w in WAITS), strict=True)))
        goals.append(Goal(f"{gap.name}: {gap.goal}, adaptive / the best", best / compared["adaptive"], at_most=bound))
    return Answer(
        TITLE,
        rows,
        goals,
        ["A spinning consumer uses all of its core. CPU time includes that of the Python interpreter."],
    )
