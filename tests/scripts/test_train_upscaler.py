from pathlib import Path

import numpy as np
import torch
from train_upscaler import CROP, CROPS, FRAMES, PairBatches, pairs_of, shrunken, train

from unstatic.data.shards import open_shards, write_shard
from unstatic.generate.native import load_native
from unstatic.models.manifest import find_model
from unstatic.models.upscaler import Upscaler, UpscalerConfig
from unstatic.models.weights import load_model


def test_a_pair_is_a_crop_and_the_same_place_four_times_as_large():
    pairs = pairs_of(load_native(find_model("nano")), 80_000_001)
    assert len(pairs) == CROPS
    for low, high in pairs:
        assert low.shape == (FRAMES, CROP, CROP, 3)
        assert high.shape == (FRAMES, 4 * CROP, 4 * CROP, 3)
        assert np.abs(shrunken(high, 4).astype(float) - low).mean() < 12


def test_an_upscaler_is_trained_from_shards(tmp_path: Path):
    rng = np.random.default_rng(0)
    for number in range(2):
        high = rng.integers(256, size=(4, FRAMES, 4 * CROP, 4 * CROP, 3), dtype=np.uint8)
        low = np.stack([shrunken(each, 4) for each in high])
        write_shard(tmp_path, "pairs", number, {"low": low, "high": high}, [""] * 4)
    batch = PairBatches(open_shards(tmp_path, "pairs"), 2).at(0)
    assert batch.high.shape[-1] == 2 * batch.low.shape[-1]
    path = train(tmp_path, 2, 16)
    model = load_model(path, "upscaler", UpscalerConfig, Upscaler)
    assert not torch.equal(model(batch.low), Upscaler(model.config)(batch.low))
