"""The files of the C core, for programs and modules in C or Cython that use it."""

from pathlib import Path


def get_include() -> str:
    """Return the directory that has ringipc.h, like `numpy.get_include`.

    Examples
    --------
    >>> import os, ringipc
    >>> os.path.exists(os.path.join(ringipc.get_include(), "ringipc.h"))
    True
    """
    package = Path(__file__).parent
    installed = package / "csrc"
    return str(installed if installed.is_dir() else package.parents[1] / "csrc")  # or installed in place


def get_sources() -> list[str]:
    """Return the C files of the core, to compile them into a program or an extension module.

    They are C11 and need ``-D_GNU_SOURCE``, ``-pthread``, and `get_include` as an include directory. Each program or
    module has its own copy of the core; the copies meet in shared memory.

    Returns
    -------
    list of str
        Paths.
    """
    return sorted(map(str, Path(get_include()).rglob("*.c")))
