"""An anonymous channel, passed to a process as an argument. No file is left behind, however the processes end."""

import multiprocessing

import numpy as np

import ringipc


def sender(channel: ringipc.Channel) -> None:
    with ringipc.Producer(channel, capacity="8 MiB") as producer:
        for k in range(3):
            producer.put(np.full((2, 2), k, dtype="f4"))


if __name__ == "__main__":
    channel = ringipc.Channel.anonymous()
    process = multiprocessing.get_context("spawn").Process(target=sender, args=(channel,))
    process.start()
    with ringipc.Consumer(channel) as consumer:
        for message in consumer:
            print(message)
    process.join()
