"""Training for a lent GPU, on the CPU with the smallest networks: every part, stopped and gone on with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import train_nano_gpu as script

from unstatic.core.seeds import generator
from unstatic.data.latents import Window
from unstatic.data.shards import open_shards
from unstatic.models.tiny_autoencoder import TinyAutoencoder
from unstatic.presets.nano import tiny
from unstatic.presets.preset import Preset


@pytest.fixture(scope="module")
def chosen() -> Preset:
    small = tiny()
    return replace(small, world=replace(small.world, clips=4, shard_clips=2))


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
        "text": (2, script.CAPTIONS, 64, 384),
    }
    assert short.shapes["latents"] == (2, 5, 8, 8, 8)
    assert short.read("text", 0).any()
    assert short.read("objects", 0).any()


@pytest.mark.slow
def test_it_trains_and_distills_for_as_long_as_it_may(
    chosen: Preset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "LONG", Window(latent_frames=33, batch_size=2, share=0.1))
    monkeypatch.setattr(script, "LOG_STEPS", 1)
    script.train_base(chosen, folder, 2.0, None)
    script.train_few(chosen, folder, 2.0)
    for stage, model in (("base", "teacher"), ("few", "model")):
        lines = [json.loads(line) for line in (folder / stage / "metrics.jsonl").read_text().splitlines()]
        assert lines[-1]["seconds"] >= 2.0
        assert lines[-1]["scale"] < lines[0]["scale"]
        assert lines[-1]["scale"] < 0.5
        assert script.load_transformer(folder / model / "transformer.safetensors").config.width == 32

    # Given more time it goes on where it was, and counts the seconds it had
    before = len((folder / "base" / "metrics.jsonl").read_text().splitlines())
    script.train_base(chosen, folder, 3.0, None)
    lines = [json.loads(line) for line in (folder / "base" / "metrics.jsonl").read_text().splitlines()]
    assert lines[before]["samples"] > lines[before - 1]["samples"]
    assert lines[before]["seconds"] >= 2.0
    assert lines[-1]["seconds"] >= 3.0


def test_the_same_number_is_the_same_batch(folder: Path, chosen: Preset) -> None:
    batches = script.resident(folder, chosen.diffusion.windows, script.pick_device("cpu"), 0)
    first, again = batches.at(3), batches.at(3)
    assert first.latent.equal(again.latent)
    assert first.text.equal(again.text)
    assert first.latent.shape[0] == first.num_samples == 8
