"""Enlarging by tiles: memory grows with the tile, not with the picture.

Tiles overlap by as far as a pixel can see, which changes nothing but the last digit.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unstatic.models.compact_upscaler import CompactUpscaler


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a picture: what is read, and what of it is kept, as (top, bottom, left, right)."""

    read: tuple[int, int, int, int]
    kept: tuple[int, int, int, int]


def tiles(height: int, width: int, side: int, reach: int) -> Iterator[Tile]:
    """Cut a picture into tiles of at most `side` pixels a side, each read with `reach` pixels around it."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            bottom, right = min(top + side, height), min(left + side, width)
            read = (
                max(0, top - reach),
                min(height, bottom + reach),
                max(0, left - reach),
                min(width, right + reach),
            )
            yield Tile(read, (top, bottom, left, right))


@torch.inference_mode()
def enlarge(
    upscaler: CompactUpscaler, video: Float[Tensor, "b 3 t h w"], *, side: int = 256
) -> Float[Tensor, "b 3 t high wide"]:
    """Enlarge frames in [-1, 1] by tiles of at most `side` pixels a side."""
    batch, _, frames, height, width = video.shape
    factor = upscaler.config.factor
    large = video.new_empty((batch, 3, frames, factor * height, factor * width))
    for tile in tiles(height, width, side, upscaler.config.reach):
        (top, bottom, left, right), (first, last, start, stop) = tile.read, tile.kept
        part = upscaler(video[..., top:bottom, left:right])
        inside = part[
            ...,
            factor * (first - top) : factor * (last - top),
            factor * (start - left) : factor * (stop - left),
        ]
        large[..., factor * first : factor * last, factor * start : factor * stop] = inside
    return large.clamp(-1, 1)
