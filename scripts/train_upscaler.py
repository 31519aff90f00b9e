"""Teach the packaged upscaler what a model's films should look like.

    python scripts/train_upscaler.py render runs/upscaler --clips 400
    python scripts/train_upscaler.py train runs/upscaler

`render` draws scenes of nano's world, renders their beginnings at the model's size and four times as large,
sends the small pictures through the model's autoencoder, and keeps a few crops of each, most of them around
objects. `train` begins with realesr and writes FOLDER/nano.safetensors; both may be stopped and go on.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from unstatic.core.threads import quiet_threads

quiet_threads()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from jaxtyping import UInt8  # noqa: E402

from unstatic.core.device import pick_device  # noqa: E402
from unstatic.core.log import progress  # noqa: E402
from unstatic.core.memory import keep_freed_memory  # noqa: E402
from unstatic.core.seeds import generator, numpy_generator  # noqa: E402
from unstatic.data.shards import Shard, open_shards, shard_path, write_shard  # noqa: E402
from unstatic.generate.finish import load_upscaler  # noqa: E402
from unstatic.generate.native import NativeEngine, load_native  # noqa: E402
from unstatic.media.frames import grid, pick_evenly, to_frames  # noqa: E402
from unstatic.models.compact_upscaler import CompactUpscaler  # noqa: E402
from unstatic.models.manifest import find_model  # noqa: E402
from unstatic.models.weights import save_model  # noqa: E402
from unstatic.presets.fit import fit  # noqa: E402
from unstatic.presets.nano import nano_128  # noqa: E402
from unstatic.presets.render import draw_clip  # noqa: E402
from unstatic.presets.stages import averaged  # noqa: E402
from unstatic.training.loop import Run, TrainingConfig  # noqa: E402
from unstatic.training.optim import OptimiserConfig, kernel_weights  # noqa: E402
from unstatic.training.upscaler_step import UpscalerBatch, UpscalerStep, prepare  # noqa: E402
from unstatic.world.render import render  # noqa: E402

FIRST_SEED = 80_000_000
FRAMES, SHOWN, FACTOR = 9, 3, 4
CROP, CROPS, SEEK_OBJECTS = 40, 3, 0.8
CLIPS_PER_SHARD, VIEW, BATCH = 16, 32, 8
RATES = OptimiserConfig(learning_rate=1e-4, matrix_learning_rate=3e-4)


class Pair(NamedTuple):
    """A crop as the autoencoder gives it back, and four times as large as it really is."""

    low: UInt8[np.ndarray, "t h w 3"]
    high: UInt8[np.ndarray, "t high wide 3"]


def render_pairs(engine: NativeEngine, folder: Path, clips: int) -> None:
    """Write the shards that are missing."""
    shards = -(-clips // CLIPS_PER_SHARD)
    with progress("rendering", shards) as bar:
        for number in range(shards):
            if not shard_path(folder, "pairs", number).is_file():
                seeds = range(
                    FIRST_SEED + CLIPS_PER_SHARD * number, FIRST_SEED + CLIPS_PER_SHARD * (number + 1)
                )
                pairs = [pair for seed in seeds for pair in pairs_of(engine, seed)]
                arrays = {name: np.stack([getattr(pair, name) for pair in pairs]) for name in Pair._fields}
                write_shard(folder, "pairs", number, arrays, ["" for _ in pairs])
            bar.advance()


def pairs_of(engine: NativeEngine, seed: int) -> list[Pair]:
    """Return crops of a few frames from the beginning of one scene."""
    world, rng = nano_128().world, numpy_generator("crops", seed)
    sample = draw_clip(world, world.sizes[seed % len(world.sizes)], seed)
    small = render(sample.spec, sample.trajectory.window(0, FRAMES), samples=4)
    first = int(rng.integers(FRAMES - SHOWN + 1))
    low = engine.reconstruct(small.frames)[first : first + SHOWN]
    large = replace(sample.spec, width=FACTOR * sample.spec.width, height=FACTOR * sample.spec.height)
    high = render(large, sample.trajectory.window(first, SHOWN), samples=4).frames
    height, width = low.shape[1:3]
    pairs: list[Pair] = []
    for _ in range(CROPS):
        top, left = int(rng.integers(height - CROP + 1)), int(rng.integers(width - CROP + 1))
        places = np.argwhere(small.ids[first] > 0)
        if len(places) and rng.random() < SEEK_OBJECTS:
            middle = places[int(rng.integers(len(places)))] - CROP // 2
            top, left = (int(np.clip(a, 0, b - CROP)) for a, b in zip(middle, (height, width), strict=True))
        rows, columns = slice(top, top + CROP), slice(left, left + CROP)
        wide = [slice(FACTOR * each.start, FACTOR * each.stop) for each in (rows, columns)]
        pairs.append(Pair(low[:, rows, columns], high[:, wide[0], wide[1]]))
    return pairs


class PairBatches:
    """Batches by number: random pairs."""

    def __init__(self, shards: list[Shard]) -> None:
        self.shards = shards

    def at(self, index: int) -> UpscalerBatch:
        """Return batch `index`."""
        source = generator("upscaler batch", index)
        lows, highs = [], []
        for _ in range(BATCH):
            shard = self.shards[int(torch.randint(len(self.shards), (), generator=source))]
            entry = int(torch.randint(len(shard), (), generator=source))
            lows.append(torch.from_numpy(shard.read("low", entry)))
            highs.append(torch.from_numpy(shard.read("high", entry)))
        return prepare(torch.stack(lows), torch.stack(highs), VIEW, source)


def train(folder: Path, samples: int) -> Path:
    """Train on all shards but the last, and return the weights."""
    device = pick_device()
    model = load_upscaler("realesr", device).float().requires_grad_(True)
    training = TrainingConfig(
        samples=samples, warm_up=samples // 40, cooldown=0.5, half_lives=(samples / 20,), optimiser=RATES
    )
    run = Run(model, training, matrices=kernel_weights(model), device=device)
    shards = open_shards(folder, "pairs")
    unseen = PairBatches(shards[-1:]).at(0)

    @torch.no_grad()
    def picture() -> UInt8[np.ndarray, "h w 3"]:
        made = averaged(run, CompactUpscaler(model.config))(unseen.low.to(run.device)).cpu()
        rows = torch.cat([unseen.high[:, :, -1], made[:, :, -1]])[:, :, None]
        return grid(pick_evenly(np.concatenate(list(to_frames(rows))), 2 * BATCH), columns=BATCH)

    step = UpscalerStep(model=model)
    fit("upscaler", run, step, PairBatches(shards[:-1]), folder / "run", picture=picture)
    path = folder / "nano.safetensors"
    save_model(path, averaged(run, CompactUpscaler(model.config)), model.config, "compact-upscaler")
    return path


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description="Render for an upscaler, or teach it.")
    parser.add_argument("part", choices=("render", "train"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="nano", help="whose autoencoder gives the small pictures back")
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--samples", type=int, default=8_000)
    options = parser.parse_args()
    keep_freed_memory()
    if options.part == "render":
        render_pairs(load_native(find_model(options.model)), options.folder, options.clips)
    else:
        train(options.folder, options.samples)


if __name__ == "__main__":
    main()
