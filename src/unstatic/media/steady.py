"""Videos of strangers as frames at a steady rate: times that lie, jump or stand still do no harm."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation
from jaxtyping import UInt8

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.media.colour import to_rgb
from unstatic.media.decode import deinterlaced, picture_streams, shown_size
from unstatic.media.read import open_container, upright

# Times are rounded in files, to milliseconds in WebM: a frame may come so much of a frame before its turn
_EARLY = 0.25


def read_steadily(
    path: Path, *, container: str, fps: Fraction, longest: int
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yield what a player shows, `fps` times a second from the first frame on; the last one is shown once.

    Frames are turned as a player would, even in both sides and none longer than `longest`; they keep the
    size of the first. Raises InputError as `read_video` does.
    """
    with open_container(path, container=container) as opened:
        stream = picture_streams(opened)[0]
        stream.codec_context.thread_count = 1  # each thread keeps frames of its own
        size: Size | None = None
        waiting: av.VideoFrame | None = None
        begin_s, turn = 0.0, 0
        for frame in deinterlaced(opened.decode(stream)):
            if size is None or waiting is None:
                size = _within(shown_size(frame, stream), longest)
                waiting, begin_s = frame, _time_s(frame) or 0.0
                continue

            # A frame stays until the turn of the next; what comes before its turn is left out
            time_s = _time_s(frame)
            its_turn = turn + 1 if time_s is None else math.floor((time_s - begin_s) * fps + _EARLY)
            if its_turn <= turn:
                continue
            pixels = _pixels(waiting, size)
            for _ in range(its_turn - turn):
                yield pixels
            waiting, turn = frame, its_turn
        if size is not None and waiting is not None:
            yield _pixels(waiting, size)


def _time_s(frame: av.VideoFrame) -> float | None:
    return None if frame.pts is None else frame.time


def _within(shown: Size, longest: int) -> Size:
    """Return the size of a frame that is not yet turned, made to fit. Raises InputError for a thread."""
    scale = min(1, longest / max(shown.width, shown.height))
    width, height = (round(side * scale) for side in (shown.width, shown.height))
    if min(width, height) < 2:
        raise InputError(f"the video is {shown}, give one that is not so narrow")
    return Size(width, height)


def _pixels(frame: av.VideoFrame, size: Size) -> UInt8[np.ndarray, "h w 3"]:
    """Return a frame in RGB, upright; the last row or column of an odd side is cut away."""
    pixels = to_rgb(frame, size, interpolation=Interpolation.AREA)
    return upright(pixels[: size.height // 2 * 2, : size.width // 2 * 2], frame)
