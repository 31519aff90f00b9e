"""Fitting in a folder: it goes on from what is saved, and stops cleanly when asked."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unstatic.presets.fit import Stopwatch, fit
from unstatic.training.checkpoint import checkpoints
from unstatic.training.loop import Run, TrainingConfig
from unstatic.training.step import StepOutput


@dataclass(frozen=True)
class Points:
    x: Tensor

    @property
    def num_samples(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> "Points":
        return Points(self.x.to(device))


class Numbers:
    """Four points a batch; sends Ctrl-C to this process with batch `interrupt_at`."""

    def __init__(self, interrupt_at: int | None = None):
        self.interrupt_at = interrupt_at

    def at(self, index: int) -> Points:
        if index == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return Points(torch.randn(4, 2, generator=torch.Generator().manual_seed(index)))


def make_run(samples: int) -> Run:
    torch.manual_seed(0)
    return Run(nn.Linear(2, 1), TrainingConfig(samples=samples, warm_up=4, half_lives=(8.0,)))


def fit_points(run: Run, folder: Path, batches: Numbers) -> None:
    def step(batch: Points, _generator: torch.Generator) -> StepOutput:
        return StepOutput(loss=(run.model(batch.x) - batch.x.sum(1, keepdim=True)).square().mean())

    fit("points", run, step, batches, folder, picture=lambda: np.zeros((4, 4, 3), np.uint8))


def test_it_trains_to_the_end_and_saves(tmp_path: Path):
    run = make_run(40)
    fit_points(run, tmp_path, Numbers())
    assert run.clock.samples == 40
    assert len(checkpoints(tmp_path)) == 1
    assert list(tmp_path.glob("samples-*.png"))


def test_a_finished_run_is_left_alone(tmp_path: Path):
    fit_points(make_run(40), tmp_path, Numbers())
    before = checkpoints(tmp_path)[0].stat().st_mtime_ns
    fit_points(make_run(40), tmp_path, Numbers())
    assert checkpoints(tmp_path)[0].stat().st_mtime_ns == before


def test_ctrl_c_saves_and_the_next_call_ends_where_an_undisturbed_run_does(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        fit_points(make_run(80), tmp_path / "stopped", Numbers(interrupt_at=8))
    resumed, whole = make_run(80), make_run(80)
    fit_points(resumed, tmp_path / "stopped", Numbers())
    fit_points(whole, tmp_path / "whole", Numbers())
    for one, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_run_with_a_time_ends_in_time_and_with_a_cold_learning_rate(tmp_path: Path):
    torch.manual_seed(0)
    config = TrainingConfig(samples=10**9, seconds=3.0, warm_up=4, half_lives=(8.0,))
    run = Run(nn.Linear(2, 1), config)
    started = time.monotonic()
    fit_points(run, tmp_path, Numbers())
    assert time.monotonic() - started < 30
    length = json.loads((tmp_path / "length.json").read_text())["samples"]
    assert 4 <= run.clock.samples - length + 4 <= 8  # the last batch may go over it
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["learning_rate_scale"] < 0.2 < max(line["learning_rate_scale"] for line in lines)

    again = Run(nn.Linear(2, 1), config)
    fit_points(again, tmp_path, Numbers())
    assert again.clock.samples == run.clock.samples


def test_slow_pictures_do_not_take_the_time_of_a_run(tmp_path: Path):
    def slow() -> np.ndarray:
        time.sleep(0.5)
        return np.zeros((4, 4, 3), np.uint8)

    run = make_run(800)

    def step(batch: Points, _generator: torch.Generator) -> StepOutput:
        return StepOutput(loss=run.model(batch.x).square().mean())

    fit("points", run, step, Numbers(), tmp_path, picture=slow)
    assert len(list(tmp_path.glob("samples-*.png"))) == 1


def test_a_stopwatch_counts_what_is_inside():
    now = iter([10.0, 12.0, 15.0, 20.0])
    watch = Stopwatch(lambda: next(now))
    with watch:
        pass
    assert watch.share == pytest.approx(0.3)
