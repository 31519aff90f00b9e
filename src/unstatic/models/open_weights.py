"""The parts of open weights, each in a folder of its own: weights in a published layout, and a config.

The config is diffusers', Wan's own, or none: then sizes are read off the weights.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from unstatic.core.errors import InputError
from unstatic.models.fitting import PLAIN, ROW, Fitting
from unstatic.models.manifest import Window
from unstatic.models.open_manifest import read_config
from unstatic.models.taehv_keys import TAEW2_1, TAEW2_2, from_taehv
from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from unstatic.models.transformer import TransformerConfig, VideoTransformer
from unstatic.models.wan_autoencoder import WanAutoencoder, WanAutoencoderConfig
from unstatic.models.wan_autoencoder_keys import config_of, from_wan_autoencoder
from unstatic.models.wan_keys import OURS, is_exact, layout_of, rename_one
from unstatic.models.weight_files import Reader, Shapes, check_fit, fill, read_weights, shapes, weight_files

HEAD_WIDTH = 128  # of every published model

# ---------------------------------------------------------------------------------------------------- loading


def load_transformer(
    folder: Path,
    dtype: torch.dtype,
    fitting: Fitting = PLAIN,
    *,
    chunk: int | None = None,
    window: Window | None = None,
) -> VideoTransformer:
    """Load a transformer as `dtype`, as `fitting` says, to stream in a window if one is given.

    Raises InputError when its weights do not fit its config.
    """
    config = transformer_config(folder)
    if chunk is not None and window is not None:
        config = replace(
            config,
            chunk=chunk,
            first_chunk=window.first,
            history_chunks=window.history_chunks(chunk),
            sink_chunks=window.sink_chunks(chunk),
        )
    with torch.device("meta"):
        model = VideoTransformer(config)
    files = weight_files(folder)
    reader = Reader(
        files=files,
        dtype=dtype,
        rename=partial(rename_one, source=layout_of(shapes(files)), target=OURS),
        keep_fp8=fitting.fit.quantise == "fp8" and not fitting.loras,
        exact=is_exact,
    )
    check_fit(model, reader.shapes(), folder)

    def fill(module: nn.Module, prefix: str) -> None:
        state = reader.below(prefix) if prefix else reader.outside(ROW)
        module.load_state_dict(state, strict=bool(prefix), assign=True)

    return fitting.put_together(model, fill)


def load_autoencoder(folder: Path, dtype: torch.dtype) -> WanAutoencoder:
    """Load an autoencoder as `dtype` on the CPU. Raises InputError when its weights do not fit its config."""
    config = autoencoder_config(folder)
    with torch.device("meta"):
        model = WanAutoencoder(config)
    fill(model, from_wan_autoencoder(read_weights(weight_files(folder), dtype), config), folder)
    return model


def load_tiny_decoder(folder: Path, dtype: torch.dtype) -> TinyAutoencoder:
    """Load a tiny autoencoder of the TAEHV family as `dtype`. Raises InputError for weights of others."""
    files = weight_files(folder)
    model = TinyAutoencoder(tiny_config(files))
    fill(model, from_taehv(read_weights(files, torch.float32), model.config), folder)
    return model.to(dtype)


# ---------------------------------------------------------------------------------------------------- configs


def tiny_config(files: Sequence[Path]) -> TinyAutoencoderConfig:
    """Tell by its latents which of the published tiny autoencoders files hold."""
    channels = shapes(files).get("decoder.1.weight", ())[1:2]
    for config in (TAEW2_1, TAEW2_2):
        if channels == (config.latent_channels,):
            return config
    raise InputError(f"{files[0]} is no tiny autoencoder of Wan's latents: take taew2_1 or taew2_2")


def transformer_config(folder: Path) -> TransformerConfig:
    """Return the sizes of a transformer. Raises InputError for one that is built otherwise."""
    path = folder / "config.json"
    if not path.is_file():
        return deduced(shapes(weight_files(folder)))
    fields = read_config(folder)
    try:
        return _of_wan(fields, folder) if "dim" in fields else _of_diffusers(fields, path)
    except KeyError as missing:
        raise InputError(f"{path} does not say {missing}: pull the model again") from None


def _of_diffusers(fields: dict[str, Any], path: Path) -> TransformerConfig:
    if fields["qk_norm"] != "rms_norm_across_heads" or not fields["cross_attn_norm"]:
        raise InputError(f"{path} is not of Wan's family: its attention is normalised otherwise")
    return TransformerConfig(
        in_channels=fields["in_channels"],
        out_channels=fields["out_channels"],
        width=fields["num_attention_heads"] * fields["attention_head_dim"],
        depth=fields["num_layers"],
        heads=fields["num_attention_heads"],
        ffn_width=fields["ffn_dim"],
        text_width=fields["text_dim"],
        patch=cast(tuple[int, int, int], tuple(fields["patch_size"])),
        frequency_width=fields["freq_dim"],
        picture_width=fields.get("image_dim"),
        picture_positions=fields.get("pos_embed_seq_len"),
    )


def _of_wan(fields: dict[str, Any], folder: Path) -> TransformerConfig:
    """Take the heads, which no weight tells, from Wan's own config, and the rest from the weights."""
    found = deduced(shapes(weight_files(folder)), heads=fields["num_heads"])
    stated = (fields["dim"], fields["num_layers"], fields["in_dim"], fields["out_dim"])
    if stated != (found.width, found.depth, found.in_channels, found.out_channels):
        raise InputError(f"the weights in {folder} do not fit its config.json: pull the model again")
    return found


