"""Rendered clips for what is fitted to them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from unstatic.data.shards import write_shard
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
