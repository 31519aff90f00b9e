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
PICTURE_SHARE = 0.05  # of the time, at most, is spent on pictures: a run for minutes has no time for twenty

Picture = Callable[[], UInt8[ndarray, "h w 3"]]
"""Draw what the network can do now."""


class Stopwatch:
    """Tell which share of the time since it was made has been spent inside its `with` blocks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock, self.made_s = clock, clock()
        self.spent_s = self.entered_s = 0.0

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.spent_s / max(self.clock() - self.made_s, 1e-9)

    def __enter__(self) -> None:
        self.entered_s = self.clock()

    def __exit__(self, *_: object) -> None:
        self.spent_s += self.clock() - self.entered_s


def fit(
    title: str, run: Run, step: Step[BatchT], batches: Batches[BatchT], folder: Path, *, picture: Picture
) -> None:
    """Train `run` to its end, going on from the newest checkpoint in `folder`, or for as long as it may take.

    Writes a checkpoint every three minutes, metrics and TensorBoard events after every step, and pictures:
    twenty, or fewer where they would take more than their share of the time.
    Raises KeyboardInterrupt after Ctrl-C, when everything is saved; calling again goes on from there.
    """
    saved = checkpoints(folder)
    if saved:
        load_checkpoint(saved[-1], run)
    budget = Budget(folder, run.config)
    run.config = budget.decided() or run.config
    start, total = run.clock.samples, run.config.samples
    if start >= total:
        return

    save_due = Every(SAVE_INTERVAL_S, last=time.monotonic())
    picture_due = Every(total / PICTURES_PER_RUN, last=float(start))
    drawing = Stopwatch()
    with (
        stop_requested() as stop,
        Logbook(folder, total=total, start=start) as logbook,
        progress(title, total, done=start) as bar,
    ):
        for metrics in train(run, step, batches):
            pace = logbook.log(metrics)
            if length := budget.decide(metrics.samples):
                run.config = length
                bar.resize(length.samples)
                logbook.pacer.total = length.samples
                picture_due.interval = length.samples / PICTURES_PER_RUN
            bar.advance(metrics.samples - start, note=_note(metrics, pace))
            start = metrics.samples
            if drawing.share <= PICTURE_SHARE and picture_due(float(metrics.samples)):
                with drawing:
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
