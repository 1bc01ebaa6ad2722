"""The tests that are not run over `ringipc.mp`, each with its reason."""

from typing import NamedTuple


class Reason(NamedTuple):
    """Why a test or a class of tests is left out."""

    why: str
    not_everywhere: bool = False  # some versions of Python do not have it


# Classes about parts of the standard library that ringipc.mp does not replace: they would test Python.
CLASSES: dict[str, Reason] = {
    name: Reason("it tests the standard library's own class")
    for name in (
        "TestResourceTracker",  # it removes semaphores by their names; those of ringipc.mp have none
        "WithProcessesTestFinalize",
        "WithProcessesTestLogging",
        "WithProcessesTestProcess",
        "WithProcessesTestSharedMemory",
        "WithProcessesTestSubclassingProcess",
    )
}

# Classes that take long where each process is a new interpreter, a third of all the time; the others run them.
NOT_WITH_SPAWN: dict[str, Reason] = {
    name: Reason("it runs with fork and forkserver")
    for name in ("WithManagerTestBarrier", "WithManagerTestCondition", "WithProcessesTestBarrier")
}

# Tests of what ringipc.mp replaces that look inside it.
TESTS: dict[str, Reason] = {
    "TestStartMethod.test_mixed_startmethod": Reason(
        "it wants an error when an object of a fork context is passed to a spawned process; here that works"
    ),
    "_TestImportStar.test_import": Reason("it imports the files of this package under the name of multiprocessing"),
}
