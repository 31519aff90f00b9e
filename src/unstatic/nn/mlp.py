"""Two linear layers with a bend between them."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class MLP(nn.Module):
    """Widen, bend with `gelu`, narrow."""

    def __init__(self, width_in: int, width: int, width_out: int) -> None:
        super().__init__()
        self.up = nn.Linear(width_in, width)
        self.down = nn.Linear(width, width_out)

    def forward(self, tokens: Float[Tensor, "*n d"]) -> Float[Tensor, "*n o"]:
        return self.down(gelu(self.up(tokens)))


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute GELU by its tanh approximation (1606.08415), the one Wan was trained with.

    In bfloat16 on a CPU the exact GELU takes its place. The two differ by less than 5e-4, the last digit of a
    bfloat16 near 0.1, and tanh takes five times as long there.
    """
    return F.gelu(x, approximate="none" if is_gelu_exact(x) else "tanh")


def is_gelu_exact(x: Float[Tensor, "*shape"]) -> bool:
    """Tell whether `gelu` of such a tensor is the exact one."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16
