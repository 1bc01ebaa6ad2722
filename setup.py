"""The extension module; everything else about the package stands in pyproject.toml."""

from glob import glob

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup



def folders(*names: str) -> set[str]:
    return {file for name in names for file in glob(f"csrc/{name}/*.c")}


RINGS = folders("base", "store", "channel", "ring")


def skin(name: str, core: set[str]) -> Extension:
    return Extension(
        f"ringipc.{name}",
        sources=[f"src/ringipc/{name}.pyx", *sorted(core)],
        depends=sorted(glob("csrc/**/*.h", recursive=True)),
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
            skin("_pump", RINGS | folders("stream")),
            skin("_sync", folders("base", "store", "sync")),
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
