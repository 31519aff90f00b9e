"""How much of a network of memory blocks computes anything: hidden units behind a ReLU can die for good.

A unit whose input is negative everywhere gives nothing and learns nothing. A block whose units all died adds
a constant; the loss alone does not show it, for what is left learns to do without.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.models.tiny_autoencoder import TinyAutoencoder
from unstatic.nn.causal import MemoryBlock

DEAD = 0.001  # of a block's hidden units, at all places: no fewer fire in one that learns


@contextmanager
def watched_units(model: nn.Module) -> Iterator[dict[str, Float[Tensor, ""]]]:
    """Within the block, keep the share of each memory block's hidden units that fired at its last call."""
    shares: dict[str, Float[Tensor, ""]] = {}

    def watch(name: str) -> None:
        def look(_module: nn.Module, _args: object, branch: Tensor) -> None:
            shares[name] = (branch.detach() > 0).float().mean()

        hooks.append(model.get_submodule(name).get_submodule("mix").register_forward_hook(look))

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for name in memory_blocks(model):
        watch(name)
    try:
        yield shares
    finally:
        for hook in hooks:
            hook.remove()


def least_alive(shares: Mapping[str, Float[Tensor, ""]]) -> dict[str, float]:
    """Return the smallest share as a number worth logging, if there is any block."""
    return {"alive": min(share.item() for share in shares.values())} if shares else {}


def memory_blocks(model: nn.Module) -> dict[str, MemoryBlock]:
    """Return the memory blocks with hidden units of a network, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, MemoryBlock) and len(module.rest)
    }


@torch.no_grad()
def live_shares(model: TinyAutoencoder, video: Float[Tensor, "b 3 t h w"]) -> dict[str, float]:
    """Return the share of each memory block's hidden units that fire for a video, by the block's name."""
    with watched_units(model) as shares:
        model(video)
    return {name: share.item() for name, share in shares.items()}


@torch.no_grad()
def revive(
    model: TinyAutoencoder, video: Float[Tensor, "b 3 t h w"], *, generator: torch.Generator | None = None
) -> list[str]:
    """Draw anew what died in the decoder, by the units that fire for a video, and return the blocks' names.

    Decoded is the same as before, and gradients flow: what a dead block added was its last bias, and that it
    adds still. The encoder is left alone, so that latents stay what they were.
    """
    blocks, shares = memory_blocks(model), live_shares(model, video)
    dead = [name for name, share in shares.items() if name.startswith("decoder.") and share < DEAD]
    for name in dead:
        _begin_anew(blocks[name], generator)
    return dead


def _begin_anew(block: MemoryBlock, generator: torch.Generator | None) -> None:
    """Draw the first convolution and let the last add its bias alone, from which gradients lead on."""
    for name, weight in block.mix.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weight)
        else:
            nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(block.rest.get_parameter(f"{len(block.rest) - 1}.conv.weight"))
