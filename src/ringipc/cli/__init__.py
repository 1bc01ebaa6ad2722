"""The command `ringipc`: one module or package for each subcommand."""

import argparse
from collections.abc import Sequence

from .. import __version__
from . import clean, demo, ls


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, by default sys.argv. Returns the exit status: 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="ringipc", description="Move NumPy arrays and bytes between processes through rings in shared memory."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)
    for command in (demo, ls, clean):
        command.add_to(commands)
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except KeyboardInterrupt:
        return 130
    return status
