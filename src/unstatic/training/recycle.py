"""Recycled errors: the past as the model itself would have made it, for a training on what sampling sees.

A film is made from its own past. What is a little wrong with a finished chunk is copied by the next one,
which adds its own errors; in training, where the past is real, a model never sees any and learns nothing
against them. So real frames are noised and denoised again, some times over: they come back with the model's
own errors, and still show what really happened (error recycling, 2510.09212).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch

from unstatic.core.errors import InputError
from unstatic.core.seeds import normal_like
from unstatic.diffusion.process import Latent, mix
from unstatic.diffusion.schedule import shifted

Land = Callable[[Latent, float, float], Latent]
"""Take one step with noised frames, from one level of static to the next, 0 at the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecycleConfig:
    """In the share `share` of all cases the past is the model's own, after 1 to `rounds` rounds.

    A round goes down a schedule of `steps` steps from any of its levels but the first, which is static alone
    and would be another film.
    """

    share: float = 0.0
    rounds: int = 3
    steps: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or self.rounds < 1 or self.steps < 2:
            raise InputError(f"{self}: share must be from 0 to 1, rounds at least 1, steps at least 2")


def recycled(
    past: Latent, land: Land, config: RecycleConfig, *, shift: float, generator: torch.Generator
) -> Latent:
    """Return real frames as `land` gives them back; schedules bend by `shift` as in sampling."""
    sigmas = shifted(config.steps, shift).tolist()
    latent = past
    for _ in range(int(torch.randint(1, config.rounds + 1, (), generator=generator))):
        first = int(torch.randint(1, config.steps, (), generator=generator))
        level = latent.new_full((1, 1, 1, 1, 1), sigmas[first])
        latent = mix(latent, normal_like(latent, generator), level)
        for sigma, sigma_next in pairwise(sigmas[first:]):
            latent = land(latent, sigma, sigma_next)
    return latent
