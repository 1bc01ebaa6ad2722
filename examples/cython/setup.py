"""Builds totals.pyx against the installed ringipc."""

from Cython.Build import cythonize
from setuptools import Extension, setup

import ringipc

setup(
    name="totals",
    ext_modules=cythonize(
        Extension(
            "totals",
            ["totals.pyx", *ringipc.get_sources()],
            include_dirs=[ringipc.get_include()],
            define_macros=[("_GNU_SOURCE", "1")],
            extra_compile_args=["-std=c11", "-fvisibility=hidden", "-pthread"],
            extra_link_args=["-pthread"],
        ),
        language_level=3,
    ),
)
