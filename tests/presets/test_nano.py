"""Every preset can be built, says what it is, and fits together."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import unstatic
from unstatic.core.config import from_dict, override, to_dict
from unstatic.core.errors import InputError
from unstatic.models.manifest import find_model
from unstatic.models.tiny_autoencoder import TinyAutoencoder
from unstatic.models.transformer import VideoTransformer
from unstatic.presets.nano import PRESETS, preset
from unstatic.presets.preset import Preset
from unstatic.presets.stages import load_transformer, manifest
from unstatic.world.mix import MIXES


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_without_memory_and_its_parts_fit(name: str):
    chosen = preset(name)
    with torch.device("meta"):
        autoencoder = TinyAutoencoder(chosen.autoencoder.model)
        transformer = VideoTransformer(chosen.diffusion.model)
    assert autoencoder.config.compression == chosen.compression
    assert autoencoder.config.latent_channels == transformer.config.in_channels
    assert chosen.world.mix in MIXES
    assert chosen.compression.latent_frames(chosen.world.frames) >= max(
        window.latent_frames for window in chosen.diffusion.windows
    )
    if chosen.length:
        assert chosen.length.world.mix in MIXES
        assert {*chosen.length.world.sizes} <= {*chosen.world.sizes}
        for frames in (chosen.world.frames, chosen.length.world.frames):
            latent_frames = chosen.compression.latent_frames(frames)
            assert latent_frames >= max(window.latent_frames for window in chosen.length.windows)
    assert (manifest(chosen).name, manifest(chosen).preset) == (chosen.model, name)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_being_written_down(name: str):
    chosen = preset(name)
    assert from_dict(Preset, to_dict(chosen)) == chosen


def test_settings_can_be_changed_by_name():
    changed = override(preset("tiny"), ["diffusion.windows.1.batch_size=3", "world.clips=10"])
    assert [window.batch_size for window in changed.diffusion.windows] == [8, 3]
    assert (changed.diffusion.windows[0], changed.world.clips) == (preset("tiny").diffusion.windows[0], 10)


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(InputError, match="tiny, toybox, nano-64"):
        preset("huge")


@pytest.mark.parametrize(("name", "millions"), [("nano-64", (14, 17)), ("nano-128", (20, 21))])
def test_a_transformer_has_the_size_that_the_card_says(name: str, millions: tuple[int, int]):
    with torch.device("meta"):
        transformer = VideoTransformer(preset(name).diffusion.model)
    assert millions[0] < sum(parameter.numel() for parameter in transformer.parameters()) / 1e6 < millions[1]


def test_the_shipped_weights_are_of_the_preset_that_they_name():
    shipped = find_model("nano")
    assert shipped.manifest == manifest(preset("nano-128"))
    config = load_transformer(shipped.weights("transformer")).config
    assert replace(config, scalars=("sigma",)) == preset("nano-128").diffusion.model


def test_a_preset_must_teach_the_guidance_that_its_model_uses():
    for change in ("few_steps.step.max_guidance=3", "few_steps.steps=0"):
        with pytest.raises(InputError, match="few_steps must"):
            override(preset("nano-64"), [change])
    with pytest.raises(InputError, match="give the preset few_steps, or set length=none"):
        override(preset("nano-64"), ["few_steps=none"])
    assert override(preset("nano-64"), ["length=none", "few_steps=none"]).few_steps is None


def test_few_steps_may_have_a_guidance_of_their_own():
    own = manifest(override(preset("nano-64"), ["few_steps.guidance=3"]))
    assert own.distilled is not None
    assert (own.defaults.guidance, own.distilled.guidance) == (preset("nano-64").sampling.guidance, 3.0)
    same = manifest(override(preset("nano-64"), ["few_steps.guidance=none"]))
    assert same.distilled is not None
    assert same.distilled.guidance is None


def test_a_transformer_must_read_what_the_text_encoder_says():
    more = override(preset("nano-64"), ["diffusion.text_encoder=minilm+3"])
    with pytest.raises(InputError, match=r"768 channels, the model reads 384: set .*text_width=768"):
        more.diffusion.check_text()
    fitting = override(more, ["diffusion.model.text_width=768"])
    fitting.diffusion.check_text()
    assert manifest(fitting).text_encoder == "minilm+3"
    with pytest.raises(InputError, match=r"no text encoder 'minilm\+2'"):
        override(preset("nano-64"), ["diffusion.text_encoder=minilm+2"]).diffusion.check_text()


def test_the_weights_are_small_enough_to_keep_and_to_carry_to_a_gpu():
    """15 MiB a file, 60 MiB in all, and as much for what a training is given."""
    weights = Path(unstatic.__file__).parent / "weights"
    sizes = {path: path.stat().st_size for path in weights.rglob("*") if path.is_file()}
    assert max(sizes.values()) <= 15 * 2**20
    assert sum(size for path, size in sizes.items() if path.parent.name == "nano") <= 60 * 2**20
    needed = ("minilm", "animals")
    given = sum(size for path, size in sizes.items() if path.parent.name in needed)
    given += (weights / "nano" / "autoencoder.safetensors").stat().st_size
    assert given <= 60 * 2**20
