"""The test cases for one start method, which the environment variable START_METHOD names."""

import os
import unittest
from typing import Any

from . import over_mp
from .left_out import CLASSES, NOT_WITH_SPAWN, TESTS, Reason

_names: dict[str, Any] = globals()
vars(over_mp)["install_tests_in_module_dict"](_names, os.environ["START_METHOD"])


def _leave_out(name: str, reason: Reason) -> None:
    """Skip a class or a test, which must exist in this version of Python unless the reason says otherwise."""
    class_name, _, test = name.partition(".")
    case = _names.get(class_name)
    if case is None or (test and not hasattr(case, test)):
        assert reason.not_everywhere, f"{name} is left out, but there is no such test"
    elif test:
        setattr(case, test, unittest.skip(reason.why)(getattr(case, test)))
    else:
        del _names[class_name]


_left_out = CLASSES | TESTS | (NOT_WITH_SPAWN if os.environ["START_METHOD"] == "spawn" else {})
for _name, _reason in _left_out.items():
    _leave_out(_name, _reason)
for _name in [name for name in _names if name.startswith("WithThreads")]:
    del _names[_name]  # those of multiprocessing.dummy, which is not replaced
