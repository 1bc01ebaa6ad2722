"""Two processes: one sends, the other receives. Run it: python examples/hello.py"""

import multiprocessing

import numpy as np

import ringipc


def sender() -> None:
    with ringipc.Producer("example") as producer:
        producer.put(b"hello")
        for k in range(3):
            producer.put(np.full((2, 2), k, dtype="f4"))


if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=sender)
    process.start()
    with ringipc.Consumer("example") as consumer:
        for message in consumer:
            print(message)
    process.join()
