"""What a module of this package does not define, it has from the module of the same name in the standard library."""

import importlib
from collections.abc import Callable
from typing import Any


def fall_back(name: str) -> Callable[[str], Any]:
    """Return the function `__getattr__` for a module of this package, whose name this is."""
    package = __name__.rpartition(".")[0]
    standard = importlib.import_module("multiprocessing" + name.removeprefix(package))

    def get(attribute: str) -> Any:
        try:
            return getattr(standard, attribute)
        except AttributeError:
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}") from None

    return get
