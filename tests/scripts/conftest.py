"""Rendered clips for what is fitted to them, and a tiny model of few steps."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unstatic.core.seeds import generator
from unstatic.data.shards import write_shard
from unstatic.diffusion.distilled import SCALARS
from unstatic.models.grow import grow_transformer
from unstatic.models.manifest import Distilled, find_model, write_manifest
from unstatic.models.transformer import VideoTransformer
from unstatic.models.weights import save_model
from unstatic.presets.stages import load_transformer
from unstatic.world.clip import make_clip
from unstatic.world.mix import Mix
from unstatic.world.scenes import sample_scene

SHARDS = 2

StoreClips = Callable[[Path, Sequence[Mix], int], None]


@pytest.fixture(scope="session")
def store_clips() -> StoreClips:
    """Return a function that writes two shards into a folder, each with one clip of every mix."""

    def store(folder: Path, mixes: Sequence[Mix], frames: int) -> None:
        for shard in range(SHARDS):
            clips = [
                make_clip(sample_scene(seed, frames=frames, width=64, height=64, mix=mix))
                for seed, mix in enumerate(mixes, start=shard * len(mixes))
            ]
            arrays = {name: np.stack([getattr(clip, name) for clip in clips]) for name in ("frames", "ids")}
            write_shard(folder, "clips", shard, arrays, [clip.spec.to_json() for clip in clips])

    return store


@pytest.fixture(scope="session")
def few_step_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the tiny model, told steps and guidance."""
    folder = tmp_path_factory.mktemp("few") / "tiny"
    shutil.copytree(tiny_model, folder)
    before = load_transformer(folder / "transformer.safetensors")
    config = replace(before.config, scalars=("sigma", *SCALARS))
    student = VideoTransformer(config, generator=generator("student"))
    grow_transformer(student, before)
    save_model(folder / "transformer.safetensors", student, config, "transformer")
    manifest = find_model(str(tiny_model)).manifest
    write_manifest(folder, replace(manifest, preset="tiny", distilled=Distilled(steps=4, max_guidance=6.0)))
    return folder
