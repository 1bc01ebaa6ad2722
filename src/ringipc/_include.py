"""Where the C core is, for programs and modules in C or Cython that use it."""

from pathlib import Path


def get_include() -> str:
    """The directory to include ringipc.h from, as `numpy.get_include`.

    Examples
    --------
    >>> import os, ringipc
    >>> os.path.exists(os.path.join(ringipc.get_include(), "ringipc.h"))
    True
    """
    package = Path(__file__).parent
    installed = package / "csrc"
    return str(installed if installed.is_dir() else package.parents[1] / "csrc")  # else it is installed in place


def get_sources() -> list[str]:
    """The C files of the core, to be compiled into a program or an extension module.

    They are C11, need ``-D_GNU_SOURCE`` and ``-pthread``, and include each other from `get_include`. Each program or
    module has a core of its own; they meet in shared memory.

    Returns
    -------
    list of str
        Paths.
    """
    return sorted(map(str, Path(get_include()).rglob("*.c")))
