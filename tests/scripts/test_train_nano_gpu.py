"""Training for a lent GPU, on the CPU with the smallest networks: every part, stopped and gone on with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import train_nano_gpu as script

from unstatic.core.config import override
from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.data.latents import Window
from unstatic.data.shards import open_shards
from unstatic.models.manifest import find_model
from unstatic.models.tiny_autoencoder import TinyAutoencoder
from unstatic.presets.nano import tiny
from unstatic.presets.preset import Preset


@pytest.fixture(scope="module")
def chosen() -> Preset:
    small = tiny()
    reading = replace(small.diffusion.model, text_width=768)
    return replace(
        small,
        world=replace(small.world, clips=4, shard_clips=2),
        diffusion=replace(small.diffusion, model=reading, text_encoder="minilm+3"),
    )


@pytest.fixture(scope="module")
def folder(chosen: Preset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    autoencoder = TinyAutoencoder(chosen.autoencoder.model, generator=generator("test"))
    for part in range(2):
        script.make_latents(chosen, folder / "latents", autoencoder, part, 2)
    return folder


@pytest.mark.slow
def test_every_part_writes_its_own_shards_and_one_in_eight_is_long(folder: Path) -> None:
    long, short = open_shards(folder / "latents", "latents")
    assert long.shapes == {
        "latents": (2, 33, 8, 8, 8),
        "objects": (2, 33, 8, 8),
        "text": (2, 1, 64, 768),
        "openings": (2, 1, 8, 8, 8),
        "starts": (2, 1),
    }
    assert 0 <= long.read("starts", 0)[0] <= 960 / 4
    assert long.read("openings", 0).any()
    assert short.shapes["latents"] == (2, 5, 8, 8, 8)
    assert short.read("text", 0).any()
    assert short.read("objects", 0).any()


class Watch:
    """A clock that is an eighth of a second later whenever somebody looks."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        self.now_s += 0.125
        return self.now_s


def lines_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_it_trains_and_distills_for_as_long_as_it_may(
    chosen: Preset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "LONG", Window(latent_frames=33, batch_size=2, share=0.1))
    monkeypatch.setattr(script, "LOG_STEPS", 1)
    monkeypatch.setattr(script, "time", Watch())
    script.train_base(chosen, folder, 2.0, None)
    script.train_few(chosen, folder, 2.0)
    for stage, model in (("base", "teacher"), ("few", "model")):
        lines = lines_of(folder / stage)
        assert (len(lines), lines[-1]["seconds"]) == (16, 2.0)
        assert lines[-1]["scale"] < 0.2 < max(line["scale"] for line in lines)
        assert script.load_transformer(folder / model / "transformer.safetensors").config.width == 32

    # What it leaves is a model, which says what its transformer reads
    (folder / "model").mkdir(exist_ok=True)
    script.finish(chosen, find_model("nano"), folder / "model")
    finished = find_model(str(folder / "model"))
    assert finished.manifest.text_encoder == "minilm+3"
    assert finished.weights("autoencoder").is_file()

    # A run that is done does nothing more, whatever the preset's own length; given more time it goes on
    seen = lines_of(folder / "base")[-1]["samples"]
    script.train_base(chosen, folder, 2.0, None)
    assert len(lines_of(folder / "base")) == 16
    script.train_base(chosen, folder, 3.0, None)
    more = lines_of(folder / "base")[16:]
    assert more[0]["samples"] > seen
    assert (len(more), more[-1]["seconds"]) == (8, 3.0)
    assert more[-1]["scale"] < 0.3


@pytest.mark.slow
def test_the_same_number_is_the_same_batch(folder: Path, chosen: Preset) -> None:
    batches = script.resident(folder, chosen.diffusion.windows, script.pick_device("cpu"), chosen)
    first, again = batches.at(3), batches.at(3)
    assert first.latent.equal(again.latent)
    assert first.text.equal(again.text)
    assert first.num_samples == 8
    others = [batches.at(index).latent for index in range(4, 8)]
    assert not any(other.shape == first.latent.shape and other.equal(first.latent) for other in others)


@pytest.mark.slow
def test_latents_of_two_autoencoders_never_mix(folder: Path, chosen: Preset) -> None:
    autoencoder = TinyAutoencoder(chosen.autoencoder.model)
    with pytest.raises(InputError, match="of another encoder"):
        script.make_latents(chosen, folder / "latents", autoencoder, 0, 1, name="another")


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["seed=7", "world.mix=whole", "diffusion.text_encoder=minilm"])
def test_latents_of_other_clips_or_words_never_mix(folder: Path, chosen: Preset, setting: str) -> None:
    shards = script.open_shards(folder / "latents", "latents")
    other, name = override(chosen, [setting]), shards[0].about["encoder"]
    script.check_origin(shards, script.origin_of(override(chosen, ["world.clips=99"]), name))
    with pytest.raises(InputError, match="take another folder"):
        script.check_origin(shards, script.origin_of(other, name))
    if setting.startswith("diffusion"):
        with pytest.raises(InputError, match="another text encoder"):
            script.resident(folder, other.diffusion.windows, script.pick_device("cpu"), other)


def test_parts_are_counted_from_0() -> None:
    assert script.part_of("2/3") == (2, 3)
    with pytest.raises(ValueError, match="3/3"):
        script.part_of("3/3")
