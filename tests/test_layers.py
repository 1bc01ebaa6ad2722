"""The check of layers (tests/layers.py) finds uses that go up, and circles."""

import subprocess
from pathlib import Path

import layers


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def _compiled(csrc: Path) -> Path:
    objects = csrc / "objects"
    for source in csrc.glob("*/*.c"):
        target = objects / source.relative_to(csrc).with_suffix(".o")
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-c", "-o", target, source], check=True)
    return objects


def test_the_package_and_the_includes_of_the_core_go_downward_only() -> None:
    root = Path(__file__).parent.parent
    assert layers.faults(layers.includes(root / "csrc")) == []
    assert layers.faults(layers.imports(root / "src" / "ringipc")) == []


def test_a_call_that_goes_up_is_found(tmp_path: Path) -> None:
    csrc = _write(
        tmp_path,
        {
            "base/wait.c": "void rip_lock(void); void rip_wait(void) { rip_lock(); }",
            "store/lock.c": "void rip_lock(void) {}",
        },
    )
    needs = layers.calls(csrc, _compiled(csrc))
    assert layers.faults(needs) == ["base/wait calls rip_lock of store/lock, which is not below it"]


def test_files_of_one_folder_that_call_each_other_are_found(tmp_path: Path) -> None:
    csrc = _write(
        tmp_path,
        {
            "ring/rx.c": "void rip_next(void); void rip_rx(void) { rip_next(); }",
            "ring/next.c": "void rip_end(void); void rip_next(void) { rip_end(); }",
            "ring/end.c": "void rip_rx(void); void rip_end(void) { rip_rx(); }",
        },
    )
    (fault,) = layers.faults(layers.calls(csrc, _compiled(csrc)))
    assert fault.startswith("a circle: ")
    assert set(fault.removeprefix("a circle: ").split("; ")) == {
        "ring/rx calls rip_next of ring/next",
        "ring/next calls rip_end of ring/end",
        "ring/end calls rip_rx of ring/rx",
    }


def test_an_include_that_goes_up_is_found(tmp_path: Path) -> None:
    csrc = _write(tmp_path, {"store/files.c": '#include "store/files.h"\n#include "ring/rx.h"\n#include "ringipc.h"\n'})
    assert layers.faults(layers.includes(csrc)) == ["store/files includes ring/rx.h, which is not below it"]


def test_an_import_that_goes_up_is_found_also_within_a_function(tmp_path: Path) -> None:
    package = _write(
        tmp_path / "ringipc",
        {
            "__init__.py": "from ringipc._opening import Producer",
            "_opening.py": "from ringipc import errors",
            "errors.py": "def late():\n    from ringipc._opening import Producer\n",
            "channel.py": "if TYPE_CHECKING:\n    from ringipc.cli import main\n",
            "cli.py": "from . import channel",
            "_core.pyx": "from ringipc.errors cimport c\nfrom ringipc.channel import Channel\n",
            "core/wait.pxi": "from ringipc import errors, _opening\n",
        },
    )
    assert layers.faults(layers.imports(package)) == [
        "ringipc.errors imports ringipc._opening, which is not below it",
        "ringipc._core imports ringipc.channel, which is not below it",
        "ringipc._core imports ringipc._opening, which is not below it",
        "a circle: ringipc._opening imports ringipc.errors; ringipc.errors imports ringipc._opening",
    ]
