"""The module test._test_multiprocessing of the standard library, with `ringipc.mp` in the place of multiprocessing.

Its source is compiled here with other import statements, also in the programs that it passes to other interpreters.
Whatever else imports multiprocessing, in this process too, is not affected. STDLIB_MP=multiprocessing leaves the
imports as they are: with that a failure can be compared.
"""

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

STANDARD = "multiprocessing"
PACKAGE = os.environ.get("STDLIB_MP", "ringipc.mp")


def _redirected(statement: re.Match[str]) -> str:
    indent, submodule, rest = statement["indent"], statement["submodule"] or "", statement["rest"]
    if statement["keyword"] == "from":
        found = PACKAGE + submodule if find_spec(PACKAGE + submodule) else STANDARD + submodule
        return f"{indent}from {found}{rest}"
    above, _, name = PACKAGE.rpartition(".")
    return f"{indent}from {above} import {name}{rest or ' as ' + STANDARD}"  # submodules are attributes of it


def _source(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if PACKAGE == STANDARD:
        return text
    lines = r"^(?P<indent> *)(?P<keyword>import|from) multiprocessing(?P<submodule>\.\w+)?(?P<rest>| as .*| import .*)$"
    return re.sub(lines, _redirected, text, flags=re.MULTILINE)


def _load() -> None:
    found = find_spec("test._test_multiprocessing")
    assert found is not None
    assert found.origin is not None
    names: dict[str, Any] = globals()
    names["__file__"] = found.origin  # some tests run a program that lies beside it
    exec(compile(_source(Path(found.origin)), found.origin, "exec"), names)
    names["PRELOAD"] = ["__main__", __name__]


_load()
