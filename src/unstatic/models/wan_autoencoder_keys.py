"""Published weights of Wan's autoencoders under our names.

Outside there are two layouts: the original one (github.com/Wan-Video; `Wan2.1_VAE`, `Wan2.2_VAE`, also as
single files for Comfy) and that of diffusers' `AutoencoderKLWan`. Without shortcuts the original numbers the
layers of all stages in one row, and diffusers does so in the encoder; with shortcuts every stage is a module
of its own. The conversion goes one way: of what the encoder predicts, the variances are left out.
"""

from collections.abc import Iterator, Mapping
from math import isqrt
from typing import NamedTuple

from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.models.wan_autoencoder import WAN_2_1, WAN_2_2, WanAutoencoderConfig
from unstatic.models.weight_files import Shapes

PUBLISHED = {config.latent_channels: config for config in (WAN_2_1, WAN_2_2)}


class Row(NamedTuple):
    """A part by its three names."""

    ours: str
    original: str
    diffusers: str

    def inside(self, ours: str, original: str, diffusers: str) -> "Row":
        """Return a part of this part."""
        return Row(f"{self.ours}.{ours}", f"{self.original}.{original}", f"{self.diffusers}.{diffusers}")


def from_wan_autoencoder(published: Mapping[str, Tensor], config: WanAutoencoderConfig) -> dict[str, Tensor]:
    """Convert published weights, in either layout, to those that `WanAutoencoder(config)` loads strictly.

    Raises InputError for weights of another model, naming the first part that is missing or unknown.
    """
    original = "conv1.weight" in published
    converted: dict[str, Tensor] = {}
    left = dict(published)
    for row in rows(config):
        source = row.original if original else row.diffusers
        names = {f"{source}.gamma": "weight", f"{source}.weight": "weight", f"{source}.bias": "bias"}
        found = {name: leaf for name, leaf in names.items() if name in left}
        if not found:
            raise InputError(f"weight {source!r} is missing: these are not the weights of a Wan autoencoder")
        for name, leaf in found.items():
            converted[f"{row.ours}.{leaf}"] = _shaped(row.ours, left.pop(name), config)
    if left:
        raise InputError(f"weight {min(left)!r} has no place in a Wan autoencoder: use weights made for it")
    return converted


