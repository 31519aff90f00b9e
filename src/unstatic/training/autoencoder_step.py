"""What the autoencoder is trained on, and for what: views of clips, and the weighted error of their copies.

Small objects cover few pixels. Under a plain mean over pixels a network reached 25 dB while it lost their
colours; therefore the simulator's object masks and the motion between frames weigh the error, and views seek
objects.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unstatic.models.tiny_autoencoder import TinyAutoencoder
from unstatic.training.liveness import least_alive, watched_units
from unstatic.training.step import StepOutput

MOVING = 0.05  # a pixel whose channels change by this much on average, of 2, counts as moving
STEEP = 0.15  # neighbours that differ by this much, of 2, are an edge


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewConfig:
    """How a view is cut from a clip: a window of `frames` and a crop, both no larger than the clip.

    `seek_objects` is the share of views placed around a pixel of an object, `recolour` the share whose colour
    channels are permuted. An object's pixels and those around it weigh `object_weight`, moving ones
    `motion_weight`, where both hold their product.
    """

    frames: int = 17
    height: int = 32
    width: int = 32
    seek_objects: float = 0.8
    recolour: float = 0.5
    object_weight: float = 10.0
    motion_weight: float = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderBatch:
    """Views in [-1, 1], where objects are, and how much an error at every pixel weighs."""

    video: Float[Tensor, "b 3 t h w"]
    objects: Bool[Tensor, "b 1 t h w"]
    weight: Float[Tensor, "b 1 t h w"]

    @property
    def num_samples(self) -> int:
        return len(self.video)

    def to(self, device: torch.device) -> "AutoencoderBatch":
        return AutoencoderBatch(
            video=self.video.to(device), objects=self.objects.to(device), weight=self.weight.to(device)
        )


def prepare(
    frames: UInt8[Tensor, "n t h w 3"],
    ids: UInt8[Tensor, "n t h w"],
    config: ViewConfig,
    generator: torch.Generator,
) -> AutoencoderBatch:
    """Cut one view from every clip: window, crop, mirror and recolouring are drawn from `generator`.

    `ids` is 0 where there is no object.
    """
    views = [_view(clip, mask, config, generator) for clip, mask in zip(frames, ids, strict=True)]
    video = rearrange(torch.stack([clip for clip, _ in views]), "b t h w c -> b c t h w").float() / 127.5 - 1
    objects = rearrange(torch.stack([mask for _, mask in views]) > 0, "b t h w -> b 1 t h w")
    return AutoencoderBatch(video=video, objects=objects, weight=error_weight(video, objects, config))


def _view(
    clip: UInt8[Tensor, "t h w 3"],
    mask: UInt8[Tensor, "t h w"],
    config: ViewConfig,
    generator: torch.Generator,
) -> tuple[UInt8[Tensor, "frames y x 3"], UInt8[Tensor, "frames y x"]]:
    # Window in time
    frames, height, width = (
        min(a, b) for a, b in zip((config.frames, config.height, config.width), mask.shape, strict=True)
    )
    start = _draw(0, len(mask) - frames, generator)
    clip, mask = clip[start : start + frames], mask[start : start + frames]

    # Crop, often around a pixel of an object
    low, high = (0, 0), (mask.shape[1] - height, mask.shape[2] - width)
    on_object = (mask[_draw(0, frames - 1, generator)] > 0).nonzero()
    if len(on_object) and _chance(config.seek_objects, generator):
        y, x = on_object[_draw(0, len(on_object) - 1, generator)].tolist()
        low = min(max(y - height + 1, 0), high[0]), min(max(x - width + 1, 0), high[1])
        high = min(y, high[0]), min(x, high[1])
    top, left = _draw(low[0], high[0], generator), _draw(low[1], high[1], generator)
    clip, mask = (
        clip[:, top : top + height, left : left + width],
        mask[:, top : top + height, left : left + width],
    )

    # Variety that costs nothing
    if _chance(0.5, generator):
        clip, mask = clip.flip(2), mask.flip(2)
    if _chance(config.recolour, generator):
        clip = clip[..., torch.randperm(3, generator=generator)]
    return clip, mask


def _draw(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


def _chance(share: float, generator: torch.Generator) -> bool:
    return bool(torch.rand((), generator=generator) < share)


def error_weight(
    video: Float[Tensor, "b 3 t h w"], objects: Bool[Tensor, "b 1 t h w"], config: ViewConfig
) -> Float[Tensor, "b 1 t h w"]:
    """Weigh objects with a rim of one pixel, where silhouettes blur, and pixels that just changed."""
    near = F.max_pool3d(objects.float(), (1, 3, 3), stride=1, padding=(0, 1, 1))
    change = reduce(video.diff(dim=2).abs(), "b c t h w -> b 1 t h w", "mean")
    moving = F.pad((change > MOVING).float(), (0, 0, 0, 0, 1, 0))
    return (1 + (config.object_weight - 1) * near) * (1 + (config.motion_weight - 1) * moving)


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderLossConfig:
    """Weights of the terms of the loss, and the noise that latents must survive.

    `latent_noise` is the largest deviation of the noise, in units of the latents' own; every sample draws its
    level uniformly from 0. `size` pulls latents towards 0, for nothing else keeps them from growing.
    `steepness` is what it costs that an edge is softer than it should be: where a latent does not say on
    which side of a pixel an edge lies, a squared error is least for a soft one. `steadiness` is what it costs
    that a picture changes from frame to frame otherwise than it should: errors too small to be seen in a
    frame shimmer in a film.
    """

    absolute: float = 1.0
    squared: float = 2.0
    wavelet: float = 1.0
    wavelet_levels: int = 3
    equivariance: float = 0.1
    size: float = 1e-3
    latent_noise: float = 0.05
    steepness: float = 0.0
    steadiness: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderStep:
    """Weighted reconstruction error through noisy latents, and what makes latents easy to model."""

    model: TinyAutoencoder
    config: AutoencoderLossConfig = AutoencoderLossConfig()

    def __call__(self, batch: AutoencoderBatch, generator: torch.Generator) -> StepOutput:
        # Through the latent, with noise
        with watched_units(self.model) as shares:
            compressed = self.model.compress(batch.video)
            level = torch.rand((len(compressed), 1, 1, 1, 1), generator=generator) * self.config.latent_noise
            noise = level * torch.randn(compressed.shape, generator=generator)
            latent = compressed + noise.to(compressed) * compressed.detach().std()
            copy = self.model.reconstruct(latent).float()
        error = copy - batch.video

        # Terms of the loss
        config = self.config
        terms = picture_errors(copy, batch.video, batch.weight, config)
        terms.append(config.size * compressed.float().square().mean())
        if config.equivariance:
            terms.append(config.equivariance * self._scale_error(latent, batch))
        return StepOutput(
            loss=torch.stack(terms).sum(),
            metrics=_metrics(error.detach(), batch, compressed.detach()) | least_alive(shares),
        )

    def _scale_error(
        self, latent: Float[Tensor, "b c lt lh lw"], batch: AutoencoderBatch
    ) -> Float[Tensor, ""]:
        """Ask the decoder to turn a shrunken latent into the shrunken video, on a quarter of the batch.

        Scale equivariance, 2502.14831: latents without fine structure of their own are easier to diffuse.
        """
        part = slice(0, -(-len(latent) // 4))
        video = self.model.reconstruct(_halve(latent[part])).float()
        return weighted_mean((video - _halve(batch.video[part])).abs(), _halve(batch.weight[part]))


def picture_errors(
    made: Float[Tensor, "b c t h w"],
    real: Float[Tensor, "b c t h w"],
    weight: Float[Tensor, "b 1 t h w"],
    config: AutoencoderLossConfig,
) -> list[Tensor]:
    """Return what tells made films from real ones, terms of a loss: pixels, wavelets, soft edges, shimmer."""
    error = made - real
    terms = [
        config.absolute * weighted_mean(error.abs(), weight),
        config.squared * weighted_mean(error.square(), weight),
        config.wavelet * wavelet_error(error, weight, config.wavelet_levels),
    ]
    if config.steepness:
        terms.append(config.steepness * lost_steepness(made, real, weight))
    if config.steadiness:
        terms.append(config.steadiness * weighted_mean(error.diff(dim=2).abs(), weight[:, :, 1:]))
    return terms


def weighted_mean(error: Float[Tensor, "b c t h w"], weight: Float[Tensor, "b 1 t h w"]) -> Float[Tensor, ""]:
    """Average over everything, every pixel as often as it weighs."""
    return (error * weight).sum() / (weight.sum() * error.shape[1])


def wavelet_error(
    error: Float[Tensor, "b c t h w"], weight: Float[Tensor, "b 1 t h w"], levels: int
) -> Float[Tensor, ""]:
    """Average the size of the error's Haar coefficients over `levels` scales: edges and areas count apart.

    The transform is linear, so the coefficients of the error are the error of the coefficients.
    """
    terms = []
    for _ in range(levels):
        (a, b), (c, d) = rearrange(error, "b c t (h p) (w q) -> p q b c t h w", p=2, q=2)
        weight = _halve(weight)
        details = (a + b - c - d).abs() + (a - b + c - d).abs() + (a - b - c + d).abs()
        error = (a + b + c + d) / 4
        terms.append(weighted_mean(details / 4 + error.abs(), weight))
    return torch.stack(terms).mean()


def lost_steepness(
    made: Float[Tensor, "b c t h w"], real: Float[Tensor, "b c t h w"], weight: Float[Tensor, "b 1 t h w"]
) -> Float[Tensor, ""]:
    """Add up how much less steep than real edges their copies are, averaged over all places, on both axes."""
    terms = []
    for axis in (-1, -2):
        slope, copied = real.diff(dim=axis), made.diff(dim=axis)
        lost = F.relu(slope.abs() - copied * slope.sign()) * (slope.abs() > STEEP)
        terms.append(weighted_mean(lost, weight.narrow(axis, 1, weight.shape[axis] - 1)))
    return torch.stack(terms).sum()


def _halve(x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t y x"]:
    return reduce(x, "b c t (h p) (w q) -> b c t h w", "mean", p=2, q=2)


def psnr(squared_error: float) -> float:
    """Return the signal-to-noise ratio in dB of a mean squared error between pictures in [-1, 1]."""
    return 10 * math.log10(4 / max(squared_error, 1e-12))


def _metrics(
    error: Float[Tensor, "b 3 t h w"], batch: AutoencoderBatch, latent: Float[Tensor, "b c lt lh lw"]
) -> dict[str, float]:
    squared = error.square().mean(dim=1, keepdim=True)
    metrics = {"psnr": psnr(squared.mean().item()), "latent_std": latent.float().std().item()}
    if batch.objects.any():
        metrics["object_psnr"] = psnr(squared[batch.objects].mean().item())
    return metrics
