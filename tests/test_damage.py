"""Random changes to the files of live channels: they may cause errors and wrong data, but no crash and no hang."""

import mmap
import random
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MINUTES

from ringipc import Consumer, Producer, RingError
from ringipc._opening import Overflow

ALLOWED = (RingError, ValueError, UnicodeDecodeError)


def flip(path: Path, rng: random.Random) -> None:
    """Change a few bytes behind the identity, most of them near the start of a header or table."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        for _ in range(rng.choice([1, 1, 3, 30])):
            span = rng.choice([512, 8192, len(memory)])
            at = rng.randrange(24, min(len(memory), span))
            memory[at] = rng.choice([0, 1, 255, memory[at] ^ (1 << rng.randrange(8)), rng.randrange(256)])


def try_to(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except ALLOWED:
        return None


def get_first_type(consumer: Consumer, timeout: float) -> Any:
    return consumer.get(timeout, type=0)


def one_round(base: Path, rng: random.Random) -> int:
    """Work on a channel, damage its files, and work on; return the number of calls that returned."""
    calls = 0
    overflow: Overflow = rng.choice(["block", "drop-new", "drop-old"])
    shared, durable = rng.random() < 0.5, rng.random() < 0.3
    handles: list[Any] = [
        Producer("c", capacity=1 << 15, slots=16, overflow=overflow),
        Producer("c", capacity=4096, slots=4),
    ]
    handles += [Consumer("c", group="g", shared=shared, durable=durable), Consumer("c", group="h")]
    if shared:
        handles.append(Consumer("c", group="g", shared=True, durable=durable))
    if rng.random() < 0.3:
        handles[2].fileno()
    kept: list[Any] = []
    damage_at = rng.randrange(40)
    for step in range(80):
        if step >= damage_at and rng.random() < 0.2:
            files = [path for path in base.glob("ringipc-*/c/*") if path.name.startswith(("control", "lane", "claims"))]
            flip(rng.choice(files), rng)
        handle = rng.choice(handles)
        if isinstance(handle, Producer):
            message = rng.choice([b"x" * rng.randrange(3000), np.arange(rng.randrange(500)), {"k": [1.5, "t"]}])
            try_to(handle.put, message, rng.choice([0, 0.001]))
        else:
            call = rng.choice([handle.get, handle.get, handle.message, handle.latest, partial(get_first_type, handle)])
            kept.append(try_to(call, rng.choice([0, 0.001])))
            del kept[: rng.choice([0, 1, 5])]
        if rng.random() < 0.02:
            try_to(getattr, handle, "stats")
        calls += 1
    kept.clear()
    for handle in handles:
        try_to(handle.close)
    for path in base.glob("ringipc-*/c/*"):  # the damage may prevent their removal
        path.unlink(missing_ok=True)
    for path in base.glob("ringipc-*/c"):
        path.rmdir()
    return calls


def damage(base: str, seconds: float, seed: int, progress: Any) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        rng = random.Random(seed)
        progress.value = seed
        one_round(Path(base), rng)
        seed += 1


def run(base: str, seconds: float, seed: int) -> int:
    context = get_context("spawn")
    progress = context.Value("q", seed)
    process = context.Process(target=damage, args=(base, seconds, seed, progress))
    process.start()
    process.join(seconds + 20)
    if process.is_alive():
        process.kill()
        process.join()
        pytest.fail(f"round {progress.value} hangs")
    assert process.exitcode == 0, f"round {progress.value} ended the process"
    rounds: int = progress.value - seed
    return rounds


def test_damage_in_live_channels_for_a_few_seconds(base: str) -> None:
    assert run(base, 3, seed=0) > 12


@pytest.mark.long
@pytest.mark.timeout(60 * MINUTES + 60)
def test_damage_in_live_channels_for_a_minute(base: str) -> None:
    assert run(base, 60 * MINUTES, seed=time.time_ns()) > 300 * MINUTES
