from pathlib import Path

import numpy as np
import torch
from einops import reduce
from train_upscaler import CROP, CROPS, SHOWN, PairBatches, pairs_of, train

from unstatic.data.shards import open_shards, write_shard
from unstatic.generate.finish import load_upscaler
from unstatic.generate.native import load_native
from unstatic.models.compact_upscaler import CompactUpscaler, CompactUpscalerConfig
from unstatic.models.manifest import find_model
from unstatic.models.weights import load_model


def shrunken(frames: np.ndarray) -> np.ndarray:
    """Average squares of four by four pixels."""
    means = reduce(frames.astype(np.float32), "t (h p) (w q) c -> t h w c", "mean", p=4, q=4)
    return means.round().astype(np.uint8)


def test_a_pair_is_a_crop_and_the_same_place_four_times_as_large():
    pairs = pairs_of(load_native(find_model("nano")), 80_000_001)
    assert len(pairs) == CROPS
    for low, high in pairs:
        assert low.shape == (SHOWN, CROP, CROP, 3)
        assert high.shape == (SHOWN, 4 * CROP, 4 * CROP, 3)
        assert np.abs(shrunken(high).astype(float) - low).mean() < 12


def test_an_upscaler_is_trained_from_shards(tmp_path: Path):
    rng = np.random.default_rng(0)
    for number in range(2):
        high = rng.integers(256, size=(4, SHOWN, 4 * CROP, 4 * CROP, 3), dtype=np.uint8)
        low = np.stack([shrunken(each) for each in high])
        write_shard(tmp_path, "pairs", number, {"low": low, "high": high}, [""] * 4)
    batch = PairBatches(open_shards(tmp_path, "pairs")).at(0)
    assert batch.high.shape[-1] == 4 * batch.low.shape[-1]
    path = train(tmp_path, 16)
    model = load_model(path, "compact-upscaler", CompactUpscalerConfig, CompactUpscaler)
    before = load_upscaler("realesr", torch.device("cpu")).float()
    assert not torch.equal(model(batch.low), before(batch.low))
    assert (model(batch.low) - before(batch.low)).abs().mean() < 0.2, "it begins with what it knows"
