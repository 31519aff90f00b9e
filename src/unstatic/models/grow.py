"""Begin a larger model with the weights of a smaller one of its kind: it computes the same at first.

A tensor that became larger keeps the old numbers at its beginning. What reads new inputs starts at zero, what
makes new outputs as it was drawn (after Net2Net, 1511.05641): nobody reads them yet. Only sizes for which
this is true may grow; of two heads, say, four cannot be made without changing what they compute.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields

import torch
from einops import rearrange
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from unstatic.models.transformer import TransformerConfig, VideoTransformer

AUTOENCODER_GROWS = ("latent_channels",)
TRANSFORMER_GROWS = ("in_channels", "out_channels", "ffn_width", "text_width")
# No weight of a plain pass depends on these: new scalars begin without effect, old ones can be left out
TRANSFORMER_CHANGES = ("scalars", "chunk", "history_chunks", "max_age")


def check_autoencoder(larger: TinyAutoencoderConfig, smaller: TinyAutoencoderConfig) -> None:
    """Raise InputError unless an autoencoder of config `smaller` can become one of config `larger`."""
    _check(larger, smaller, AUTOENCODER_GROWS, ())


def check_transformer(larger: TransformerConfig, smaller: TransformerConfig) -> None:
    """Raise InputError unless a transformer of config `smaller` can become one of config `larger`."""
    _check(larger, smaller, TRANSFORMER_GROWS, TRANSFORMER_CHANGES)


def grow_autoencoder(larger: TinyAutoencoder, smaller: TinyAutoencoder) -> None:
    """Give `larger`, freshly drawn, the weights of `smaller`. Raises InputError as `check_autoencoder`."""
    check_autoencoder(larger.config, smaller.config)
    _adopt(larger.state_dict(), smaller.state_dict())


def grow_transformer(larger: VideoTransformer, smaller: VideoTransformer) -> None:
    """Give `larger`, freshly drawn, the weights of `smaller`. Raises InputError as `check_transformer`."""
    check_transformer(larger.config, smaller.config)
    new = _channels_apart(larger)
    old = _channels_apart(smaller)
    left_out = [name for name in old if name.startswith("scalar_embedding.") and name not in new]
    _adopt(new, {name: tensor for name, tensor in old.items() if name not in left_out})


def _check(larger: object, smaller: object, grows: Collection[str], changes: Collection[str]) -> None:
    for name in (field.name for field in fields(larger)):  # pyright: ignore[reportArgumentType]
        new, old = getattr(larger, name), getattr(smaller, name)
        if new == old or name in changes or (name in grows and new > old):
            continue
        fix = "it can grow, not shrink" if name in grows else f"only {', '.join(grows)} can grow"
        raise InputError(f"{name} is {old} in the model to start from and cannot become {new}: {fix}")


def _channels_apart(model: VideoTransformer) -> dict[str, Tensor]:
    """Return views of all weights, the channels of the head's outputs in an axis of their own, the first.

    The head lays patches out channels last, so new channels would stand between old ones.
    """
    state = dict(model.state_dict())
    for name in ("head.linear.weight", "head.linear.bias"):
        state[name] = rearrange(state[name], "(p c) ... -> c p ...", c=model.config.out_channels)
    return state


@torch.no_grad()
def _adopt(larger: Mapping[str, Tensor], smaller: Mapping[str, Tensor]) -> None:
    """Overwrite the beginnings of the tensors of `larger` with those of `smaller`; further ones stay."""
    assert smaller.keys() <= larger.keys(), sorted(smaller.keys() - larger.keys())
    for name, old in smaller.items():
        new = larger[name]
        if old.ndim > 1:
            new[: len(old), old.shape[1] :] = 0
        new[tuple(slice(side) for side in old.shape)] = old.to(new.dtype)
