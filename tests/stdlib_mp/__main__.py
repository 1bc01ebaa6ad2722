"""Run the tests for one start method: `python -m stdlib_mp METHOD [PART_OF_A_NAME ...]`."""

import argparse
import faulthandler
import os
import signal
import sys
import time
import unittest

LIMIT = 60  # seconds for one test: then the process ends, with the stacks of its threads


class _Result(unittest.TextTestResult):
    """Limits the time of each test, and says how long the slowest ones took."""

    durations: list[tuple[float, str]]

    def startTestRun(self) -> None:
        self.durations = []
        super().startTestRun()

    def startTest(self, test: unittest.TestCase) -> None:
        self._began = time.monotonic()
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        super().startTest(test)

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()
        self.durations.append((time.monotonic() - self._began, test.id()))

    def stopTestRun(self) -> None:
        super().stopTestRun()
        slowest = sorted(self.durations, reverse=True)[:10]
        self.stream.writeln("slowest: " + ", ".join(f"{name} {seconds:.1f} s" for seconds, name in slowest))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m stdlib_mp", description=__doc__)
    parser.add_argument("method", choices=["spawn", "fork", "forkserver"])
    parser.add_argument("names", nargs="*", help="parts of the names of tests; none: all tests")
    arguments = parser.parse_args()
    os.environ["START_METHOD"] = arguments.method
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs without; tests send it
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{name}*" for name in arguments.names] or None
    suite = loader.loadTestsFromName("stdlib_mp.cases")
    result = unittest.TextTestRunner(
        sys.stdout,
        verbosity=2,
        resultclass=_Result,  # type: ignore[arg-type]  # its stream is typed as a protocol
    ).run(suite)
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
