"""Begin a larger model with the weights of a smaller one of its kind: it computes the same at first.

A tensor that became larger keeps the old numbers at its beginning. What reads new inputs starts at zero, what
makes new outputs as it was drawn (after Net2Net, 1511.05641): nobody reads them yet.
"""

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.models.tiny_autoencoder import TinyAutoencoder
from unstatic.models.transformer import VideoTransformer

# Patches are laid out channels last in the head of a transformer: new channels stand between old ones there.
HEAD = "head.linear."


def grow_autoencoder(larger: TinyAutoencoder, smaller: TinyAutoencoder) -> None:
    """Give `larger`, freshly drawn, the weights of `smaller`. Raises InputError where it is not larger."""
    adopt(larger.state_dict(), smaller.state_dict())


def grow_transformer(larger: VideoTransformer, smaller: VideoTransformer) -> None:
    """Give `larger`, freshly drawn, the weights of `smaller`. Raises InputError where it is not larger."""
    patch, channels = larger.config.patch, (larger.config.out_channels, smaller.config.out_channels)
    if smaller.config.patch != patch:
        raise InputError(f"a transformer with patch {smaller.config.patch} cannot become one with {patch}")
    states = [
        {name: _apart(name, tensor, count) for name, tensor in model.state_dict().items()}
        for model, count in zip((larger, smaller), channels, strict=True)
    ]
    adopt(*states)


def _apart(name: str, tensor: Tensor, channels: int) -> Tensor:
    """Put the channels of the head's outputs into an axis of their own, the first (a view)."""
    return rearrange(tensor, "(p c) ... -> c p ...", c=channels) if name.startswith(HEAD) else tensor


@torch.no_grad()
def adopt(larger: Mapping[str, Tensor], smaller: Mapping[str, Tensor]) -> None:
    """Overwrite the tensors of `larger` with those of `smaller` as far as they go; names must be the same."""
    if larger.keys() != smaller.keys():
        raise InputError(f"only one of the two models has {sorted(larger.keys() ^ smaller.keys())[:3]}")
    for name, tensor in larger.items():
        old = smaller[name]
        if old.ndim != tensor.ndim or any(a > b for a, b in zip(old.shape, tensor.shape, strict=True)):
            raise InputError(f"{name} is {tuple(old.shape)} and does not fit into {tuple(tensor.shape)}")
        if tensor.ndim > 1 and not name.startswith(HEAD):
            tensor[: len(old), old.shape[1] :] = 0
        tensor[tuple(slice(side) for side in old.shape)] = old.to(tensor.dtype)
