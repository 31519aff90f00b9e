"""Random weights of the tiny autoencoders of the TAEHV family, under their published names."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from unstatic.models.taehv_keys import TAEW2_1
from unstatic.models.tiny_autoencoder import TinyAutoencoderConfig

Weights = dict[str, Tensor]


def published(config: TinyAutoencoderConfig) -> Weights:
    """Random weights with the published names and shapes."""
    generator = torch.Generator().manual_seed(0)
    weights: Weights = {}

    def convolution(name: str, channels: int, width: int, kernel: int = 3, *, bias: bool = True) -> None:
        scale = (channels * kernel**2) ** -0.5
        weights[f"{name}.weight"] = torch.randn(width, channels, kernel, kernel, generator=generator) * scale
        if bias:
            weights[f"{name}.bias"] = torch.randn(width, generator=generator) * 0.1

    def block(name: str, width: int) -> None:
        convolution(f"{name}.conv.0", 2 * width, width)
        convolution(f"{name}.conv.2", width, width)
        convolution(f"{name}.conv.4", width, width)

    widths, index = config.encoder_widths, 2
    convolution("encoder.0", 3 * config.encoder_patch**2, widths[0])
    for stage, (merge, blocks) in enumerate(zip(config.encoder_merges, config.encoder_blocks, strict=True)):
        convolution(f"encoder.{index}.conv", merge * widths[stage], widths[stage], 1, bias=False)
        convolution(f"encoder.{index + 1}", widths[stage], widths[stage + 1], bias=False)
        for number in range(blocks):
            block(f"encoder.{index + 2 + number}", widths[stage + 1])
        index += 2 + blocks
    convolution(f"encoder.{index}", widths[-1], config.latent_channels)

    widths, index = config.decoder_widths, 3
    convolution("decoder.1", config.latent_channels, widths[0])
    for stage, growth in enumerate(config.decoder_growths):
        for number in range(config.decoder_blocks[stage]):
            block(f"decoder.{index + number}", widths[stage])
        index += config.decoder_blocks[stage]
        convolution(f"decoder.{index + 1}.conv", widths[stage], growth * widths[stage], 1, bias=False)
        convolution(f"decoder.{index + 2}", widths[stage], widths[stage + 1], bias=False)
        index += 3
    convolution(f"decoder.{index + 1}", widths[-1], 3 * config.decoder_patch**2)
    return weights


def with_tiny_decoder(folder: Path, config: TinyAutoencoderConfig = TAEW2_1) -> Path:
    """Put random weights of a published tiny autoencoder into a model's folder."""
    (folder / "tiny_decoder").mkdir()
    save_file(published(config), folder / "tiny_decoder" / "taew2_1.safetensors")
    return folder
