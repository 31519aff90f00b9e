"""Scaled dot-product attention, and the one place that decides how it is computed.

Letters: h heads of all samples (b k), q query tokens, n key tokens, e channels of a head.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unstatic.core.device import has_matrix_unit

# Up to so many scores a head, plain matrix products beat the fused kernel on a CPU without a matrix unit;
# more leave the cache
EXPLICIT_SCORES = 1 << 18


class KeyValue(NamedTuple):
    """What a query can read: one key and one value per token and head.

    `bias` is added to the scores of every query: log(m) makes a token count as m.
    """

    key: Float[Tensor, "h n e"]
    value: Float[Tensor, "h n e"]
    bias: Float[Tensor, "h 1 n"] | None = None


def join(parts: Sequence[KeyValue]) -> KeyValue:
    """Lay the tokens of several parts end to end."""
    if len(parts) == 1:
        return parts[0]
    return KeyValue(torch.cat([part.key for part in parts], 1), torch.cat([part.value for part in parts], 1))


def split(whole: KeyValue, lengths: Sequence[int]) -> list[KeyValue]:
    """Cut tokens into parts of the given lengths (views)."""
    keys, values = whole.key.split(lengths, 1), whole.value.split(lengths, 1)
    return [KeyValue(key, value) for key, value in zip(keys, values, strict=True)]


def split_heads(tokens: Float[Tensor, "b n k e"], dtype: torch.dtype) -> Float[Tensor, "h n e"]:
    """Set every head of every sample apart, as one contiguous batch of matrices in `dtype`."""
    apart = tokens.transpose(1, 2).to(dtype, memory_format=torch.contiguous_format)
    return apart.contiguous().flatten(0, 1)


def merge_heads(tokens: Float[Tensor, "h n e"], batch: int) -> Float[Tensor, "{batch} n d"]:
    """Undo `split_heads` and lay the channels of all heads side by side."""
    return tokens.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2)


def attention(query: Float[Tensor, "h q e"], memory: KeyValue) -> Float[Tensor, "h q e"]:
    """Let every query read every token of `memory`: softmax(q k^T / sqrt(e)) v (1706.03762, equation 1)."""
    if query.device.type == "cpu" and _explicit_is_faster(query, memory):
        return explicit_attention(query, memory)
    return fused_attention(query, memory)


def _explicit_is_faster(query: Float[Tensor, "h q e"], memory: KeyValue) -> bool:
    """Tell whether two products beat torch's kernel on this CPU.

    Not where products cost next to nothing beside the softmax between them: in bfloat16 with AMX the kernel
    took two thirds of the time. Training has other costs and was not measured.
    """
    if query.dtype == torch.bfloat16 and not query.requires_grad and has_matrix_unit():
        return False
    return query.shape[1] * memory.key.shape[1] <= EXPLICIT_SCORES


def explicit_attention(query: Float[Tensor, "h q e"], memory: KeyValue) -> Float[Tensor, "h q e"]:
    """Compute `attention` as two matrix products; inside, the softmax of a CPU is float32 for any dtype."""
    added, scale = memory.bias, query.shape[-1] ** -0.5
    keys = memory.key.transpose(1, 2)
    if added is None:
        scores = torch.baddbmm(query.new_empty(1, 1, 1), query, keys, beta=0, alpha=scale)  # h q n
    else:
        scores = torch.baddbmm(added, query, keys, alpha=scale)  # h q n
    return torch.bmm(scores.softmax(-1), memory.value)


def fused_attention(query: Float[Tensor, "h q e"], memory: KeyValue) -> Float[Tensor, "h q e"]:
    """Compute `attention` with torch's own kernel, which never holds all scores."""
    bias = None if memory.bias is None else memory.bias[None]
    return F.scaled_dot_product_attention(query[None], memory.key[None], memory.value[None], bias)[0]
