"""How a network is told a number, such as a noise level: as waves, through an MLP."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ScalarEmbedding(nn.Module):
    """Embed a number as waves of 1000 times itself, through an MLP."""

    def __init__(self, frequency_width: int, width: int) -> None:
        super().__init__()
        self.frequency_width = frequency_width
        self.up = nn.Linear(frequency_width, width)
        self.down = nn.Linear(width, width)

    def forward(self, value: Float[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        waves = sinusoid(1000 * value.float(), self.frequency_width)
        return self.down(F.silu(self.up(waves.to(self.up.weight.dtype))))


def sinusoid(position: Float[Tensor, "b t"], width: int) -> Float[Tensor, "b t f"]:
    """Return cosines, then sines, at width / 2 frequencies from 1 to almost 1/10,000 (1706.03762, 3.5)."""
    half = width // 2
    exponent = torch.arange(half, dtype=torch.float32, device=position.device) / half
    angle = position[..., None] * torch.exp(-math.log(10_000) * exponent)
    return torch.cat((angle.cos(), angle.sin()), -1)
