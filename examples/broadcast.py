"""One producer, two groups: each sees every message, at its own pace. Run it: python examples/broadcast.py"""

import multiprocessing
import time
from multiprocessing.synchronize import Barrier

import ringipc


def listen(group: str, seconds: float, ready: Barrier) -> None:
    with ringipc.Consumer("example-broadcast", group=group) as consumer:
        ready.wait()  # a group that joins later starts at the oldest message still there
        for message in consumer:
            time.sleep(seconds)
            print(f"{group}: {message.decode()}", flush=True)


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(3)
    listeners = [context.Process(target=listen, args=args) for args in (("quick", 0.0, ready), ("slow", 0.2, ready))]
    with ringipc.Producer("example-broadcast", capacity="1 MiB") as producer:
        for listener in listeners:
            listener.start()
        ready.wait()
        for word in b"to be or not to be".split():
            producer.put(word)
    for listener in listeners:
        listener.join()
