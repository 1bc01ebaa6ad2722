"""Whoever is killed, whenever: nothing is lost or comes twice, nobody waits for ever, and nothing is left behind."""

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from conftest import MINUTES

from .check import Figures
from .machine import run


def run_alone(base: str, seconds: float, seed: int) -> Figures:
    """In a process that has one thread, and can fork the others of a round cheaply."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        figures = pool.submit(run, base, seconds, seed).result()
    print(figures)
    for phase in ("attaching", "working", "closing"):
        assert any(victim.endswith(phase) for victim in figures.kills), f"nobody was killed while {phase}"
    return figures


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")


def test_random_kills_for_a_few_seconds(base: str) -> None:
    assert run_alone(base, 5, seed=0).rounds > 12


@pytest.mark.long
@pytest.mark.timeout(60 * MINUTES + 60)
def test_random_kills_for_a_minute(base: str) -> None:
    assert run_alone(base, 60 * MINUTES, seed=time.time_ns()).rounds > 150 * MINUTES
