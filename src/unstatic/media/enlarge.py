"""Frames made larger or smaller. This file does not import torch, nor do those that read and write files."""

from typing import Literal

import numpy as np
from einops import repeat
from jaxtyping import UInt8
from PIL import Image

from unstatic.core.shapes import Size

Filter = Literal["nearest", "bicubic"]


def enlarge(
    frames: UInt8[np.ndarray, "t h w c"], factor: int, method: Filter = "nearest"
) -> UInt8[np.ndarray, "t scaled_h scaled_w c"]:
    """Make frames `factor` times as wide and as high: hard pixels ("nearest") or smooth ("bicubic")."""
    if method == "nearest":
        return repeat(frames, "t h w c -> t (h y) (w x) c", y=factor, x=factor)
    height, width = frames.shape[1:3]
    return resize(frames, Size(width * factor, height * factor), Image.Resampling.BICUBIC)


def resize(
    frames: UInt8[np.ndarray, "t h w 3"],
    size: Size,
    resampling: Image.Resampling,
    box: tuple[float, float, float, float] | None = None,
) -> UInt8[np.ndarray, "t scaled_h scaled_w 3"]:
    """Resample frames to `size`, or the part of them that `box` (left, top, right, bottom) names."""
    sides = (size.width, size.height)
    images = (Image.fromarray(frame).resize(sides, resampling, box) for frame in frames)
    return np.stack([np.asarray(image) for image in images])
