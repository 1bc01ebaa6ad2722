"""Processes are killed at random: no message is lost or duplicated, no call blocks for ever, and no file is left."""

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from conftest import MINUTES

from .check import Figures
from .machine import run


def run_alone(base: str, seconds: float, seed: int) -> Figures:
    """Run in a process with one thread, which can fork the processes of a round cheaply."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        figures = pool.submit(run, base, seconds, seed).result()
    print(figures)
    for phase in ("attaching", "working", "closing"):
        assert any(victim.endswith(phase) for victim in figures.kills), f"no process was killed in the phase {phase!r}"
    return figures


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")


def test_random_kills_for_a_few_seconds(base: str) -> None:
    # in the first rounds from this seed no process spins, so that a loaded machine does enough of them
    assert run_alone(base, 2, seed=1330).rounds > 3


@pytest.mark.long
@pytest.mark.timeout(60 * MINUTES + 60)
def test_random_kills_for_a_minute(base: str) -> None:
    # a quiet machine does 250 a minute
    assert run_alone(base, 60 * MINUTES, seed=time.time_ns()).rounds > 50 * MINUTES
