"""Builds the extension module; all other settings of the package are in pyproject.toml."""

import shutil
from glob import glob
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py


class BuildPackage(build_py):
    """Also puts the C core into the package, for `ringipc.get_include`. In place it is beside the package already."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            core = Path(self.build_lib, "ringipc", "csrc")
            shutil.rmtree(core, ignore_errors=True)
            shutil.copytree("csrc", core, ignore=shutil.ignore_patterns("*.o"))


setup(
    cmdclass={"build_py": BuildPackage},
    ext_modules=cythonize(
        Extension(
            "ringipc._core",
            sources=["src/ringipc/_core.pyx", *sorted(glob("csrc/**/*.c", recursive=True))],
            depends=sorted(glob("csrc/**/*.h", recursive=True)),
            include_dirs=["csrc", numpy.get_include()],
            define_macros=[("_GNU_SOURCE", "1"), ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            # The strict flags are too strict for generated C; `make ctest` builds csrc with them.
            extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-pthread"],
            extra_link_args=["-pthread"],
        ),
        build_dir="build",
        compiler_directives={
            "language_level": 3,
            "auto_pickle": False,  # no instance can be made from pickled data
            "binding": False,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "embedsignature": True,  # as text for `inspect.signature`: C methods have no other signature
            "embedsignature.format": "clinic",
            "freethreading_compatible": True,
        },
    ),
)