def config_of(published: Shapes) -> WanAutoencoderConfig:
    """Read the sizes of a published autoencoder off its weights, in either layout.

    Mean and deviation of the latents are no weights: they are those of the published model with as many
    channels. Raises InputError if there is none, or if these are no weights of a Wan autoencoder.
    """
    original = "conv1.weight" in published
    latent, start = ("conv2", "conv1") if original else ("post_quant_conv", "conv_in")
    needed = (f"{latent}.weight", f"encoder.{start}.weight", f"decoder.{start}.weight")
    if any(name not in published for name in needed):
        raise InputError("these are not the weights of a Wan autoencoder")
    channels = published[needed[0]][0]
    if channels not in PUBLISHED:
        raise InputError(f"there is no published Wan autoencoder with {channels} latent channels")
    like = PUBLISHED[channels]
    width, folded = published[needed[1]][:2]
    return WanAutoencoderConfig(
        latent_channels=channels,
        encoder_width=width,
        decoder_width=published[needed[2]][0] // like.multipliers[-1],
        latent_mean=like.latent_mean,
        latent_std=like.latent_std,
        patch=isqrt(folded // 3),
        shortcuts=like.shortcuts,
    )


def rows(config: WanAutoencoderConfig) -> Iterator[Row]:
    """Name every part that has weights, once, by its three names."""
    yield Row("encoder.mean", "conv1", "quant_conv")
    yield Row("decoder.latent", "conv2", "post_quant_conv")
    for half in ("encoder", "decoder"):
        whole = Row(half, half, half)
        yield whole.inside("start.window.conv", "conv1", "conv_in")
        yield whole.inside("norm", "head.0", "norm_out")
        yield whole.inside("end.window.conv", "head.2", "conv_out")
        yield from _residual(whole.inside("middle.before", "middle.0", "mid_block.resnets.0"), False)
        yield from _attention(whole.inside("middle.attention", "middle.1", "mid_block.attentions.0"))
        yield from _residual(whole.inside("middle.after", "middle.2", "mid_block.resnets.1"), False)
    yield from _encoder_stages(config)
    yield from _decoder_stages(config)


def _encoder_stages(config: WanAutoencoderConfig) -> Iterator[Row]:
    widths = [config.encoder_width * each for each in (1, *config.multipliers)]
    number, nested = 0, config.shortcuts
    for stage in range(len(config.multipliers)):
        names = Row(
            f"encoder.stages.{stage}",
            f"encoder.downsamples.{stage}.downsamples" if nested else "encoder.downsamples",
            f"encoder.down_blocks.{stage}" if nested else "encoder.down_blocks",
        )
        for block in range(config.blocks):
            place = str(block if nested else number + block)
            row = names.inside(f"blocks.{block}", place, f"resnets.{place}" if nested else place)
            yield from _residual(row, block == 0 and widths[stage] != widths[stage + 1])
        if stage < len(config.halves_time):
            place = str(config.blocks if nested else number + config.blocks)
            changed = names.inside("", place, "downsampler" if nested else place)
            yield from _resampled(changed, "halve", config.halves_time[stage])
        number += config.blocks + 1


def _decoder_stages(config: WanAutoencoderConfig) -> Iterator[Row]:
    widths = [config.decoder_width * each for each in (*config.multipliers, config.multipliers[-1])][::-1]
    number, nested, blocks = 0, config.shortcuts, config.blocks + 1
    for stage in range(len(config.multipliers)):
        names = Row(
            f"decoder.stages.{stage}",
            f"decoder.upsamples.{stage}.upsamples" if nested else "decoder.upsamples",
            f"decoder.up_blocks.{stage}",
        )
        given = widths[stage] if nested or stage == 0 else widths[stage] // 2
        for block in range(blocks):
            row = names.inside(
                f"blocks.{block}", str(block if nested else number + block), f"resnets.{block}"
            )
            yield from _residual(row, block == 0 and given != widths[stage + 1])
        if stage < len(config.halves_time):
            place = str(blocks if nested else number + blocks)
            changed = names.inside("", place, "upsampler" if nested else "upsamplers.0")
            yield from _resampled(changed, "double", config.halves_time[::-1][stage])
        number += blocks + 1


def _residual(block: Row, widens: bool) -> Iterator[Row]:
    yield block.inside("norm1", "residual.0", "norm1")
    yield block.inside("conv1.window.conv", "residual.2", "conv1")
    yield block.inside("norm2", "residual.3", "norm2")
    yield block.inside("conv2.window.conv", "residual.6", "conv2")
    if widens:
        yield block.inside("past", "shortcut", "conv_shortcut")


def _attention(block: Row) -> Iterator[Row]:
    yield block.inside("norm", "norm", "norm")
    yield block.inside("query_key_value", "to_qkv", "to_qkv")
    yield block.inside("out", "proj", "proj")


def _resampled(changed: Row, verb: str, time: bool) -> Iterator[Row]:
    stage = changed.ours.removesuffix(".")
    both = changed._replace(ours=stage)
    yield both.inside(f"{verb}_size.conv", "resample.1", "resample.1")
    if time:
        yield both.inside(f"{verb}_frames.conv", "time_conv", "time_conv")


def _shaped(ours: str, tensor: Tensor, config: WanAutoencoderConfig) -> Tensor:
    """Drop the axes of length 1 that norms and products carry there; of latents, keep the means."""
    if not ours.endswith(".conv"):
        while tensor.ndim > 1 and tensor.shape[-1] == 1:
            tensor = tensor.squeeze(-1)
    return tensor[: config.latent_channels] if ours == "encoder.mean" else tensor
