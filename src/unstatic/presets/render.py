"""First stage: render the clips of a preset into shards, with all cores."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unstatic.core.log import progress
from unstatic.core.seeds import numpy_generator
from unstatic.core.shapes import Size
from unstatic.data.shards import shard_path, write_shard
from unstatic.presets.preset import WorldRun

if TYPE_CHECKING:
    from unstatic.world.render import Rendered
    from unstatic.world.scenes import Sample
    from unstatic.world.spec import SceneSpec, Trajectory

Work = Callable[[int, int], "list[Sample] | None"]
"""Make the shard of a number with a seed: its samples, or None where it was written already."""

# Marks a folder whose rendering ended because its time was over.
TIME_OVER = "time-over"


def render_clips(
    world: WorldRun, folder: Path, *, seed: int, workers: int | None = None, device: str = "cpu"
) -> None:
    """Render what is missing of `world.clips` clips into `folder`; a process takes one shard at a time.

    With a Warp device other than "cpu" the processes draw and simulate, and this one renders whole shards.
    """
    numbers = range(-(-world.clips // world.shard_clips))
    missing = [number for number in numbers if not shard_path(folder, "clips", number).is_file()]
    if not missing or _time_is_over(world, folder):
        return
    workers = min(workers or os.cpu_count() or 1, len(missing))
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    work: Work = partial(render_shard, world, folder) if device == "cpu" else partial(draw_shard, world)
    with progress("rendering", len(numbers)) as bar, pool:
        bar.advance(len(numbers) - len(missing))
        try:
            for number, samples in _finished(pool, work, world.seconds, missing, seed, ahead=2 * workers):
                if samples is not None:
                    write_clips(world, folder, number, samples, device=device)
                bar.advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if world.seconds:
        (folder / TIME_OVER).touch()


def _finished(
    pool: ProcessPoolExecutor, work: Work, seconds: float, missing: Sequence[int], seed: int, *, ahead: int
) -> "Iterator[tuple[int, list[Sample] | None]]":
    """Yield the numbers of shards as they are done, with what `work` gave for them.

    No more than `ahead` shards are under way, so that samples never pile up; none is begun after `seconds`,
    but for the first.
    """
    started_s, waiting = time.monotonic(), deque(missing)
    jobs: dict[Future[list[Sample] | None], int] = {}
    while waiting or jobs:
        has_begun = len(waiting) < len(missing)
        is_over = seconds and has_begun and time.monotonic() - started_s > seconds
        while waiting and len(jobs) < ahead and not is_over:
            number = waiting.popleft()
            jobs[pool.submit(work, number, seed)] = number
        if not jobs:
            return
        for job in wait(jobs, return_when=FIRST_COMPLETED).done:
            yield jobs.pop(job), job.result()


def _time_is_over(world: WorldRun, folder: Path) -> bool:
    return bool(world.seconds) and (folder / TIME_OVER).exists()


def render_shard(world: WorldRun, folder: Path, number: int, seed: int) -> None:
    """Render shard `number`; a clip is decided by the preset's seed and the clip's own number alone."""
    write_clips(world, folder, number, draw_shard(world, number, seed))


def draw_shard(world: WorldRun, number: int, seed: int) -> "list[Sample]":
    """Draw and simulate the clips of shard `number`."""
    first = number * world.shard_clips
    numbers = range(first, min(first + world.shard_clips, world.clips))
    return [draw_clip(world, shard_size(world, number), seed + clip) for clip in numbers]


def write_clips(
    world: WorldRun, folder: Path, number: int, drawn: "Sequence[Sample]", *, device: str = "cpu"
) -> None:
    """Render the clips of a shard and write it: on the CPU one by one, else as one batch."""
    from unstatic.world.render import render, render_batch

    def rendered(scenes: "Sequence[tuple[SceneSpec, Trajectory]]") -> "list[Rendered]":
        if device == "cpu":
            return [render(*scene, samples=world.samples) for scene in scenes]
        return render_batch(scenes, samples=world.samples, device=device)

    clips = rendered([(each.spec, each.trajectory) for each in drawn])
    arrays: dict[str, NDArray[Any]] = {
        "frames": np.stack([each.frames for each in clips]),
        "ids": np.stack([each.ids for each in clips]),
    }
    if world.simulated:
        openings = rendered([(each.spec, each.opening) for each in drawn if each.opening])
        arrays["openings"] = np.stack([each.frames for each in openings])
        arrays["starts"] = np.array([[each.trajectory.start] for each in drawn])
    write_shard(folder, "clips", number, arrays, [each.spec.to_json() for each in drawn])


def shard_size(world: WorldRun, number: int) -> Size:
    """Return the picture size of a shard: all sizes in turn."""
    return world.sizes[number % len(world.sizes)]


def draw_clip(world: WorldRun, size: Size, seed: int) -> "Sample":
    """Draw the clip of a seed; if there is none, of another: a long run must not end for that."""
    from unstatic.world.mix import MIXES
    from unstatic.world.relations import seen_spec
    from unstatic.world.scenes import sample_near

    sample = sample_near(
        seed,
        frames=max(world.simulated, world.frames),
        fps=world.fps,
        width=size.width,
        height=size.height,
        mix=MIXES[world.mix],
    )
    first = numpy_generator("window", seed).integers(sample.spec.frames - world.frames + 1)
    shown = sample.trajectory.window(int(first), world.frames)
    opening = sample.trajectory.window(0, 1) if world.simulated else None
    return sample._replace(spec=seen_spec(sample.spec, shown), trajectory=shown, opening=opening)
