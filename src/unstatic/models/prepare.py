"""Prepare a transformer for sampling on a CPU: called where an engine loads a model, never in training.

The many passes of a sampling loop multiply few tokens by the same weights, so what can be done once is done
here: weights are laid out as oneDNN reads them, and queries, keys and values become one product.
Predictions stay what they were up to rounding. A prepared model has other weights inside: it is neither
trained nor saved nor moved.
"""

from collections.abc import Sequence
from platform import machine
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unstatic.models.quantise import is_plain
from unstatic.models.transformer import Layout, SelfAttention
from unstatic.nn.attention import KeyValue, merge_heads, split_heads
from unstatic.nn.mlp import MLP, is_gelu_exact
from unstatic.nn.norm import inverse_rms
from unstatic.nn.rope import rotate

Part = TypeVar("Part", bound=nn.Module)


@torch.no_grad()
def prepare_for_cpu(module: Part) -> Part:
    """Return a model or a block with its layers changed, but for those whose weights are in 8 bits.

    It must be where and in the dtype in which it will compute.
    """
    join_attention(module)
    if not can_pack():
        return module
    for name, layer in list(module.named_modules()):
        if isinstance(layer, MLP) and _is_packable(layer.up) and _is_packable(layer.down):
            module.set_submodule(name, PackedMLP(layer))
    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.Linear) and _is_packable(layer):
            module.set_submodule(name, PackedLinear(layer))
    return module


@torch.no_grad()
def join_attention(module: nn.Module) -> None:
    """Make one product of the three of every self-attention."""
    for name, layer in list(module.named_modules()):
        if isinstance(layer, SelfAttention) and is_plain(layer.query):
            module.set_submodule(name, FusedSelfAttention(layer))


def _is_packable(layer: nn.Linear) -> bool:
    return is_plain(layer) and layer.weight.dtype in (torch.bfloat16, torch.float32)


def can_pack() -> bool:
    """Return whether this PyTorch packs weights for oneDNN; its public interface does not promise that."""
    named = all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
    return named and torch.backends.mkldnn.is_available() and machine() in ("x86_64", "AMD64")


class PackedLinear(nn.Module):
    """Compute what a linear layer computes, from weights in oneDNN's own layout.

    Without it oneDNN brings them into that layout anew for every product in bfloat16; those in float32 go to
    MKL, which took 1.15 times as long on a Zen 5, and 1.7 where sides are no multiples of 16.
    """

    def __init__(self, plain: nn.Linear, after: Literal["none", "gelu"] = "none") -> None:
        super().__init__()
        self.after = after
        self.form = "none" if after == "none" or is_gelu_exact(plain.weight) else "tanh"
        self.weight = torch.ops.mkldnn._reorder_linear_weight(plain.weight.detach())
        self.bias = plain.bias.detach()

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n o"]:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.after, [], self.form)


class PackedMLP(nn.Module):
    """Compute what an MLP computes; the first product applies the GELU, in the form that `gelu` takes."""

    def __init__(self, plain: MLP) -> None:
        super().__init__()
        self.up, self.down = PackedLinear(plain.up, after="gelu"), PackedLinear(plain.down)

    def forward(self, tokens: Float[Tensor, "*n d"]) -> Float[Tensor, "*n o"]:
        return self.down(self.up(tokens))


class FusedSelfAttention(nn.Module):
    """Compute what `SelfAttention` computes, in fewer and larger steps."""

    def __init__(self, plain: SelfAttention) -> None:
        super().__init__()
        self.heads = plain.heads
        self.project = side_by_side(plain.query, plain.key, plain.value)
        self.norm_weight = torch.stack((plain.query_norm.weight, plain.key_norm.weight)).float()
        self.out, self.read = plain.out, plain.read

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        layout: Layout,
        history: Sequence[KeyValue],
        anchors: KeyValue | None,
    ) -> tuple[Float[Tensor, "b n d"], list[KeyValue]]:
        projected = self.project(x).unflatten(-1, (3, -1))  # b n 3 d

        # Normalise and turn queries and keys together
        tokens = projected[:, :, :2].float()
        normed = tokens * inverse_rms(tokens) * self.norm_weight
        turned = rotate(normed.unflatten(-1, (self.heads, -1)), layout.rotation[:, None])  # b n 2 k e
        query, key = turned.unbind(2)
        value = projected[:, :, 2].unflatten(-1, (self.heads, -1))
        query, key, value = (split_heads(tokens, x.dtype) for tokens in (query, key, value))

        read, chunks = self.read(query, KeyValue(key, value), layout, history, anchors)
        return self.out(merge_heads(read, batch=len(x))), chunks


def side_by_side(*layers: nn.Linear) -> nn.Linear:
    """Join layers that read the same input to one that gives their outputs one after the other."""
    joined = nn.Linear(layers[0].in_features, sum(layer.out_features for layer in layers), device="meta")
    joined.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]))
    joined.bias = nn.Parameter(torch.cat([layer.bias for layer in layers]))
    return joined
