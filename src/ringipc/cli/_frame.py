"""A frame as it crosses between the demo's processes, and the check that it came whole and in its turn."""

from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]  # (height, width, 3), RGB
Record = npt.NDArray[np.void]  # no dimensions; the fields below
GRAIN = 8  # width and height are multiples of it: a row is whole 64-bit words, a picture whole blocks


class DamagedFrame(Exception):
    """A frame is not what its sender sent, or not the one that is due."""


def record_dtype(width: int, height: int) -> np.dtype[Any]:
    """What is sent: the pixels, and what is to be known of them.

    Fields
    ------
    pixels
        First, so that they begin on the message's boundary of 64 bytes.
    seq
        Counts the frames of a run from 0.
    sent
        When the source had the frame ready to go, in nanoseconds of time.monotonic_ns(); a result keeps it.
    checksum
        Of the pixels, by whoever wrote them.
    backlog
        In a result: the frames that waited for the worker when it took this one.
    """
    pixels = ("pixels", "u1", (height, width, 3))
    return np.dtype([pixels, ("seq", "u8"), ("sent", "i8"), ("checksum", "u8"), ("backlog", "u8")])


def checksum(pixels: Pixels) -> int:
    """A sum over every byte, fast enough for every frame: 0.1 ms for 6 MB.

    Each row's 64-bit words are added up, then the rows' sums with odd weights, modulo 2**64. A change in one word
    cannot go unnoticed, nor can rows that have changed places.

    >>> frame = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    >>> checksum(frame) == checksum(frame[::-1].copy())
    False
    """
    rows = pixels.reshape(len(pixels), -1).view(np.uint64).sum(axis=1)
    return int(rows @ np.arange(1, 2 * len(rows), 2, dtype=np.uint64))


def check(record: Record, seq: int) -> None:
    """Makes sure that record holds frame seq as it was sent.

    Raises
    ------
    DamagedFrame
        It is another frame, or its pixels do not give its checksum.
    """
    if record["seq"] != seq:
        raise DamagedFrame(f"frame {record['seq']} came when frame {seq} was due")
    found = checksum(record["pixels"])
    if record["checksum"] != found:
        raise DamagedFrame(
            f"frame {seq} came damaged: its checksum is {found:#018x}, {record['checksum']:#018x} was sent"
        )
