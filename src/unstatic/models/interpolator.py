"""The frame between two frames: RIFE's intermediate flow (Huang et al., 2011.06294), as in its HDv3 weights.

Three blocks, coarse to fine, estimate from where in either frame each pixel of the middle comes, and which
of the two shows it. Every block looks both ways and takes the mean, so that the middle of two frames is the
middle of the same two in the other order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.core.errors import InputError

CUT_SIDE, CUT = 8, 0.25  # of pictures shrunk to so many pixels a side; 32 levels of 255
MULTIPLE = 32  # sides are padded to a multiple: a fourth of the size, halved three times

Picture = Float[Tensor, "b 3 h w"]
Flow = Float[Tensor, "b 4 h w"]
Mask = Float[Tensor, "b 1 h w"]


@dataclass(frozen=True, kw_only=True, slots=True)
class InterpolatorConfig:
    """Everything that decides the shape of an interpolator: `scales` are what blocks shrink pictures by."""

    width: int = 90
    scales: tuple[int, ...] = (4, 2, 1)

    def __post_init__(self) -> None:
        if self.width % 2 or self.width < 2:
            raise InputError(f"width {self.width} must be even")


class FlowBlock(nn.Module):
    """Improve the flow and the mask, at a fourth of the size that is looked at."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.down = nn.Sequential(*_convolution(11, half, stride=2), *_convolution(half, width, stride=2))
        self.residuals = nn.ModuleList(
            nn.Sequential(*_convolution(width, width), *_convolution(width, width)) for _ in range(4)
        )
        self.flow, self.mask = _grow(width, 4), _grow(width, 1)

    def forward(
        self, pictures: Float[Tensor, "b 7 h w"], flow: Flow, scale: int
    ) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b 1 h w"]]:
        """Return what to add to the flow and to the mask; `pictures` are both, warped, and the mask."""
        hidden = self.down(
            torch.cat([_resized(pictures, 1 / scale), _resized(flow, 1 / scale) / scale], dim=1)
        )
        for residual in self.residuals:
            hidden = hidden + residual(hidden)
        return _resized(self.flow(hidden), scale) * scale, _resized(self.mask(hidden), scale)


class Interpolator(nn.Module):
    """Make the frame between two, in [-1, 1]."""

    def __init__(self, config: InterpolatorConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = cast(
            "Sequence[FlowBlock]", nn.ModuleList(FlowBlock(config.width) for _ in config.scales)
        )

    def forward(self, one: Picture, other: Picture) -> Picture:
        """Return the middle. Sides may have any length."""
        height, width = one.shape[2:]
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        first, second = (F.pad(each, padding, mode="replicate") / 2 + 0.5 for each in (one, other))
        flow, mask = first.new_zeros((len(first), 4, *first.shape[2:])), torch.zeros_like(first[:, :1])
        warped, warped_other = first, second
        for block, scale in zip(self.blocks, self.config.scales, strict=True):
            there = block(torch.cat([warped, warped_other, mask], dim=1), flow, scale)
            back = block(torch.cat([warped_other, warped, -mask], dim=1), _turned(flow), scale)
            flow = flow + (there[0] + _turned(back[0])) / 2
            mask = mask + (there[1] - back[1]) / 2
            warped, warped_other = warp(first, flow[:, :2]), warp(second, flow[:, 2:])
        middle = torch.lerp(warped_other, warped, mask.sigmoid())
        return middle[..., :height, :width] * 2 - 1


class DoublingStream:
    """A stream of one video at twice its frame rate: its own frames, and middles between them.

    Nothing lies between a frame of the numbers `cuts` and the one before it, nor where pictures jump.
    """

    def __init__(self, interpolator: Interpolator, cuts: frozenset[int] = frozenset()) -> None:
        self.interpolator, self.cuts = interpolator, cuts
        self.number = 0  # of the next frame
        self.last: Float[Tensor, "b 3 1 h w"] | None = None

    @torch.inference_mode()
    def double(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 3 u h w"]:
        """Return each next frame after the middle between it and the one before; the first has none."""
        frames = video if self.last is None else torch.cat([self.last, video], dim=2)
        parts = [] if self.last is not None else [frames[:, :, :1]]
        later = self.number + (1 if self.last is None else 0)
        for number, (one, other) in enumerate(_pairs(frames), later):
            alike_or_apart = torch.equal(one, other) or number in self.cuts or is_cut(one, other)
            middle = one if alike_or_apart else self.interpolator(one, other).clamp(-1, 1).to(video)
            parts += [middle[:, :, None], other[:, :, None]]
        self.last = video[:, :, -1:]
        self.number += video.shape[2]
        return torch.cat(parts, dim=2)


def is_cut(one: Picture, other: Picture) -> bool:
    """Return whether two frames, in [-1, 1], have so little in common that nothing lies between them."""
    small = [F.adaptive_avg_pool2d(each.float(), CUT_SIDE) for each in (one, other)]
    return float((small[0] - small[1]).abs().mean()) > CUT


def warp(picture: Picture, flow: Float[Tensor, "b 2 h w"]) -> Picture:
    """Read every pixel where the flow, in pixels right and down, says; beyond the border it repeats."""
    height, width = picture.shape[2:]
    rows = torch.arange(height, dtype=torch.float32, device=picture.device)[:, None]
    columns = torch.arange(width, dtype=torch.float32, device=picture.device)
    x = (columns + flow[:, 0].float()) * 2 / max(1, width - 1) - 1
    y = (rows + flow[:, 1].float()) * 2 / max(1, height - 1) - 1
    places = torch.stack([x, y], dim=3).clamp(-1, 1)  # not every device knows a padding by the border
    read = F.grid_sample(picture.float(), places, align_corners=True)
    return read.to(picture)


def from_rife(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of RIFE HDv3's published `flownet.pkl`; what only its training used is left out."""
    names = {"conv0": "down", "conv1": "flow", "conv2": "mask"}
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        block, part, *rest = key.removeprefix("module.").split(".")
        if block == "block_tea":
            continue
        number = block.removeprefix("block")
        if part in ("conv1", "conv2"):
            inside = rest
        else:  # a pair of (convolution, activation) is two entries in a row here
            inside = [str(2 * int(rest[0]) + int(rest[1])), *rest[2:]]
        where = names.get(part) or f"residuals.{part.removeprefix('convblock')}"
        renamed[".".join(["blocks", number, where, *inside])] = value
    return renamed


def _pairs(frames: Float[Tensor, "b 3 t h w"]) -> Iterator[tuple[Picture, Picture]]:
    for number in range(frames.shape[2] - 1):
        yield frames[:, :, number], frames[:, :, number + 1]


def _turned(flow: Flow) -> Flow:
    """Return the flow as it is from the other frame's side."""
    return torch.cat([flow[:, 2:], flow[:, :2]], dim=1)


def _resized(x: Float[Tensor, "b c h w"], scale: float | int) -> Float[Tensor, "b c y x"]:
    if scale == 1:
        return x
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def _convolution(channels: int, width: int, *, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, width, 3, stride=stride, padding=1), nn.PReLU(width)


def _grow(width: int, channels: int) -> nn.Sequential:
    half = width // 2
    return nn.Sequential(
        nn.ConvTranspose2d(width, half, 4, stride=2, padding=1),
        nn.PReLU(half),
        nn.ConvTranspose2d(half, channels, 4, stride=2, padding=1),
    )
