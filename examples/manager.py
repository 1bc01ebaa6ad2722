"""A child changes a dict and a list that a manager serves. Run it: python examples/manager.py"""

from typing import Any

from ringipc import mp as multiprocessing


def change(shared: Any, numbers: Any) -> None:
    shared["two"] = 2
    numbers.reverse()


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        shared, numbers = manager.dict(one=1), manager.list(range(5))
        process = context.Process(target=change, args=(shared, numbers))
        process.start()
        process.join()
        print(shared, numbers)
