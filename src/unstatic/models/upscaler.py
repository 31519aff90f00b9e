"""An upscaler that streams: every pixel becomes 2 x 2 or 4 x 4, with a look at the frame before.

The shape of SRVGG (2107.10833), on memory blocks instead of plain convolutions: all layers work at the small
size, the last one lays out the new pixels, and what they learn is added to the pixels repeated. The frame
before, in every block, keeps edges from flickering. Large pictures are done in tiles that overlap by as far
as a pixel can see, which changes nothing but the last digit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.core.errors import InputError
from unstatic.nn.causal import Convolution, Memory, MemoryBlock, run

FACTORS = (2, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class UpscalerConfig:
    """Everything that decides the shape of an upscaler."""

    factor: int
    width: int = 32
    blocks: int = 4
    block_depth: int = 2

    def __post_init__(self) -> None:
        if self.factor not in FACTORS:
            raise InputError(f"factor {self.factor} must be one of {FACTORS}")

    @property
    def reach(self) -> int:
        """How many pixels of the small picture away a new pixel can see."""
        return 2 + self.blocks * self.block_depth


class Upscaler(nn.Module):
    """Enlarge videos in [-1, 1]; `generator` draws the first weights, with which pixels are only repeated."""

    def __init__(self, config: UpscalerConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        width, pixels = config.width, config.factor**2
        blocks = (MemoryBlock(width, depth=config.block_depth) for _ in range(config.blocks))
        self.layers = nn.ModuleList([Convolution(3, width), *blocks, Convolution(width, 3 * pixels)])
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, generator=generator)
                assert layer.bias is not None, "every convolution here has a bias"
                nn.init.zeros_(layer.bias)
        last = self.layers[-1]
        assert isinstance(last, Convolution), "the last layer lays out pixels"
        nn.init.zeros_(last.conv.weight)

    @property
    def dtype(self) -> torch.dtype:
        """The type that the layers compute in."""
        return next(self.parameters()).dtype

    def forward(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 3 t high wide"]:
        """Enlarge a whole video, without clamping: what training sees."""
        return self.stream(video, None)[0]

    def stream(
        self, video: Float[Tensor, "b 3 t h w"], memory: Memory | None
    ) -> tuple[Float[Tensor, "b 3 t high wide"], Memory]:
        """Enlarge the next frames of a stream; `memory` is None at its start."""
        factor = self.config.factor
        added, memory = run(self.layers, video.to(self.dtype).movedim(1, -1), memory)
        added = rearrange(added, "b t h w (c p q) -> b c t (h p) (w q)", p=factor, q=factor)
        return repeat(video, "b c t h w -> b c t (h p) (w q)", p=factor, q=factor) + added.to(video), memory


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
