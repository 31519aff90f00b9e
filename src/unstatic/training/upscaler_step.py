"""The upscaler's step: small pictures as a model's autoencoder gives them back, large ones as they are.

What an upscaler meets later are decoded latents, not clean renders, so it learns from copies and also mends
what the autoencoder does to edges.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from unstatic.models.compact_upscaler import CompactUpscaler
from unstatic.training.autoencoder_step import AutoencoderLossConfig, picture_errors, psnr
from unstatic.training.step import StepOutput

TERMS = AutoencoderLossConfig(steepness=1.0, steadiness=1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class UpscalerBatch:
    """Views in [-1, 1], small and large."""

    low: Float[Tensor, "b 3 t h w"]
    high: Float[Tensor, "b 3 t high wide"]

    @property
    def num_samples(self) -> int:
        return len(self.low)

    def to(self, device: torch.device) -> "UpscalerBatch":
        return UpscalerBatch(low=self.low.to(device), high=self.high.to(device))


@dataclass(frozen=True, kw_only=True, slots=True)
class UpscalerStep:
    """A training step for the upscaler; the terms are those of the autoencoder's pictures."""

    model: CompactUpscaler
    config: AutoencoderLossConfig = TERMS

    def __call__(self, batch: UpscalerBatch, generator: torch.Generator) -> StepOutput:
        del generator  # nothing is drawn
        made, high = self.model(batch.low).float(), batch.high
        terms = picture_errors(made, high, torch.ones_like(high[:, :1]), self.config)
        metrics = {"psnr": psnr((made - high).detach().square().mean().item())}
        return StepOutput(loss=torch.stack(terms).sum(), metrics=metrics)


def prepare(
    low: UInt8[Tensor, "n t h w 3"],
    high: UInt8[Tensor, "n t high wide 3"],
    side: int,
    generator: torch.Generator,
) -> UpscalerBatch:
    """Cut a view of `side` small pixels a side from every pair: place, mirror and recolouring are drawn."""
    factor = high.shape[2] // low.shape[2]
    pairs = [_view(*pair, side, factor, generator) for pair in zip(low, high, strict=True)]
    small, large = (
        rearrange(torch.stack([pair[which] for pair in pairs]), "b t h w c -> b c t h w").float() / 127.5 - 1
        for which in range(2)
    )
    return UpscalerBatch(low=small, high=large)


def _view(
    low: UInt8[Tensor, "t h w 3"],
    high: UInt8[Tensor, "t high wide 3"],
    side: int,
    factor: int,
    generator: torch.Generator,
) -> tuple[UInt8[Tensor, "t y x 3"], UInt8[Tensor, "t p q 3"]]:
    def draw(limit: int) -> int:
        return int(torch.randint(limit, (), generator=generator))

    top, left = draw(low.shape[1] - side + 1), draw(low.shape[2] - side + 1)
    order, mirrored = torch.randperm(3, generator=generator), draw(2)
    views: list[Tensor] = []
    for video, scale in ((low, 1), (high, factor)):
        rows, columns = slice(scale * top, scale * (top + side)), slice(scale * left, scale * (left + side))
        view = video[:, rows, columns][..., order]
        views.append(view.flip(2) if mirrored else view)
    return views[0], views[1]
