"""C programs and Cython modules that are built against the installed package."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import ringipc
from ringipc import Producer

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a wheel of the package has been unpacked."""
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in ("csrc", "src"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", str(wheels), "."]
    subprocess.run(build, check=True, env=os.environ | {"CFLAGS": "-O0"}, cwd=source)
    (wheel,) = wheels.glob("*.whl")
    to = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(to)
    return to


def run(command: list[str | Path], installed: Path, cwd: Path) -> str:
    environment = os.environ | {"PYTHONPATH": f"{installed}{os.pathsep}{cwd}"}
    return subprocess.run(command, check=True, env=environment, cwd=cwd, stdout=subprocess.PIPE, text=True).stdout


def core(installed: Path, tmp_path: Path) -> Path:
    where = Path(
        run([sys.executable, "-c", "import ringipc; print(ringipc.get_include())"], installed, tmp_path).strip()
    )
    assert where.is_relative_to(installed)
    return where


def test_a_c_program(installed: Path, tmp_path: Path, base: str) -> None:
    include = core(installed, tmp_path)
    flags = ["-std=c11", "-O0", "-D_GNU_SOURCE", f"-I{include}", "-pthread", "-o", "producer"]
    run(["cc", *flags, ROOT / "examples/producer.c", *sorted(include.rglob("*.c"))], installed, tmp_path)
    run([tmp_path / "producer"], installed, tmp_path)
    got = run([sys.executable, ROOT / "examples/read_from_c.py"], installed, tmp_path).splitlines()
    assert [line.split(":")[0] for line in got] == ["a sine wave follows", *["float32 (1000,)"] * 5, "that was all"]


def test_a_cython_module(installed: Path, tmp_path: Path, base: str) -> None:
    for path in (ROOT / "examples/cython").iterdir():
        shutil.copy(path, tmp_path)
    run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], installed, tmp_path)
    with Producer("numbers", capacity="1 MiB", groups=["totals"]) as producer:
        for k in range(10):
            producer.put(np.full((3, 4), k, "f4"))
    got = run([sys.executable, "-c", "import totals; print(totals.total('numbers'))"], installed, tmp_path)
    assert float(got) == 12 * sum(range(10))


def test_the_sources_are_those_of_the_extension() -> None:
    assert sorted(ringipc.get_sources()) == sorted(map(str, ROOT.glob("csrc/**/*.c")))
