"""Black stand-ins for files that are not looked at yet: what a plan is checked with before there is a job."""

import numpy as np

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.generate.footage import Footage
from unstatic.generate.request import Request, plan
from unstatic.models.manifest import Manifest


def size_as(clip: Size, manifest: Manifest) -> Size:
    """Return the size of a film made from another: the same, if the model makes it."""
    even = Size(clip.width + clip.width % 2, clip.height + clip.height % 2)
    try:
        return plan(Request(prompt="a film", size=even), manifest).size
    except InputError:
        picture = black(clip)
        return plan(Request(prompt="a film", image=picture), manifest).size


def black(size: Size) -> np.ndarray:
    """Return a black picture of a shape, small: plans look at shapes only."""
    small = max(1.0, max(size.width, size.height) / 256)
    width, height = (
        max(16, round(each / small)) if each >= 16 else each for each in (size.width, size.height)
    )
    return np.zeros((height, width, 3), np.uint8)


def black_footage(first: int, frames: int, manifest: Manifest) -> Footage:
    """Return black footage where a video will be: as much as decides whether the model can go on from it."""
    few = min(frames, 2 * manifest.compression.time + 1)
    return Footage(first=first, frames=np.zeros((few, 16, 16, 3), np.uint8))
