"""`ringipc clean`: remove the files that killed processes have left."""

import argparse

from .. import _cleanup


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this command to the command line."""
    parser = commands.add_parser(
        "clean",
        help="remove the files that killed processes have left",
        description="Remove channels, semaphores, locks, events, barriers, latest values and shared arrays that no "
        "process has open. A channel is kept if it has messages for a group, a durable group, or the end "
        "of a stream to deliver, or if another version of ringipc created it; the exit status is then 1.",
    )
    parser.add_argument(
        "--messages",
        action="store_true",
        help="also remove channels with messages or durable groups, and channels of other versions",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Remove what no process has open; print what was removed, what was kept and why. 1 if something was kept."""
    kept = 0
    for named in _cleanup.names():
        if named.pids and named.kind != "damaged":
            continue
        why = _cleanup.remove(named, messages=arguments.messages)
        if why is None:
            print(f"removed {named.kind} {named.name!r}, {named.bytes} bytes")
        else:
            print(f"kept {named.kind} {named.name!r}: {why}")
            kept += 1
    return 1 if kept else 0
