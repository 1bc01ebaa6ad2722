"""`ringipc ls`: list everything that has a name."""

import argparse

from .. import _cleanup


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "ls",
        help="list channels, semaphores, locks, events, barriers, latest values and shared arrays",
        description="List channels, semaphores, locks, events, barriers, latest values and shared arrays that have a "
        "name, and the processes that have them open. If no process has one open, killed processes have "
        "left it, or it keeps messages or the end of a stream (WAITING: end) for a group; see `ringipc "
        "clean`. KIND is locked if a stopped process has locked it.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print a table."""
    lines = [("NAME", "KIND", "BYTES", "WAITING", "PIDS")]
    for named in _cleanup.names():
        pids = " ".join(map(str, sorted(set(named.pids)))) or "-"
        waiting = "-"
        if named.kind == "channel":
            waiting = "end" if named.end_waits and not named.backlog else str(named.backlog)
        if named.kind == "locked":
            pids = f"locked by {f'pid {pids}' if named.pids else 'a process that is not visible from here'}"
        lines.append((_printable(named.name), named.kind, str(named.bytes), waiting, pids))
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    for line in lines:
        print("  ".join((*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4])))
    return 0


def _printable(name: str) -> str:
    return name if name.isprintable() else repr(name)
