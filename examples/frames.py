"""One process fills frames in the ring, the other shows their mean and rate. Run it: python examples/frames.py"""

import multiprocessing
import time

import ringipc

SHAPE = (1080, 1920, 3)
FRAMES = 600


def camera() -> None:
    with ringipc.Producer("example-frames", capacity="64 MiB") as producer:
        for n in range(FRAMES):
            with producer.reserve(SHAPE) as frame:  # an array in the ring: filled there, never copied
                frame[:] = n % 256


def show() -> None:
    with ringipc.Consumer("example-frames") as consumer:
        last = time.perf_counter()
        for n, frame in enumerate(consumer, 1):
            if n % 100 == 0:
                mean, now = frame[::8, ::8].mean(), time.perf_counter()
                rate = 100 / (now - last)
                print(f"frame {n}: mean {mean:.0f}, {rate:.0f} frames/s, {rate * frame.nbytes / 1e9:.1f} GB/s")
                last = now


if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=camera)
    process.start()
    show()
    process.join()
