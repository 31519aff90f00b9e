"""Wan's published weights under our names, and ours under theirs.

Our parameters have the shapes of Wan's, so only names change. Outside there are two layouts: the original one
(github.com/Wan-Video) and that of diffusers' `WanTransformer3DModel`.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.models.transformer import TransformerConfig

WAN_CONFIGS = {
    "wan2.1-1.3b": TransformerConfig(
        in_channels=16, out_channels=16, width=1536, depth=30, heads=12, ffn_width=8960, text_width=4096
    ),
    "wan2.1-14b": TransformerConfig(
        in_channels=16, out_channels=16, width=5120, depth=40, heads=40, ffn_width=13824, text_width=4096
    ),
    "wan2.2-5b": TransformerConfig(
        in_channels=48, out_channels=48, width=3072, depth=30, heads=24, ffn_width=14336, text_width=4096
    ),
}

# Columns: our name, the original one, diffusers'
OURS, ORIGINAL, DIFFUSERS = 0, 1, 2
OUTSIDE_BLOCKS = (
    ("patch_embedding", "patch_embedding", "patch_embedding"),
    ("text_embedding.up", "text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.down", "text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("picture_embedding.positions", "img_emb.emb_pos", "condition_embedder.image_embedder.pos_embed"),
    ("picture_embedding.first_norm", "img_emb.proj.0", "condition_embedder.image_embedder.norm1"),
    ("picture_embedding.up", "img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"),
    ("picture_embedding.down", "img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
    ("picture_embedding.last_norm", "img_emb.proj.4", "condition_embedder.image_embedder.norm2"),
    ("scalar_embedding.sigma.up", "time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("scalar_embedding.sigma.down", "time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("time_projection", "time_projection.1", "condition_embedder.time_proj"),
    ("head.scale_shift_table", "head.modulation", "scale_shift_table"),
    ("head.linear", "head.head", "proj_out"),
)
IN_A_BLOCK = (
    ("scale_shift_table", "modulation", "scale_shift_table"),
    ("attention.query", "self_attn.q", "attn1.to_q"),
    ("attention.key", "self_attn.k", "attn1.to_k"),
    ("attention.value", "self_attn.v", "attn1.to_v"),
    ("attention.query_norm", "self_attn.norm_q", "attn1.norm_q"),
    ("attention.key_norm", "self_attn.norm_k", "attn1.norm_k"),
    ("attention.out", "self_attn.o", "attn1.to_out.0"),
    ("text_norm", "norm3", "norm2"),
    ("text_attention.query", "cross_attn.q", "attn2.to_q"),
    ("text_attention.key", "cross_attn.k", "attn2.to_k"),
    ("text_attention.value", "cross_attn.v", "attn2.to_v"),
    ("text_attention.query_norm", "cross_attn.norm_q", "attn2.norm_q"),
    ("text_attention.key_norm", "cross_attn.norm_k", "attn2.norm_k"),
    ("text_attention.out", "cross_attn.o", "attn2.to_out.0"),
    ("text_attention.pictures.key", "cross_attn.k_img", "attn2.add_k_proj"),
    ("text_attention.pictures.value", "cross_attn.v_img", "attn2.add_v_proj"),
    ("text_attention.pictures.key_norm", "cross_attn.norm_k_img", "attn2.norm_added_k"),
    ("mlp.up", "ffn.0", "ffn.net.0.proj"),
    ("mlp.down", "ffn.2", "ffn.net.2"),
)

# Parts that stay in float32: they are small, and everything passes through them
EXACT = (
    "scale_shift_table",
    "scalar_embedding",
    "text_norm",
    "query_norm",
    "key_norm",
    "first_norm",
    "last_norm",
)


def is_exact(name: str) -> bool:
    """Tell by our name of a weight whether it stays in float32, whatever a transformer computes as."""
    return not set(EXACT).isdisjoint(name.split("."))


def from_wan(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename Wan's weights, in either layout, to ours. Raises InputError for a part that we do not have."""
    return rename(state, layout_of(state), OURS)


def layout_of(names: Iterable[str]) -> int:
    """Tell which of the two outside layouts names are of."""
    return DIFFUSERS if any(name.startswith("condition_embedder.") for name in names) else ORIGINAL


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our weights for `WanTransformer3DModel`. Raises InputError for a part that Wan does not have."""
    return rename(state, OURS, DIFFUSERS)


def to_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our weights for Wan's own code. Raises InputError for a part that Wan does not have."""
    return rename(state, OURS, ORIGINAL)


def rename(state: Mapping[str, Tensor], source: int, target: int) -> dict[str, Tensor]:
    """Rename every tensor from the layout in column `source` to the one in column `target`."""
    return {rename_one(name, source, target): tensor for name, tensor in state.items()}


def rename_one(name: str, source: int, target: int) -> str:
    """Rename one weight as `rename` does. Raises InputError for a part that the other model lacks."""
    block, part, leaf = split_name(name)
    for row in IN_A_BLOCK if block else OUTSIDE_BLOCKS:
        if row[source] == part:
            return block + row[target] + leaf
    raise InputError(f"weight {name!r} has no place in the other model: use plain text-to-video weights")


def split_name(name: str) -> tuple[str, str, str]:
    """Split "blocks.7.mlp.up.weight" into ("blocks.7.", "mlp.up", ".weight"); first and last may be empty."""
    match = re.fullmatch(r"(blocks\.\d+\.)?(.+?)(\.weight|\.bias)?", name)
    assert match is not None, f"{name!r} is not the name of a weight"
    return match[1] or "", match[2], match[3] or ""
