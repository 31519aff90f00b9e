"""The parts of open weights, read from a folder as diffusers lays it out.

Nothing is unpickled: weights are safetensors, in one file or many.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unstatic.core.errors import InputError
from unstatic.models.open_manifest import read_config, read_json
from unstatic.models.transformer import TransformerConfig, VideoTransformer
from unstatic.models.wan_autoencoder import WanAutoencoder, WanAutoencoderConfig
from unstatic.models.wan_autoencoder_keys import from_wan_autoencoder
from unstatic.models.wan_keys import from_wan

Model = TypeVar("Model", bound=nn.Module)

# ---------------------------------------------------------------------------------------------------- configs


def transformer_config(folder: Path) -> TransformerConfig:
    """Read the sizes of a transformer. Raises InputError for one that is built otherwise."""
    path = folder / "config.json"
    fields = read_config(folder)
    try:
        if fields.get("image_dim") or fields.get("added_kv_proj_dim"):
            raise InputError(f"{path} is of a model that reads pictures by CLIP: it is not supported")
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
        )
    except KeyError as missing:
        raise InputError(f"{path} does not say {missing}: pull the model again") from None


def autoencoder_config(folder: Path) -> WanAutoencoderConfig:
    """Read the sizes of an autoencoder. Raises InputError for one that is built otherwise."""
    path = folder / "config.json"
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


# ---------------------------------------------------------------------------------------------------- weights


def load_transformer(folder: Path, dtype: torch.dtype) -> VideoTransformer:
    """Load a transformer as `dtype` on the CPU. Raises InputError when its weights do not fit its config."""
    config = transformer_config(folder)
    with torch.device("meta"):
        model = VideoTransformer(config)
    return _filled(model, from_wan(dict(tensors(folder, dtype))), folder)


def load_autoencoder(folder: Path, dtype: torch.dtype) -> WanAutoencoder:
    """Load an autoencoder as `dtype` on the CPU. Raises InputError when its weights do not fit its config."""
    config = autoencoder_config(folder)
    with torch.device("meta"):
        model = WanAutoencoder(config)
    return _filled(model, from_wan_autoencoder(dict(tensors(folder, dtype)), config), folder)


def _filled(model: Model, state: Mapping[str, Tensor], folder: Path) -> Model:
    wanted = model.state_dict()
    if wrong := wanted.keys() ^ state.keys():
        raise InputError(f"{folder} does not fit its config.json: see weight {min(wrong)!r}")
    if wrong := [each for each in wanted if wanted[each].shape != state[each].shape]:
        raise InputError(f"{folder} does not fit its config.json: weight {min(wrong)!r} has another shape")
    model.load_state_dict(state, assign=True)
    return model


def tensors(folder: Path, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Read all weights of a part, one after the other, as `dtype`."""
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt") as handle:
                for name in handle.keys():  # noqa: SIM118
                    yield name, handle.get_tensor(name).to(dtype)
        except (SafetensorError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{file} is not a whole safetensors file ({reason}): pull it again") from error


def weight_files(folder: Path) -> list[Path]:
    """Return the weights of a part in order: those that its index names, or its only file."""
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if indices:
        named: Mapping[str, str] = read_json(indices[0]).get("weight_map", {})
        files = [folder / name for name in sorted(set(named.values()))]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(f"there are no weights in {folder}: pull the model again")
    for file in files:
        if file.parent != folder or not file.is_file():
            raise InputError(f"{file} is missing: pull the model again")
    return files
