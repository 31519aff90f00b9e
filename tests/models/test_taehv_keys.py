"""Parity with the published architecture, written here as its 2-D operations in the published order."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from tiny_taehv import Weights, published
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.models.taehv_keys import TAEW2_1, TAEW2_2, from_taehv
from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig


def small(config: TinyAutoencoderConfig) -> TinyAutoencoderConfig:
    return dataclasses.replace(
        config,
        encoder_widths=(6, 6, 6, 6),
        decoder_widths=(8, 6, 5, 4),
        encoder_blocks=(1, 2, 1),
        decoder_blocks=(2, 1, 1, 0),
    )


def convolve(weights: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = weights[f"{name}.weight"]
    return F.conv2d(x, weight, weights.get(f"{name}.bias"), stride=stride, padding=weight.shape[-1] // 2)


def memory_block(weights: Weights, name: str, x: Tensor) -> Tensor:
    past = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
    branch = F.relu(convolve(weights, f"{name}.conv.0", torch.cat([x, past], dim=1)))
    branch = F.relu(convolve(weights, f"{name}.conv.2", branch))
    return F.relu(convolve(weights, f"{name}.conv.4", branch) + x)


def reference_encode(weights: Weights, config: TinyAutoencoderConfig, frames: Tensor) -> Tensor:
    """Frames "t 3 h w" in [0, 1] to latents "t c h w"; the end is padded to a whole group."""
    frames = torch.cat([frames, frames[-1:].expand(-len(frames) % 4, -1, -1, -1)])
    x, index = F.relu(convolve(weights, "encoder.0", F.pixel_unshuffle(frames, config.encoder_patch))), 2
    for merge, blocks in zip(config.encoder_merges, config.encoder_blocks, strict=True):
        x = convolve(weights, f"encoder.{index}.conv", x.reshape(-1, merge * x.shape[1], *x.shape[2:]))
        x = convolve(weights, f"encoder.{index + 1}", x, stride=2)
        for number in range(blocks):
            x = memory_block(weights, f"encoder.{index + 2 + number}", x)
        index += 2 + blocks
    return convolve(weights, f"encoder.{index}", x)


def reference_decode(weights: Weights, config: TinyAutoencoderConfig, latent: Tensor) -> Tensor:
    """Latents "t c h w" to frames "t 3 h w" in [0, 1]; the three frames before the first are cut off."""
    x, index = F.relu(convolve(weights, "decoder.1", torch.tanh(latent / 3) * 3)), 3
    for growth, blocks in zip(config.decoder_growths, config.decoder_blocks, strict=False):
        for number in range(blocks):
            x = memory_block(weights, f"decoder.{index + number}", x)
        x = F.interpolate(x, scale_factor=2)
        x = convolve(weights, f"decoder.{index + blocks + 1}.conv", x).reshape(-1, x.shape[1], *x.shape[2:])
        assert len(x) % growth == 0
        x = convolve(weights, f"decoder.{index + blocks + 2}", x)
        index += blocks + 3
    return F.pixel_shuffle(convolve(weights, f"decoder.{index + 1}", F.relu(x)), config.decoder_patch)[3:]


@pytest.mark.parametrize("layout", [TAEW2_1, TAEW2_2], ids=["taew2_1", "taew2_2"])
def test_converted_weights_compute_what_the_published_network_computes(layout: TinyAutoencoderConfig):
    config = small(layout)
    weights = published(config)
    model = TinyAutoencoder(config)
    model.load_state_dict(from_taehv(weights, config))

    space = config.compression.space
    frames = torch.rand(9, 3, 2 * space, 3 * space, generator=torch.Generator().manual_seed(1))
    video = frames.movedim(0, 1)[None] * 2 - 1
    latent = reference_encode(weights, config, frames)
    expected = reference_decode(weights, config, latent * 3).movedim(0, 1)[None] * 2 - 1

    with torch.no_grad():
        torch.testing.assert_close(model.compress(video)[0].movedim(1, 0), latent, atol=1e-5, rtol=0)
        decoded = model.reconstruct(latent.movedim(0, 1)[None] * 3)
    assert expected.std() > 0.1
    torch.testing.assert_close(decoded, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", [TAEW2_1, TAEW2_2], ids=["taew2_1", "taew2_2"])
def test_published_layouts_build_and_compress_as_named(layout: TinyAutoencoderConfig):
    with torch.device("meta"):
        TinyAutoencoder(layout)
    assert layout.compression.time == 4
    assert layout.compression.space == 8 * layout.encoder_patch


def test_weights_that_are_missing_are_named():
    config = small(TAEW2_1)
    weights = published(config)
    del weights["decoder.1.bias"]
    with pytest.raises(InputError, match=r"weights of a tiny autoencoder: 'decoder\.1\.bias' is missing"):
        from_taehv(weights, config)
