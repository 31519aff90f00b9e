"""What a distilled denoiser is told besides the noise level: how far a step goes and how guided it shall be.

A denoiser says where a path heads, and a solver follows it in small steps. A distilled one was trained to say
where the step ends (`unstatic.training.distill_step`), so that a few steps do, in one pass each.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from unstatic.diffusion.schedule import Schedule

SCALARS = ("step", "guidance")
GUIDANCE_UNIT = 10.0  # keeps the number in the range of a noise level


def told(
    sigma: Float[Tensor, "b t"], sigma_next: Float[Tensor, "b t"], guidance: Float[Tensor, "b"]
) -> Mapping[str, Tensor]:
    """Return the scalars of one pass; without guidance, which is 1, the second is 0."""
    return {"step": sigma - sigma_next, "guidance": (guidance - 1) / GUIDANCE_UNIT}


def next_level(sigma: Float[Tensor, "*n"], sigmas: Schedule) -> Float[Tensor, "*n"]:
    """Return the largest level of a schedule below each `sigma`; where there is none, `sigma` itself."""
    lower = torch.where(sigmas.to(sigma) < sigma[..., None], sigmas.to(sigma), -1.0).amax(-1)
    return torch.where(lower < 0, sigma, lower)
