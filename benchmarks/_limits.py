"""The C programs in limits/: they are compiled when their sources have changed, and run as contenders."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Self

from ._harness import PATIENCE, Missing

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "benchmarks" / "limits"
BUILD = ROOT / "build" / "limits"
COMPILER = shlex.split(os.environ.get("CC", "cc"))
FLAGS = ["-O2", "-std=c11", "-D_GNU_SOURCE", "-pthread"]
NO_COMPILER = f"no C compiler ({COMPILER[0]})"


def has_compiler() -> bool:
    return shutil.which(COMPILER[0]) is not None


def _is_stale(target: Path, sources: Sequence[Path]) -> bool:
    return not target.exists() or target.stat().st_mtime < max(source.stat().st_mtime for source in sources)


def _build(target: Path, sources: Sequence[Path], needs: Sequence[Path], flags: Sequence[str]) -> None:
    if _is_stale(target, [*sources, *needs]):
        BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run([*COMPILER, *FLAGS, *flags, "-o", target, *sources], check=True)


def _built_program(name: str) -> Path:
    core = (ROOT / "csrc").rglob("*.[ch]") if name == "core" else ()
    files = sorted(core)
    target = BUILD / name
    _build(
        target,
        [SOURCES / f"{name}.c", *(file for file in files if file.suffix == ".c")],
        [SOURCES / "limits.h", *(file for file in files if file.suffix == ".h")],
        [f"-I{ROOT / 'csrc'}"],
    )
    return target


def empty_method() -> Callable[[], None]:
    """Return a bound method of a Cython class that does nothing, compiled like the classes of ringipc."""
    source, made = SOURCES / "nop.pyx", BUILD / "nop.c"
    if _is_stale(made, [source]):
        BUILD.mkdir(parents=True, exist_ok=True)
        options = ["-3", "-X", "binding=False", "-X", "freethreading_compatible=True"]
        subprocess.run([sys.executable, "-m", "cython", *options, source, "-o", made], check=True)
    target = BUILD / f"nop{sysconfig.get_config_var('EXT_SUFFIX')}"
    _build(target, [made], [], ["-DNDEBUG", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}"])
    spec = spec_from_file_location("nop", target, loader=ExtensionFileLoader("nop", str(target)))
    assert spec is not None
    assert spec.loader is not None
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)
    method: Callable[[], None] = module.Nop().nop
    return method


class Program:
    """A contender that is a program of limits/. It is started for each measurement, and warms itself up.

    Its arguments are those in `before`, the number of messages, and the cores.
    """

    def __init__(self, name: str, program: str, before: Sequence[object], cores: Sequence[int]) -> None:
        self.name = name
        self._program = program
        self._before = before
        self._cores = cores
        self._path = Path()

    def __enter__(self) -> Self:
        self._path = _built_program(self._program)
        return self

    def wait_until_ready(self) -> None:
        """A program is ready at once."""

    def measure(self, count: int) -> float:
        arguments = [str(argument) for argument in (*self._before, count, *self._cores)]
        done = subprocess.run([self._path, *arguments], check=True, stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
        return float(json.loads(done.stdout)["seconds"]) / count

    def __exit__(self, *_: object) -> None:
        """A program leaves nothing between measurements."""


def program(name: str, program: str, *before: object, cores: Sequence[int]) -> Program | Missing:
    return Program(name, program, before, cores) if has_compiler() else Missing(name, NO_COMPILER)
