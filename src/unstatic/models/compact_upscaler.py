"""Real-ESRGAN's compact upscaler (SRVGGNetCompact; Wang et al., 2107.10833), as realesr-animevideov3 has it.

Plain convolutions at the small size, one after the other; the last lays out the new pixels, which are added
to the old ones repeated. Every frame stands for itself: there is no memory.
"""

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.core.errors import InputError

HALF_PRECISION = 0x01306B47  # what ncnn writes before weights of 16 bits; 0 stands before those of 32


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactUpscalerConfig:
    """Everything that decides the shape: `depth` layers between the first and the last."""

    factor: int = 4
    width: int = 64
    depth: int = 16

    @property
    def reach(self) -> int:
        """How many pixels of the small picture away a new pixel can see."""
        return self.depth + 2


class CompactUpscaler(nn.Module):
    """Enlarge videos in [-1, 1], frame by frame."""

    def __init__(self, config: CompactUpscalerConfig) -> None:
        super().__init__()
        self.config = config
        widths = [3, *[config.width] * (config.depth + 1)]
        layers: list[nn.Module] = []
        for channels, width in pairwise(widths):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.PReLU(width)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(config.width, 3 * config.factor**2, 3, padding=1))

    @property
    def dtype(self) -> torch.dtype:
        """The type that the layers compute in."""
        return next(self.parameters()).dtype

    def forward(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 3 t high wide"]:
        """Enlarge frames, each for itself, without clamping."""
        batch, factor = len(video), self.config.factor
        pixels = rearrange(video, "b c t h w -> (b t) c h w") / 2 + 0.5
        added = self.layers(pixels.to(self.dtype, memory_format=torch.channels_last)).to(video)
        added = rearrange(added, "n (c p q) h w -> n c (h p) (w q)", p=factor, q=factor)
        large = repeat(pixels, "n c h w -> n c (h p) (w q)", p=factor, q=factor) + added
        return rearrange(large * 2 - 1, "(b t) c h w -> b c t h w", b=batch)


def from_ncnn(param: Path, weights: Path) -> CompactUpscaler:
    """Read an upscaler from the two files of ncnn (its wiki: "param and model file structure").

    Raises InputError for a network of another kind.
    """
    blob, place = weights.read_bytes(), 0
    tensors: list[Tensor] = []

    def floats(count: int, kind: type[np.floating] = np.float32) -> Tensor:
        nonlocal place
        found = np.frombuffer(blob, kind, count, place).astype(np.float32)
        place += -(-found.size * np.dtype(kind).itemsize // 4) * 4
        return torch.from_numpy(found)

    factor = 0
    for layer in (line.split() for line in param.read_text(encoding="ascii").splitlines()[2:]):
        kind, values = layer[0], dict(each.split("=") for each in layer if "=" in each)
        if kind == "Convolution":
            width, side, count = (int(values[key]) for key in ("0", "1", "6"))
            (flag,) = struct.unpack_from("<I", blob, place)
            place += 4
            if flag not in (0, HALF_PRECISION):
                raise InputError(f"{weights} holds numbers of a kind {flag:#x}: take one of 16 or 32 bits")
            kernel = floats(count, np.float16 if flag else np.float32)
            tensors += [kernel.reshape(width, -1, side, side), floats(width)]
        elif kind == "PReLU":
            tensors.append(floats(int(values["0"])))
        elif kind == "PixelShuffle":
            factor = int(values["0"])
    if place != len(blob) or not factor or len(tensors) < 2:
        raise InputError(f"{param} is not a compact upscaler: it must be convolutions and one pixel shuffle")
    config = CompactUpscalerConfig(factor=factor, width=len(tensors[1]), depth=(len(tensors) - 5) // 3)
    model = CompactUpscaler(config)
    model.load_state_dict(dict(zip(model.state_dict(), tensors, strict=True)))
    return model.eval()
