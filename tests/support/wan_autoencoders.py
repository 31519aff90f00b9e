"""Wan's autoencoders in small, of diffusers and ours, with the same random weights."""

import dataclasses
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from unstatic.models.wan_autoencoder import WAN_2_1, WAN_2_2, WanAutoencoder, WanAutoencoderConfig
from unstatic.models.wan_autoencoder_keys import from_wan_autoencoder

CONFIGS = {"2.1": WAN_2_1, "2.2": WAN_2_2}


def small(config: WanAutoencoderConfig) -> WanAutoencoderConfig:
    return dataclasses.replace(
        config,
        encoder_width=8,
        decoder_width=16 if config.shortcuts else 8,
        blocks=1,
        latent_channels=4,
        latent_mean=config.latent_mean[:4],
        latent_std=config.latent_std[:4],
    )


def oracle(config: WanAutoencoderConfig) -> AutoencoderKLWan:
    """Return diffusers' model of these sizes with random weights, norms and biases included."""
    channels = 3 * config.patch**2
    model: Any = AutoencoderKLWan(
        base_dim=config.encoder_width,
        decoder_base_dim=config.decoder_width,
        z_dim=config.latent_channels,
        dim_mult=list(config.multipliers),
        num_res_blocks=config.blocks,
        temperal_downsample=list(config.halves_time),
        latents_mean=list(config.latent_mean),
        latents_std=list(config.latent_std),
        is_residual=config.shortcuts,
        in_channels=channels,
        out_channels=channels,
        patch_size=config.patch if config.patch > 1 else None,
        scale_factor_spatial=config.compression.space,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model.eval()


def scales(config: WanAutoencoderConfig) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor(config.latent_mean), torch.tensor(config.latent_std)
    return mean[:, None, None, None], std[:, None, None, None]


def ours_of(theirs: Any, config: WanAutoencoderConfig) -> WanAutoencoder:
    """Return our autoencoder with the weights of diffusers'."""
    ours = WanAutoencoder(config)
    ours.load_state_dict(from_wan_autoencoder(theirs.state_dict(), config))
    return ours.eval()
