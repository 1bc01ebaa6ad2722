"""A frame as it is sent between the processes of the demo, and the check that it arrived intact and in order."""

from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]  # (height, width, 3), RGB
Record = npt.NDArray[np.void]  # no dimensions; the fields below
GRAIN = 8  # width and height are multiples of this, so that rows are 64-bit words and frames are blocks


class DamagedFrame(Exception):
    """A frame is not what was sent, or not the next one."""


def record_dtype(width: int, height: int) -> np.dtype[Any]:
    """Return the dtype of what is sent: the pixels and information about them.

    Fields
    ------
    pixels
        First, so that they are aligned to 64 bytes.
    seq
        Counts the frames of a run from 0.
    sent
        When the source had the frame ready, in nanoseconds of time.monotonic_ns(); copied to the result.
    checksum
        Of the pixels.
    backlog
        In a result: the number of frames that waited for the worker when it got this one.
    """
    pixels = ("pixels", "u1", (height, width, 3))
    return np.dtype([pixels, ("seq", "u8"), ("sent", "i8"), ("checksum", "u8"), ("backlog", "u8")])


def checksum(pixels: Pixels) -> int:
    """Return a checksum of all bytes, fast enough for every frame: 0.1 ms for 6 MB.

    The sum of the 64-bit words of each row; then the sum of these with odd weights, modulo 2**64. It detects any change
    of one word, and rows that are swapped.

    >>> frame = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    >>> checksum(frame) == checksum(frame[::-1].copy())
    False
    """
    rows = pixels.reshape(len(pixels), -1).view(np.uint64).sum(axis=1)
    return int(rows @ np.arange(1, 2 * len(rows), 2, dtype=np.uint64))


def check(record: Record, seq: int) -> None:
    """Check that a record is frame seq as it was sent.

    Raises
    ------
    DamagedFrame
        It is another frame, or its checksum does not match.
    """
    if record["seq"] != seq:
        raise DamagedFrame(f"frame {record['seq']} arrived instead of frame {seq}")
    found = checksum(record["pixels"])
    if record["checksum"] != found:
        raise DamagedFrame(
            f"frame {seq} arrived damaged: its checksum is {found:#018x}, {record['checksum']:#018x} was sent"
        )
