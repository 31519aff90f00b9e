"""Normalisation, and the modulation that follows it."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

EPSILON = 1e-6


class RMSNorm(nn.Module):
    """Scale every token to unit root mean square, then by a learned weight per channel (1910.07467)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Float[Tensor, "*n d"]) -> Float32[Tensor, "*n d"]:
        """Return float32 whatever comes in: a rotation may follow before anything is rounded."""
        return rms_norm(tokens.float(), self.weight.float())


def rms_norm(tokens: Float32[Tensor, "*n d"], weight: Float32[Tensor, "d"]) -> Float32[Tensor, "*n d"]:
    """Return weight * x / sqrt(mean(x^2) + EPSILON).

    On a CPU torch's own version is a chain of small steps and takes 1.5 times as long in training.
    """
    if tokens.device.type != "cpu":
        return F.rms_norm(tokens, weight.shape, weight, EPSILON)
    return tokens * inverse_rms(tokens) * weight


def inverse_rms(tokens: Float32[Tensor, "*n d"]) -> Float32[Tensor, "*n 1"]:
    """Return 1 / sqrt(mean(x^2) + EPSILON) of every token.

    Autocast would round the products inside `vecdot` to bfloat16; these it leaves alone.
    """
    mean_square = (tokens * tokens).sum(-1, keepdim=True) / tokens.shape[-1]
    return torch.rsqrt(mean_square + EPSILON)


class LayerNorm(nn.LayerNorm):
    """Torch's own, whose weights may be wider than the tokens: then it is rounded once, at the end."""

    def forward(self, input: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:  # noqa: A002 - torch's name
        if input.device.type == "cpu" or input.dtype == self.weight.dtype:
            return super().forward(input)
        return super().forward(input.to(self.weight.dtype)).to(input.dtype)


def dtype_beside(tokens: Float[Tensor, "b t n d"], table: Tensor) -> torch.dtype:
    """Return the dtype in which tokens are modulated: that of the table of a model.

    Under autocast, which is for training, it is that of the tokens, and as fast as they are.
    """
    return tokens.dtype if torch.is_autocast_enabled(tokens.device.type) else table.dtype


def modulated_norm(
    tokens: Float[Tensor, "b t n d"], shift: Float[Tensor, "b t 1 d"], scale: Float[Tensor, "b t 1 d"]
) -> Float[Tensor, "b t n d"]:
    """Layer-normalise without weights, then scale by 1 + `scale` and shift, per frame (adaLN, 2212.09748).

    It is computed in the dtype of `shift`. A CPU has a kernel that does so with tokens in bfloat16; it knows
    weights for all tokens only, so frames go one by one, which took no longer than in bfloat16 on a Zen 4.
    """
    if shift.dtype == tokens.dtype or tokens.device.type != "cpu" or torch.is_grad_enabled():
        normed = F.layer_norm(tokens.to(shift.dtype), tokens.shape[-1:], eps=EPSILON)
        return torch.addcmul(shift, normed, 1 + scale).to(tokens.dtype)
    normed, width = torch.empty_like(tokens), tokens.shape[-1:]
    frames = (each.flatten(0, 1) for each in (tokens, 1 + scale, shift, normed))
    for frame, weight, bias, out in zip(*frames, strict=True):
        out.copy_(F.layer_norm(frame, width, weight[0], bias[0], EPSILON))
    return normed


def gated(
    tokens: Float[Tensor, "b t n d"], branch: Float[Tensor, "b t n d"], gate: Float[Tensor, "b t 1 d"]
) -> Float[Tensor, "b t n d"]:
    """Add what a branch says of tokens, as much as a gate lets through; in the dtype of the gate."""
    return torch.addcmul(tokens, branch, gate).to(tokens.dtype)
