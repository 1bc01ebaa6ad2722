"""The C tests on another processor: 64-bit ARM, in an emulator (Debian's gcc-aarch64-linux-gnu and qemu-user)."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not all(map(shutil.which, ["make", "aarch64-linux-gnu-gcc", "qemu-aarch64"])),
        reason="needs make, aarch64-linux-gnu-gcc and qemu-aarch64",
    ),
]


def test_the_c_tests_pass_on_64_bit_arm() -> None:
    made = subprocess.run(["make", "aarch64"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert made.returncode == 0, made.stdout
