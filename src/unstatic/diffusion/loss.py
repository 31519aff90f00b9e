"""What training minimises: which noise levels to draw, and how much an error counts at each of them.

Every loss is a squared error of x0; its weighting says in which space the error is meant. Levels are drawn
for each latent frame on its own, so that a model learns to denoise any frame given others at any level
(diffusion forcing, 2407.01392); who wants one level per clip or per chunk draws (b, 1) or (b, chunks) and
repeats it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.diffusion.process import Latent, divide, per_frame

# ---------------------------------------------------------------------------------------------- noise levels


@runtime_checkable
class SigmaSampler(Protocol):
    """Draws float32 noise levels in [0, 1] of a shape (b, t), on the generator's device."""

    def __call__(self, shape: tuple[int, int], generator: torch.Generator, /) -> Float[Tensor, "b t"]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class LogitNormal:
    """sigma = sigmoid(mean + std n), n standard normal (2403.03206, equation 19); mean > 0 favours static."""

    mean: float = 0.0
    std: float = 1.0

    def __call__(self, shape: tuple[int, int], generator: torch.Generator, /) -> Float[Tensor, "b t"]:
        """Draw levels."""
        return torch.sigmoid(self.mean + self.std * torch.randn(shape, generator=generator))


@dataclass(frozen=True, kw_only=True, slots=True)
class Uniform:
    """sigma evenly spread from `low` to `high`."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise InputError(
                f"noise levels must satisfy 0 <= low <= high <= 1, got {self.low} and {self.high}"
            )

    def __call__(self, shape: tuple[int, int], generator: torch.Generator, /) -> Float[Tensor, "b t"]:
        """Draw levels."""
        return self.low + (self.high - self.low) * torch.rand(shape, generator=generator)


# ------------------------------------------------------------------------------------------------ weightings

Weighting = Callable[[Float[Tensor, "b t"]], Float[Tensor, "b t"]]


def x0_weight(sigma: Float[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    """Count errors of x0 as they are."""
    return torch.ones_like(sigma)


def velocity_weight(sigma: Float[Tensor, "b t"], *, floor: float = 0.05) -> Float[Tensor, "b t"]:
    """Count errors of x0 as errors of the velocity they imply, 1 / max(sigma, floor)^2 (2511.13720)."""
    return sigma.clamp(min=floor) ** -2


def min_snr_weight(sigma: Float[Tensor, "b t"], *, gamma: float = 5.0) -> Float[Tensor, "b t"]:
    """Count errors of x0 as errors of eps, signal^2 / noise^2, but at most `gamma` times (2303.09556)."""
    return divide((1 - sigma) ** 2, sigma**2, otherwise=gamma).clamp(max=gamma)


# ------------------------------------------------------------------------------------------------------ loss


def denoising_loss(
    x0_hat: Latent,
    x0: Latent,
    sigma: Float[Tensor, "b t"],
    counted: Bool[Tensor, "b 1 t #h #w"],
    *,
    weighting: Weighting = velocity_weight,
    importance: Float[Tensor, "b 1 t h w"] | None = None,
) -> Float[Tensor, ""]:
    """Average the weighted squared error of `x0_hat` over all counted elements of the batch.

    `counted` is false where the latent was given rather than predicted (kept frames, clean history). Every
    counted element has the same say, whatever its clip, or as much say as `importance` gives its place; if
    nothing counts the loss is 0. The output of a network that predicts velocity or eps goes through
    `process.to_x0` first.
    """
    error = (x0_hat - x0).square() * per_frame(weighting(sigma))
    say = counted if importance is None else counted * importance
    return (error * say).sum() / say.expand_as(error).sum().clamp(min=1)
