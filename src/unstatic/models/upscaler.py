"""Enlarging as a stream, tile by tile, with any upscaler: memory grows with the picture, not with the film.

Tiles overlap by as far as a pixel can see, which changes nothing but the last digit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unstatic.nn.causal import Memory


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


@runtime_checkable
class Reaching(Protocol):
    """What a stream must know of an upscaler's shape."""

    @property
    def factor(self) -> int:
        """How many times as many pixels a side there are."""
        ...

    @property
    def reach(self) -> int:
        """How many pixels of the small picture away a new pixel can see."""
        ...


@runtime_checkable
class Enlarger(Protocol):
    """An upscaler that streams."""

    @property
    def config(self) -> Reaching:
        """Its shape."""
        ...

    def stream(self, video: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        """Enlarge the next frames of a stream in [-1, 1]; `memory` is None at its start."""
        ...


class UpscalingStream:
    """A stream of one video through an upscaler, tile by tile: memory grows with the picture alone.

    stream = UpscalingStream(upscaler)
    for frames in stretches: large = stream.enlarge(frames)
    """

    def __init__(self, upscaler: Enlarger, *, side: int = 256) -> None:
        self.upscaler, self.side = upscaler, side
        self.memories: dict[tuple[int, int, int, int], Memory] = {}

    @torch.inference_mode()
    def enlarge(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 3 t high wide"]:
        """Enlarge the next frames, in [-1, 1]."""
        batch, _, frames, height, width = video.shape
        factor = self.upscaler.config.factor
        large = video.new_empty((batch, 3, frames, factor * height, factor * width))
        for tile in tiles(height, width, self.side, self.upscaler.config.reach):
            (top, bottom, left, right), (first, last, start, stop) = tile.read, tile.kept
            part, self.memories[tile.kept] = self.upscaler.stream(
                video[..., top:bottom, left:right], self.memories.get(tile.kept)
            )
            inside = part[
                ...,
                factor * (first - top) : factor * (last - top),
                factor * (start - left) : factor * (stop - left),
            ]
            large[..., factor * first : factor * last, factor * start : factor * stop] = inside
        return large.clamp(-1, 1)
