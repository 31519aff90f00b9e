"""Published weights of the TAEHV family (taew2_1, taew2_2: tiny autoencoders for Wan latents) in our layout.

The published networks stack frames in channels, enlarge by repetition and keep linear neighbours apart; ours
folds each such group into one convolution. The conversion is exact up to rounding, and goes one way.
"""

from collections.abc import Iterator, Mapping

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.models.tiny_autoencoder import TinyAutoencoderConfig

TAEW2_1 = TinyAutoencoderConfig(
    latent_channels=16,
    encoder_patch=1,
    encoder_widths=(64, 64, 64, 64),
    encoder_blocks=(3, 3, 3),
    encoder_merges=(2, 2, 1),
    decoder_patch=1,
    decoder_widths=(256, 128, 64, 64),
    decoder_blocks=(3, 3, 3, 0),
    decoder_growths=(1, 2, 2),
    block_depth=3,
    lookahead=3,
)
"""Wan 2.1 latents, f8 t4: taew2_1.safetensors."""

TAEW2_2 = TinyAutoencoderConfig(
    latent_channels=48,
    encoder_patch=2,
    encoder_widths=(64, 64, 64, 64),
    encoder_blocks=(3, 3, 3),
    encoder_merges=(2, 2, 1),
    decoder_patch=2,
    decoder_widths=(256, 128, 64, 64),
    decoder_blocks=(3, 3, 3, 0),
    decoder_growths=(1, 2, 2),
    block_depth=3,
    lookahead=3,
)
"""Wan 2.2 5B latents, f16 t4: taew2_2.safetensors."""

Weights = Mapping[str, Tensor]
Converted = Iterator[tuple[str, Tensor]]


def from_taehv(published: Weights, config: TinyAutoencoderConfig) -> dict[str, Tensor]:
    """Convert a published state dict to one that `TinyAutoencoder(config)` loads strictly.

    Latents of these models are already normalised, so mean 0 and deviation 1 are added. Raises InputError for
    weights that are not all there.
    """
    try:
        converted = dict(_encoder(published, config)) | dict(_decoder(published, config))
    except KeyError as missing:
        raise InputError(f"these are not the weights of a tiny autoencoder: {missing} is missing") from None
    converted["latent_mean"] = torch.zeros(config.latent_channels)
    converted["latent_std"] = torch.ones(config.latent_channels)
    return converted


def _encoder(published: Weights, config: TinyAutoencoderConfig) -> Converted:
    yield from _convolution(published, "encoder.0", "encoder.0.conv")

    # Published: pool, convolution, blocks. Ours: shrink, blocks.
    theirs, ours = 2, 2
    for frames, blocks in zip(config.encoder_merges, config.encoder_blocks, strict=True):
        pool, kernel = published[f"encoder.{theirs}.conv.weight"], published[f"encoder.{theirs + 1}.weight"]
        yield f"encoder.{ours}.merge.conv.weight", _merged(pool, kernel, frames)
        for block in range(blocks):
            yield from _block(
                published, f"encoder.{theirs + 2 + block}", f"encoder.{ours + 1 + block}", config
            )
        theirs, ours = theirs + 2 + blocks, ours + 1 + blocks

    yield from _convolution(published, f"encoder.{theirs}", f"encoder.{ours}.conv")


def _decoder(published: Weights, config: TinyAutoencoderConfig) -> Converted:
    yield from _convolution(published, "decoder.1", "decoder.1.conv")

    # Published: blocks, repetition, growth, convolution. Ours: blocks, grow.
    theirs, ours = 3, 3
    for frames, blocks in zip(config.decoder_growths, config.decoder_blocks, strict=False):
        for block in range(blocks):
            yield from _block(published, f"decoder.{theirs + block}", f"decoder.{ours + block}", config)
        theirs, ours = theirs + blocks, ours + blocks
        growth, kernel = (
            published[f"decoder.{theirs + 1}.conv.weight"],
            published[f"decoder.{theirs + 2}.weight"],
        )
        yield f"decoder.{ours}.split.conv.weight", _grown(growth, kernel, frames)
        theirs, ours = theirs + 3, ours + 1

    yield from _convolution(published, f"decoder.{theirs + 1}", f"decoder.{ours + 1}.conv")


def _convolution(published: Weights, theirs: str, ours: str) -> Converted:
    yield f"{ours}.weight", rearrange(published[f"{theirs}.weight"], "d c y x -> d c 1 y x")
    yield f"{ours}.bias", published[f"{theirs}.bias"]


def _block(published: Weights, theirs: str, ours: str, config: TinyAutoencoderConfig) -> Converted:
    # Published channels are [current, past]; our kernel's time runs from past to current
    stacked = published[f"{theirs}.conv.0.weight"]
    yield f"{ours}.mix.conv.weight", rearrange(stacked, "d (t c) y x -> d c t y x", t=2).flip(2)
    yield f"{ours}.mix.conv.bias", published[f"{theirs}.conv.0.bias"]
    for index in range(config.block_depth - 1):
        yield from _convolution(published, f"{theirs}.conv.{2 * index + 2}", f"{ours}.rest.{index}.conv")


def _merged(
    pool: Float[Tensor, "m sc 1 1"], kernel: Float[Tensor, "d m 3 3"], frames: int
) -> Float[Tensor, "d c frames 3 3"]:
    """Fold a 1 x 1 mix of `frames` stacked frames and the convolution after it into one kernel."""
    mix = rearrange(pool, "m (s c) 1 1 -> m s c", s=frames)
    return einsum(kernel, mix, "d m y x, m s c -> d c s y x")


def _grown(
    growth: Float[Tensor, "sm c 1 1"], kernel: Float[Tensor, "d m 3 3"], frames: int
) -> Float[Tensor, "spqd c 1 3 3"]:
    """Fold a 1 x 1 mix into `frames` frames, repetition 2 x 2 and a convolution into one kernel.

    Checkpoints may hold a growth into more frames than the network uses; the last ones count.
    """
    mix = rearrange(growth[-frames * kernel.shape[1] :], "(s m) c 1 1 -> s m c", s=frames)
    places = _repeated_taps().to(kernel)
    folded = einsum(kernel, places, places, mix, "d m i j, p i y, q j x, s m c -> s p q d c y x")
    return rearrange(folded, "s p q d c y x -> (s p q d) c 1 y x")


def _repeated_taps() -> Float[Tensor, "2 3 3"]:
    """Say where 3 taps at double size fall among 3 taps at single size, for even and odd positions (0, 1).

    Position 2 i + p reads 2 i + p + k - 1, which repeats the value at i + floor((p + k - 1) / 2).
    """
    places = torch.zeros(2, 3, 3)
    for position in range(2):
        for tap in range(3):
            places[position, tap, (position + tap - 1) // 2 + 1] = 1
    return places