def deduced(published: Shapes, heads: int | None = None) -> TransformerConfig:
    """Read the sizes of a transformer off its weights, in either layout.

    `heads` are as many as published models of this width have when None. Raises InputError if these are no
    weights of such a transformer.
    """
    source = layout_of(published)
    sizes = {rename_one(name, source, OURS): shape for name, shape in published.items()}
    try:
        width, channels, *patch = sizes["patch_embedding.weight"]
        ffn_width = sizes["blocks.0.mlp.up.weight"][0]
        text_width = sizes["text_embedding.up.weight"][1]
        frequency_width = sizes["scalar_embedding.sigma.up.weight"][1]
        patch_width = sizes["head.linear.weight"][0]
    except KeyError as missing:
        raise InputError(f"these are not the weights of a Wan transformer: {missing} is missing") from None
    blocks = {match[1] for name in sizes if (match := re.match(r"blocks\.(\d+)\.", name))}
    return TransformerConfig(
        in_channels=channels,
        out_channels=patch_width // math.prod(patch),
        width=width,
        depth=len(blocks),
        heads=heads or max(1, width // HEAD_WIDTH),
        ffn_width=ffn_width,
        text_width=text_width,
        patch=cast(tuple[int, int, int], tuple(patch)),
        frequency_width=frequency_width,
        picture_width=sizes.get("picture_embedding.up.weight", (None,))[0],
        picture_positions=sizes.get("picture_embedding.positions", (None, None))[1],
    )


def autoencoder_config(folder: Path) -> WanAutoencoderConfig:
    """Return the sizes of an autoencoder. Raises InputError for one that is built otherwise."""
    path = folder / "config.json"
    if not path.is_file():
        return config_of(shapes(weight_files(folder)))
    fields = read_config(folder)
    if fields.get("attn_scales"):
        raise InputError(f"{path} is not of a published Wan autoencoder: it has attention in its stages")
    try:
        return WanAutoencoderConfig(
            latent_channels=fields["z_dim"],
            encoder_width=fields["base_dim"],
            decoder_width=fields.get("decoder_base_dim") or fields["base_dim"],
            latent_mean=tuple(fields["latents_mean"]),
            latent_std=tuple(fields["latents_std"]),
            multipliers=tuple(fields["dim_mult"]),
            blocks=fields["num_res_blocks"],
            halves_time=tuple(fields["temperal_downsample"]),
            patch=fields.get("patch_size") or 1,
            shortcuts=fields.get("is_residual", False),
        )
    except KeyError as missing:
        raise InputError(f"{path} does not say {missing}: pull the model again") from None
