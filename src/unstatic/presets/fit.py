"""Fit one network in a folder: resume, train, log, save, show. What all stages that learn have in common."""

import time
from collections.abc import Callable
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from unstatic.core.log import progress
from unstatic.presets.budget import Budget
from unstatic.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from unstatic.training.logbook import Every, Logbook, Pace
from unstatic.training.loop import Run, StepMetrics, stop_requested, train
from unstatic.training.step import Batches, BatchT, Step

SAVE_INTERVAL_S = 180.0
PICTURES_PER_RUN = 20

Picture = Callable[[], UInt8[ndarray, "h w 3"]]
"""Draw what the network can do now."""


def fit(
    title: str, run: Run, step: Step[BatchT], batches: Batches[BatchT], folder: Path, *, picture: Picture
) -> None:
    """Train `run` to its end, going on from the newest checkpoint in `folder`, or for as long as it may take.

    Writes a checkpoint every three minutes, metrics and TensorBoard events after every step, and a picture
    twenty times.
    Raises KeyboardInterrupt after Ctrl-C, when everything is saved; calling again goes on from there.
    """
    saved = checkpoints(folder)
    if saved:
        load_checkpoint(saved[-1], run)
    budget = Budget(folder, run.config)
    length = budget.decided()
    run.config = length or run.config
    start, total = run.clock.samples, run.config.samples
    if start >= total:
        return

    save_due = Every(SAVE_INTERVAL_S, last=time.monotonic())
    picture_due = Every(total / PICTURES_PER_RUN, last=float(start))
    with (
        stop_requested() as stop,
        Logbook(folder, total=total, start=start) as logbook,
        progress(title, total, done=start) as bar,
    ):
        for metrics in train(run, step, batches):
            pace = logbook.log(metrics)
            if length is None and (length := budget.decide(metrics.samples, pace.samples_per_s)):
                run.config = length
                bar.resize(length.samples)
                logbook.pacer.total = length.samples
                picture_due.interval = length.samples / PICTURES_PER_RUN
            bar.advance(metrics.samples - start, note=_note(metrics, pace))
            start = metrics.samples
            if picture_due(float(metrics.samples)):
                logbook.picture("samples", picture(), metrics.samples)
            if stop():
                save_checkpoint(folder, run)
                raise KeyboardInterrupt
            if save_due(time.monotonic()):
                save_checkpoint(folder, run)
    save_checkpoint(folder, run)


def _note(metrics: StepMetrics, pace: Pace) -> str:
    speed = "" if pace.samples_per_s is None else f", {pace.samples_per_s:.0f} samples/s"
    return f"loss {metrics.loss:.4f}{speed}"
