"""The standard library's own tests of ProcessPoolExecutor, run over `ringipc.ProcessPoolExecutor`.

`python -m stdlib_futures [NAME ...]` in tests/, with a Python that has test.test_concurrent_futures as a package (from
3.13 on, and not in every distribution). NAME: parts of the names of tests.
"""

import concurrent.futures
import faulthandler
import importlib
import sys
import unittest
from typing import Any

import ringipc

LIMIT = 100  # seconds for one test: then the process ends, with the stacks of its threads
PACKAGE = "test.test_concurrent_futures"
MODULES = ["test_process_pool", "test_shutdown", "test_deadlock", "test_init", "test_as_completed", "test_wait"]


class Result(unittest.TextTestResult):
    def startTest(self, test: unittest.TestCase) -> None:
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        super().startTest(test)

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()


def main(names: list[str]) -> bool:
    # In this process alone, for the tests: their classes take the executor from there.
    setattr(concurrent.futures, "ProcessPoolExecutor", ringipc.ProcessPoolExecutor)  # noqa: B010
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*ProcessPool*{name}*" for name in names or [""]]
    suite = unittest.TestSuite()
    for name in MODULES:
        module: Any = importlib.import_module(f"{PACKAGE}.{name}")
        if hasattr(module, "assert_python_ok"):
            module.assert_python_ok = _with_ours(module.assert_python_ok)
        suite.addTests(loader.loadTestsFromModule(module))
    result = unittest.TextTestRunner(sys.stdout, verbosity=2, resultclass=Result).run(suite)  # type: ignore[arg-type]
    return result.wasSuccessful() and result.testsRun > 0


def _with_ours(run: Any) -> Any:
    """Let the programs that tests run import our executor."""

    def run_with_ours(option: str, program: str) -> Any:
        program = program.replace("from concurrent.futures import ProcessPool", "from ringipc import ProcessPool")
        return run(option, program)

    return run_with_ours


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1:]))
