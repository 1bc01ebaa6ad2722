"""`ringipc clean`: removes what processes that were killed have left behind."""

import argparse

from .. import cleanup


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds this command to the command line."""
    parser = commands.add_parser(
        "clean",
        help="remove what was left behind by processes that were killed",
        description="Removes channels, semaphores, locks, events and barriers that nobody has open. Nothing that is "
        "alive is touched; a channel is kept whose messages wait for a group, or the end of its stream, or that has a "
        "durable group, and so is what another version of ringipc has made.",
    )
    parser.add_argument(
        "--messages",
        action="store_true",
        help="remove channels with messages or durable groups, and other versions' channels, too",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Says what it removes, and of what nobody has open what it keeps, and why."""
    kept = 0
    for named in cleanup.names():
        if named.pids and named.kind != "damaged":
            continue
        why = cleanup.tidy(named, messages=arguments.messages)
        if why is None:
            print(f"removed {named.kind} {named.name!r}, {named.bytes} bytes")
        else:
            print(f"kept {named.kind} {named.name!r}: {why}")
            kept += 1
    return 1 if kept else 0
