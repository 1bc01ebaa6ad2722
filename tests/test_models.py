"""Checks the models of the core's protocols with spin (the Debian package): every order of every step."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

MODELS = Path(__file__).parent / "models"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not shutil.which("spin") or not shutil.which("cc"), reason="needs spin and a C compiler"),
]

AS_IT_IS = {
    "event_count": ["FENCE=1", "FENCE=2", "FENCE=3"],
    "lane": ["", "SELECTS=1", "KILLED=1"],
    "wake_one": ["LEAVES=1", "PICKY=1"],
    "claims": ["DEATHS=1", "ACKS=1", "ACKS=1 DEATHS=1 SEARCH=1", "REQUEUES=1", "REQUEUES=1 SEARCH=1"],
    "kept": ["", "KEEPS=1"],
    "latest": ["SLOTS=2", "DEATHS=1 SETS=1"],
    "order": ["", "MEMBERS=2"],
    "losses": ["", "WRITERS=3"],
    "shared_lane": ["", "REAPS=1", "SLOTS=1", "WRITERS=3 PUTS=1 DEATHS=2"],
    "drop_old": [
        "",
        "TOGETHER=1",
        "BLOCK=1",
        "BLOCK=1 LATE=1",
        "BLOCK=1 KEEPS=1 ACKS=1",
        "BLOCK=1 KEEPS=1 ACKS=1 TOGETHER=1",
        "ALONE=1 REQUEUES=1 ACKS=1",
        "ALONE=1 REQUEUES=1 OFFSETS=1",
    ],
}
MANY_STATES = ("claims", "drop_old", "order", "wake_one")
HANGS, WRONG = "pan:1: invalid end state", "pan:1: assertion violated"
WITH_A_FAULT = [
    ("event_count", "FENCE=0", HANGS),
    ("event_count", "FENCE=4", HANGS),
    ("event_count", "FENCE=5", HANGS),
    ("wake_one", "FAULT=1", HANGS),
    ("wake_one", "FAULT=2", HANGS),
    ("wake_one", "FAULT=3 LEAVES=1", HANGS),
    ("wake_one", "FAULT=4 PICKY=1", HANGS),
    ("lane", "WITHOUT=1 SELECTS=1", WRONG),
    ("lane", "WITHOUT=2 SELECTS=1", WRONG),
    ("lane", "WITHOUT=3", WRONG),
    ("lane", "WITHOUT=4", WRONG),
    ("lane", "WITHOUT=5", WRONG),
    ("lane", "WITHOUT=6", WRONG),
    ("lane", "WITHOUT=7 KILLED=1", HANGS),
    ("lane", "WITHOUT=8 KILLED=1", WRONG),
    ("claims", "FAULT=1", HANGS),
    ("claims", "FAULT=2", HANGS),
    ("claims", "FAULT=3 DEATHS=1 SEARCH=1", WRONG),
    ("claims", "FAULT=4 DEATHS=1 SEARCH=1", HANGS),
    ("claims", "FAULT=5 ACKS=1", WRONG),
    ("claims", "FAULT=6 ACKS=1 DEATHS=1", WRONG),
    ("claims", "FAULT=7 ACKS=1 DEATHS=1", HANGS),
    ("claims", "FAULT=8 ACKS=1", HANGS),
    ("claims", "FAULT=9", WRONG),
    ("claims", "FAULT=10 DEATHS=1", WRONG),
    ("claims", "FAULT=11 REQUEUES=1", WRONG),
    *[("kept", f"FAULT={fault}", WRONG) for fault in range(1, 6)],
    ("kept", "FAULT=6", HANGS),
    ("kept", "FAULT=7", HANGS),
    ("kept", "FAULT=8 KEEPS=1", HANGS),
    ("latest", "FAULT=1", WRONG),
    ("latest", "FAULT=2", WRONG),
    ("latest", "FAULT=3", WRONG),
    ("latest", "FAULT=4", WRONG),
    ("latest", "FAULT=5 DEATHS=1 SLOTS=2", HANGS),
    ("latest", "FAULT=6", WRONG),
    ("latest", "FAULT=7", WRONG),
    ("latest", "FAULT=8 SETS=1", WRONG),
    *[("order", f"FAULT={fault}", WRONG) for fault in range(1, 6)],
    ("order", "FAULT=6 MEMBERS=2", WRONG),
    ("order", "FAULT=7 MEMBERS=2", WRONG),
    ("order", "FAULT=8", WRONG),
    ("order", "FAULT=9", WRONG),
    *[("losses", f"FAULT={fault}", WRONG) for fault in range(1, 5)],
    ("shared_lane", "FAULT=1", WRONG),
    ("shared_lane", "FAULT=2", HANGS),
    ("shared_lane", "FAULT=3 SLOTS=1", HANGS),
    ("shared_lane", "FAULT=4", WRONG),
    ("shared_lane", "FAULT=5", HANGS),
    ("shared_lane", "FAULT=6 REAPS=1", HANGS),
    ("shared_lane", "FAULT=7", HANGS),
    ("shared_lane", "FAULT=8", HANGS),
    ("shared_lane", "FAULT=9", HANGS),
    ("drop_old", "FAULT=1 ALONE=1", WRONG),
    ("drop_old", "FAULT=2 ALONE=1", WRONG),
    ("drop_old", "FAULT=3 ALONE=1", WRONG),
    ("drop_old", "FAULT=4 ALONE=1", WRONG),
    ("drop_old", "FAULT=5 BLOCK=1 LATE=1", WRONG),
    ("drop_old", "FAULT=6 ALONE=1 REQUEUES=1", WRONG),
    ("drop_old", "FAULT=7 ALONE=1 ACKS=1", WRONG),
    ("drop_old", "FAULT=8 ALONE=1", HANGS),
    ("drop_old", "FAULT=9 ALONE=1", HANGS),
    ("drop_old", "FAULT=10 ALONE=1", WRONG),
    ("drop_old", "FAULT=11 BLOCK=1 KEEPS=1 REQUEUES=1", WRONG),
    ("drop_old", "FAULT=12 BLOCK=1 KEEPS=1 ACKS=1 TOGETHER=1", WRONG),
]


@cache
def check(model: str, switches: str) -> str:
    defines = [f"-D{switch}" for switch in switches.split()]
    with TemporaryDirectory() as where:
        subprocess.run(
            ["spin", "-a", *defines, MODELS / f"{model}.pml"], cwd=where, check=True, stdout=subprocess.DEVNULL
        )
        # a short search takes less time than the compiler needs to optimize it
        level = "-O1" if model in MANY_STATES and "FAULT" not in switches else "-O0"
        subprocess.run(["cc", "-w", level, "-DSAFETY", "-o", "pan", "pan.c"], cwd=where, check=True)
        return subprocess.run(["./pan", "-m100000"], cwd=where, check=True, stdout=subprocess.PIPE, text=True).stdout


def unreached(said: str, model: str) -> set[str]:
    """Return the steps that were never tried, without the inlined calls of drop_old's producer: not all can happen."""
    parts = re.findall(r"^unreached in proctype (\w+)\n((?:\t.*\n)*)", said, re.M)
    steps = {line for name, lines in parts if (model, name) != ("drop_old", "producer") for line in lines.splitlines()}
    return {line for line in steps if ", state " in line and "-end-" not in line}


@pytest.mark.parametrize("model", AS_IT_IS)
def test_no_order_of_steps_violates_a_model(model: str) -> None:
    never_reached: list[set[str]] = []
    for switches in AS_IT_IS[model]:
        said = check(model, switches)
        assert "errors: 0" in said, switches
        assert "max search depth too small" not in said
        never_reached.append(unreached(said, model))
    assert not set.intersection(*never_reached)


@pytest.mark.parametrize(("model", "switches", "verdict"), WITH_A_FAULT)
def test_a_fault_is_found(model: str, switches: str, verdict: str) -> None:
    assert verdict in check(model, switches)
