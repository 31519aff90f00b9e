"""UMT5's published weights under the names of transformers, whose model computes them.

Wan publishes its encoder in a layout of its own (github.com/Wan-Video, wan/modules/t5.py); single files for
ComfyUI have the names of transformers already.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from unstatic.core.errors import InputError
from unstatic.models.weight_files import Shapes

OUTSIDE_BLOCKS = {"token_embedding": "shared", "norm": "encoder.final_layer_norm"}
IN_A_BLOCK = {
    "norm1": "0.layer_norm",
    "attn.q": "0.SelfAttention.q",
    "attn.k": "0.SelfAttention.k",
    "attn.v": "0.SelfAttention.v",
    "attn.o": "0.SelfAttention.o",
    "pos_embedding.embedding": "0.SelfAttention.relative_attention_bias",
    "norm2": "1.layer_norm",
    "ffn.gate.0": "1.DenseReluDense.wi_0",
    "ffn.fc1": "1.DenseReluDense.wi_1",
    "ffn.fc2": "1.DenseReluDense.wo",
}
SHARED, COPY = "shared.weight", "encoder.embed_tokens.weight"
ROW = "encoder.block."
FIRST_BLOCK = f"{ROW}0.layer"

Value = TypeVar("Value")


def from_umt5(published: Mapping[str, Value]) -> dict[str, Value]:
    """Rename published weights, or what is known of them, in either layout, to those of `UMT5EncoderModel`.

    Raises InputError for a part that is unknown, or if there is no table of tokens.
    """
    state = {named(name): value for name, value in published.items()}
    if SHARED not in state:
        raise InputError("these are not the weights of a UMT5 encoder: the table of tokens is missing")
    return state | {COPY: state[SHARED]}


def config_of(published: Shapes) -> dict[str, Any]:
    """Read the sizes of an encoder off its weights, as transformers names them. Raises InputError."""
    sizes = {named(name): shape for name, shape in published.items()}
    attention, mlp = f"{FIRST_BLOCK}.0.SelfAttention", f"{FIRST_BLOCK}.1.DenseReluDense"
    try:
        tokens, width = sizes[SHARED]
        buckets, heads = sizes[f"{attention}.relative_attention_bias.weight"]
        inner = sizes[f"{attention}.q.weight"][0]
        ffn_width = sizes[f"{mlp}.wi_0.weight"][0]
    except KeyError as missing:
        raise InputError(f"these are not the weights of a UMT5 encoder: {missing} is missing") from None
    blocks = {match[1] for name in sizes if (match := re.match(r"encoder\.block\.(\d+)\.", name))}
    return {
        "vocab_size": tokens,
        "d_model": width,
        "d_kv": inner // heads,
        "d_ff": ffn_width,
        "num_layers": len(blocks),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
    }


def named(name: str) -> str:
    """Return what transformers calls a weight that is called `name` in either layout. Raises InputError."""
    if name == SHARED or name.startswith("encoder."):
        return name
    match = re.fullmatch(r"(?:blocks\.(\d+)\.)?(.+)\.weight", name)
    block, part = (match[1], match[2]) if match else (None, "")
    if block is None and part in OUTSIDE_BLOCKS:
        return f"{OUTSIDE_BLOCKS[part]}.weight"
    if block is not None and part in IN_A_BLOCK:
        return f"encoder.block.{block}.layer.{IN_A_BLOCK[part]}.weight"
    raise InputError(f"weight {name!r} has no place in a UMT5 encoder: use weights made for it")
