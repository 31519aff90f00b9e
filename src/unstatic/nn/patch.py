"""From a latent video to tokens and back."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

Patch = tuple[int, int, int]
"""Frames, rows and columns that share a token."""


class PatchEmbedding(nn.Module):
    """Make one token of every patch.

    The weight has the shape of the 3-D convolution that this is; with stride = kernel it is a matrix product.
    """

    def __init__(self, channels: int, width: int, patch: Patch) -> None:
        super().__init__()
        self.patch = patch
        self.weight = nn.Parameter(torch.empty(width, channels, *patch))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, latent: Float[Tensor, "b c frames h w"]) -> Float[Tensor, "b t n d"]:
        """Return the tokens frame by frame, row by row; every side must be a multiple of the patch."""
        f, r, s = self.patch
        patches = rearrange(latent, "b c (t f) (h r) (w s) -> b t (h w) (c f r s)", f=f, r=r, s=s)
        return F.linear(patches, self.weight.flatten(1), self.bias)


def unpatch(
    tokens: Float[Tensor, "b t n p"], patch: Patch, height: int, width: int
) -> Float[Tensor, "b c frames h w"]:
    """Lay patches, channels last as in Wan, out on a grid of `height` x `width` patches a frame."""
    f, r, s = patch
    grid = {"h": height, "w": width, "f": f, "r": r, "s": s}
    return rearrange(tokens, "b t (h w) (f r s c) -> b c (t f) (h r) (w s)", **grid)
