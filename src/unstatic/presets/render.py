"""First stage: render the clips of a preset into shards, with all cores."""

import logging
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unstatic.core.log import progress
from unstatic.core.shapes import Size
from unstatic.data.shards import shard_path, write_shard
from unstatic.presets.preset import WorldRun

if TYPE_CHECKING:
    from unstatic.world.scenes import Sample

log = logging.getLogger(__name__)

# Where a seed shows nothing of the kind, the seed this much higher is asked, this many times.
SEED_STRIDE, SPARE_SEEDS = 10_000_000, 5


def render_clips(world: WorldRun, folder: Path, *, seed: int, workers: int | None = None) -> None:
    """Render what is missing of `world.clips` clips into `folder`; a process takes one shard at a time."""
    numbers = range(-(-world.clips // world.shard_clips))
    missing = [number for number in numbers if not shard_path(folder, "clips", number).is_file()]
    if not missing:
        return
    workers = min(workers or os.cpu_count() or 1, len(missing))
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    with progress("rendering", len(numbers)) as bar, pool:
        bar.advance(len(numbers) - len(missing))
        jobs = [pool.submit(render_shard, world, folder, number, seed) for number in missing]
        try:
            for job in as_completed(jobs):
                job.result()
                bar.advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def render_shard(world: WorldRun, folder: Path, number: int, seed: int) -> None:
    """Render shard `number`; a clip is decided by the preset's seed and the clip's own number alone."""
    from unstatic.world.render import render

    size = world.sizes[number % len(world.sizes)]
    first = number * world.shard_clips
    numbers = range(first, min(first + world.shard_clips, world.clips))
    drawn = [draw_clip(world, size, seed + clip) for clip in numbers]
    rendered = [render(each.spec, each.trajectory, samples=world.samples) for each in drawn]
    arrays = {
        "frames": np.stack([each.frames for each in rendered]),
        "ids": np.stack([each.ids for each in rendered]),
    }
    write_shard(folder, "clips", number, arrays, [each.spec.to_json() for each in drawn])


def draw_clip(world: WorldRun, size: Size, seed: int) -> "Sample":
    """Draw the clip of a seed; if there is none, of another: a long run must not end for that."""
    from unstatic.world.mix import MIXES
    from unstatic.world.scenes import SceneNotFoundError, sample_clip

    attempt = 0
    while True:
        try:
            return sample_clip(
                seed + attempt * SEED_STRIDE,
                frames=world.frames,
                fps=world.fps,
                width=size.width,
                height=size.height,
                mix=MIXES[world.mix],
            )
        except SceneNotFoundError as error:
            if attempt == SPARE_SEEDS:
                raise
            log.info("%s", error)
            attempt += 1
