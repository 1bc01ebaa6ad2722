"""How much CPU time does a blocked consumer use, and how exact are timeouts?"""

import time
from functools import partial

import ringipc
from ringipc._arguments import Wait

from ._harness import ROUNDS, Answer, Cores, Goal, together, unique

TITLE = "waiting: a consumer that has nothing to get"
BLOCKED = 5.0  # seconds
TIMEOUTS = (0.001, 0.01, 0.1)  # seconds
TRIES = 5
ASLEEP: tuple[Wait, ...] = ("adaptive", "block")


def _share_of_core(channel: str, wait: Wait) -> float:
    """Return the share of a core that the process uses while it waits."""
    with ringipc.Producer(channel), ringipc.Consumer(channel, wait=wait) as consumer:
        used, start = time.process_time(), time.monotonic()
        _wait(consumer, BLOCKED)
        return (time.process_time() - used) / (time.monotonic() - start)


def _wait(consumer: ringipc.Consumer, timeout: float) -> float:
    """Wait; return by how many seconds the wait was longer (or shorter, if negative) than its timeout."""
    start = time.perf_counter()
    try:
        consumer.get(timeout)
    except ringipc.Empty:
        return time.perf_counter() - start - timeout
    raise RuntimeError("there was a message")


def _errors(channel: str, wait: Wait) -> list[list[float]]:
    """Return the largest error of each round, for each timeout."""
    with ringipc.Producer(channel), ringipc.Consumer(channel, wait=wait) as consumer:
        rounds = [
            [max((_wait(consumer, timeout) for _ in range(TRIES)), key=abs) for timeout in TIMEOUTS]
            for _ in range(ROUNDS)
        ]
    return [list(errors) for errors in zip(*rounds, strict=True)]


def ask(cores: Cores) -> Answer:
    idle = [(cores.first, partial(_share_of_core, unique("idle"), wait)) for wait in ASLEEP for _ in range(ROUNDS)]
    shares = together(idle)
    goals = [
        Goal(
            f'% of a core, blocked for {BLOCKED:g} s, wait="{wait}"',
            tuple(100 * share for share in shares[i * ROUNDS : (i + 1) * ROUNDS]),
            at_most=0.5,
        )
        for i, wait in enumerate(ASLEEP)
    ]
    for wait in ASLEEP:
        [errors] = together([(cores.first, partial(_errors, unique("timeout"), wait))])
        goals += [
            Goal(
                f'ms of error of a timeout of {timeout * 1000:g} ms, wait="{wait}"',
                tuple(abs(1000 * value) for value in values),
                at_most=3,
            )
            for timeout, values in zip(TIMEOUTS, errors, strict=True)
        ]
    notes = [f"CPU: {ROUNDS} consumers of each kind at the same time. Timeouts: the worst of {TRIES} tries."]
    return Answer(TITLE, goals=goals, notes=notes)
