"""The model of the event count, checked by spin (Debian's package of that name): every order of every step."""

import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).parent / "models" / "event_count.pml"

pytestmark = pytest.mark.skipif(
    not shutil.which("spin") or not shutil.which("cc"), reason="needs spin and a C compiler"
)


def check(fence: int, where: Path) -> str:
    subprocess.run(["spin", "-a", f"-DFENCE={fence}", MODEL], cwd=where, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cc", "-O2", "-w", "-DSAFETY", "-o", "pan", "pan.c"], cwd=where, check=True)
    return subprocess.run(["./pan", "-m100000"], cwd=where, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.parametrize("fence", [1, 2])
def test_no_wake_up_is_lost(fence: int, tmp_path: Path) -> None:
    said = check(fence, tmp_path)
    assert "errors: 0" in said
    assert "unreached in proctype sleeper\n\t(0 of" in said  # all of it has been tried


def test_without_a_fence_one_is(tmp_path: Path) -> None:
    assert "invalid end state" in check(0, tmp_path)
