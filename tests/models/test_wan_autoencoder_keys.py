"""Published names: diffusers' layout as its own model has it, the original one as its converter reads it."""

import dataclasses
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.models.wan_autoencoder import WAN_2_1, WAN_2_2, WanAutoencoder, WanAutoencoderConfig
from unstatic.models.wan_autoencoder_keys import config_of, from_wan_autoencoder, rows

CONFIGS = {"2.1": WAN_2_1, "2.2": WAN_2_2}
# As they stand in Wan2.2_VAE (github.com/Wan-Video/Wan2.2, wan/modules/vae2_2.py)
ORIGINAL_2_2 = (
    "conv1.weight",
    "conv2.bias",
    "encoder.conv1.weight",
    "encoder.downsamples.0.downsamples.0.residual.0.gamma",
    "encoder.downsamples.1.downsamples.0.shortcut.weight",
    "encoder.downsamples.1.downsamples.2.resample.1.weight",
    "encoder.downsamples.2.downsamples.2.time_conv.bias",
    "encoder.downsamples.3.downsamples.1.residual.6.weight",
    "encoder.middle.1.to_qkv.weight",
    "encoder.head.2.weight",
    "decoder.middle.2.residual.3.gamma",
    "decoder.upsamples.0.upsamples.3.time_conv.weight",
    "decoder.upsamples.1.upsamples.3.resample.1.bias",
    "decoder.upsamples.2.upsamples.0.shortcut.weight",
    "decoder.upsamples.3.upsamples.2.residual.2.weight",
    "decoder.head.0.gamma",
)


def small(config: WanAutoencoderConfig) -> WanAutoencoderConfig:
    return dataclasses.replace(config, encoder_width=4, decoder_width=8 if config.shortcuts else 4)


def diffusers_weights(config: WanAutoencoderConfig) -> dict[str, Tensor]:
    model: Any = AutoencoderKLWan(
        base_dim=config.encoder_width,
        decoder_base_dim=config.decoder_width,
        z_dim=config.latent_channels,
        is_residual=config.shortcuts,
        in_channels=3 * config.patch**2,
        out_channels=3 * config.patch**2,
        patch_size=config.patch if config.patch > 1 else None,
    )
    return model.state_dict()


def original_weights(config: WanAutoencoderConfig) -> dict[str, Tensor]:
    return renamed(diffusers_weights(config), config)


def shapes(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def renamed(theirs: dict[str, Tensor], config: WanAutoencoderConfig) -> dict[str, Tensor]:
    """Give diffusers' weights their original names."""
    return {
        f"{row.original}.{leaf}": theirs[f"{row.diffusers}.{leaf}"]
        for row in rows(config)
        for leaf in ("gamma", "weight", "bias")
        if f"{row.diffusers}.{leaf}" in theirs
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_both_layouts_load_strictly_and_give_the_same(name: str) -> None:
    config = small(CONFIGS[name])
    theirs = diffusers_weights(config)
    one, other = from_wan_autoencoder(theirs, config), from_wan_autoencoder(renamed(theirs, config), config)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[each], other[each]) for each in one)
    WanAutoencoder(config).load_state_dict(one)
    WanAutoencoder(config).load_state_dict(other)


def test_diffusers_reads_our_original_names_as_its_own() -> None:
    config = small(WAN_2_1)
    theirs = diffusers_weights(config)
    read = convert_wan_vae_to_diffusers(renamed(theirs, config))
    assert read.keys() == theirs.keys()
    assert all(torch.equal(read[name], theirs[name]) for name in theirs)


def test_the_original_names_of_2_2() -> None:
    assert set(ORIGINAL_2_2) <= original_weights(small(WAN_2_2)).keys()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("weights", [diffusers_weights, original_weights])
def test_sizes_are_read_off_the_weights(name: str, weights: Any) -> None:
    config = small(CONFIGS[name])
    assert config_of(shapes(weights(config))) == config


def test_weights_of_something_else_are_refused() -> None:
    config = small(WAN_2_1)
    weights = diffusers_weights(config)
    with pytest.raises(InputError, match="no place in a Wan autoencoder"):
        from_wan_autoencoder(weights | {"encoder.lora": torch.zeros(1)}, config)
    del weights["decoder.conv_in.weight"], weights["decoder.conv_in.bias"]
    with pytest.raises(InputError, match="is missing"):
        from_wan_autoencoder(weights, config)
    for wrong in (weights, {}, {"quant_conv.weight": torch.zeros(1)}):
        with pytest.raises(InputError, match="not the weights of a Wan autoencoder"):
            config_of(shapes(wrong))
    strange = diffusers_weights(
        dataclasses.replace(config, latent_channels=5, latent_mean=(0.0,) * 5, latent_std=(1.0,) * 5)
    )
    with pytest.raises(InputError, match="5 latent channels"):
        config_of(shapes(strange))
