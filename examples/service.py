"""A server that answers requests, and a client that sends them. Run it: python examples/service.py"""

import multiprocessing

import numpy as np

import ringipc


def brightness(frame: np.ndarray) -> dict[str, float]:
    return {"mean": float(frame.mean()), "max": float(frame.max())}


def serve() -> None:
    with ringipc.Server("brightness") as server:
        for request in server:
            if request.payload is None:
                request.reply()
                break
            request.reply(brightness(request.payload))


if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=serve)
    process.start()
    with ringipc.Client("brightness") as client:
        print(client.call(np.full((1080, 1920), 7, dtype="u1"), timeout=10))
        client.call(None)  # the server stops
    process.join()
