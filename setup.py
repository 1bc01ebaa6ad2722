"""The extension module; everything else about the package stands in pyproject.toml."""

from glob import glob

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

FLOOR = {f"csrc/{name}.c" for name in ("handle", "lock_holder", "mapping", "wait_linux")}  # what all modules stand on
SYNC = {f"csrc/{name}.c" for name in ("sync", "semaphore", "event", "barrier")}
LINKS = {f"csrc/{name}.c" for name in ("io_loop", "receiver", "sender")}
RINGS = set(glob("csrc/*.c")) - SYNC - LINKS


def skin(name: str, core: set[str]) -> Extension:
    return Extension(
        f"ringipc.{name}",
        sources=[f"src/ringipc/{name}.pyx", *sorted(core)],
        depends=sorted(glob("csrc/*.h")),
        include_dirs=["csrc", numpy.get_include()],
        define_macros=[("_GNU_SOURCE", "1"), ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        # The generated C cannot stand the strict flags; the Makefile's ctest builds csrc with those.
        extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-pthread"],
        extra_link_args=["-pthread"],
    )


setup(
    ext_modules=cythonize(
        [
            *(skin(name, RINGS) for name in ("_core", "_producer", "_consumer")),
            skin("_pump", RINGS | LINKS),
            skin("_sync", FLOOR | SYNC),
        ],
        build_dir="build",
        compiler_directives={
            "language_level": 3,
            "auto_pickle": False,  # nothing here can be made of what somebody else has written
            "binding": False,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "embedsignature": True,  # as text that `inspect.signature` reads: C methods have no other
            "embedsignature.format": "clinic",
            "freethreading_compatible": True,
        },
    )
)
