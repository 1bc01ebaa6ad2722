"""Checks that calls go downward only: between the folders of `csrc`, between its files, between the package's modules.

`python tests/layers.py OBJECTS` (`make lint` does it) checks the includes and the imports, and what the compiled
files in OBJECTS, laid out as `csrc` is, call of each other. A folder may use those named with it and itself, a module
those of its own line and of the lines above it. No two files may need each other, not even by way of others.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

FOLDERS = {
    "base": (),
    "store": ("base",),
    "channel": ("base", "store"),
    "ring": ("base", "store", "channel"),
    "sync": ("base", "store"),
    "stream": ("base", "store", "channel", "ring"),
}

MODULES = """
errors _upkeep
_passing
_facts _names _shortage _failures _arguments _atexit _stats _latest_message _reservation _include _readiness codecs
_core
channel _wait values
transports
_opening
calls mp executor joblib
manager
ringipc _cleanup
cli __main__
"""
LINES = {name: number for number, line in enumerate(MODULES.strip().split("\n")) for name in line.split()}

INCLUDE = re.compile(r'^#include "(.+)\.h"', re.MULTILINE)
# The imports of Cython, which `ast` cannot parse.
IMPORT = re.compile(r"^\s*(?:from|c?import) ringipc(?:\.(\w+)| c?import (.+))", re.MULTILINE)

Needs = dict[tuple[str, str], str]  # (file, other file) -> how the one needs the other: a verb and its object


def includes(csrc: Path) -> Needs:
    needs = {}
    for file in sorted(csrc.glob("*/*.[ch]")):
        name = file.relative_to(csrc).with_suffix("").as_posix()
        for other in INCLUDE.findall(file.read_text()):
            if other not in (name, "ringipc"):  # every file may include the public header
                needs[name, other] = f"includes {other}.h"
    return needs


def calls(csrc: Path, objects: Path) -> Needs:
    used: list[tuple[str, str]] = []
    defined: dict[str, str] = {}
    for file in sorted(csrc.glob("*/*.c")):
        name = file.relative_to(csrc).with_suffix("").as_posix()
        compiled = objects / f"{name}.o"
        listing = subprocess.run(["nm", "-P", compiled], check=True, stdout=subprocess.PIPE, text=True).stdout
        for symbol, kind, *_ in map(str.split, listing.splitlines()):
            if kind == "U":
                used.append((name, symbol))
            elif kind.isupper():
                defined[symbol] = name
    return {(name, defined[s]): f"calls {s} of {defined[s]}" for name, s in used if defined.get(s, name) != name}


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Return the imports of a module, also those inside functions, but not those for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        yield from _imported(node, package)


def imports(package: Path) -> Needs:
    files = {file.relative_to(package.parent).with_suffix(""): file for file in sorted(package.rglob("*.py"))}
    modules = {".".join(path.parts).removesuffix(".__init__"): file for path, file in files.items()}
    needs = {}
    for name, file in modules.items():
        within = name if file.stem == "__init__" else name.rpartition(".")[0]
        for found in _imported(ast.parse(file.read_text()), within):
            other = found
            while other and other not in (*modules, "ringipc._core"):
                other = other.rpartition(".")[0]
            if other not in ("", name):
                needs[name, other] = f"imports {other}"
    for file in sorted(file for file in package.rglob("*.p*") if file.suffix in (".pyx", ".pxi")):
        for module, names in IMPORT.findall(file.read_text()):
            for other in [module] if module else re.findall(r"\w+", names):
                needs["ringipc._core", f"ringipc.{other}"] = f"imports ringipc.{other}"
    return needs


def _goes_up(name: str, other: str) -> bool:
    if "/" in name:
        folder, below = name.split("/")[0], other.split("/")[0]
        return below not in (folder, *FOLDERS[folder])
    line, its_line = (LINES.get("ringipc" if m == "ringipc" else m.split(".")[1], len(LINES)) for m in (name, other))
    return its_line > line


def _circle(needs: Needs) -> list[str]:
    """Files of which each needs the next one, and the last needs the first; empty if there is no such circle."""
    below: dict[str, list[str]] = {}
    for name, other in needs:
        below.setdefault(name, []).append(other)
    done: set[str] = set()

    def walk(way: list[str]) -> list[str]:
        for other in below.get(way[-1], []):
            if other in way:
                return way[way.index(other) :]
            if other not in done and (found := walk([*way, other])):
                return found
        done.add(way[-1])
        return []

    return next((found for name in below if (found := walk([name]))), [])


def faults(needs: Needs) -> list[str]:
    """Return a sentence for each use that goes up, and for one circle."""
    up = [f"{name} {how}, which is not below it" for (name, other), how in needs.items() if _goes_up(name, other)]
    circle = _circle(needs)
    if circle:
        steps = pairwise([*circle, circle[0]])
        up.append("a circle: " + "; ".join(f"{name} {needs[name, other]}" for name, other in steps))
    return up


def main(objects: Path) -> None:
    root = Path(__file__).parent.parent
    core = includes(root / "csrc") | calls(root / "csrc", objects)
    found = faults(core) + faults(imports(root / "src" / "ringipc"))
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
