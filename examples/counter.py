"""Four processes count, and one negates an array. Run it: python examples/counter.py"""

import multiprocessing
from typing import Any

import ringipc


def count(counter: Any) -> None:
    for _ in range(1000):
        with counter.get_lock():
            counter.value += 1


def negate(numbers: Any) -> None:
    with numbers.get_lock():
        for i, number in enumerate(numbers):
            numbers[i] = -number


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    counter, numbers = ringipc.Value("i", 0), ringipc.Array("i", range(5))
    processes = [context.Process(target=count, args=(counter,)) for _ in range(4)]
    processes.append(context.Process(target=negate, args=(numbers,)))
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(counter.value, numbers[:])
