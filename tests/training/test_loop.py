import dataclasses
import math
import os
import signal

import pytest
import torch
from torch import nn

from unstatic.core.seeds import generator
from unstatic.training.loop import (
    Run,
    TrainingConfig,
    TrainingDivergedError,
    learning_rate_scale,
    stop_requested,
    train,
)
from unstatic.training.optim import OptimiserConfig, linear_weights
from unstatic.training.step import StepOutput


@dataclasses.dataclass(frozen=True)
class Points:
    inputs: torch.Tensor
    poison: bool = False

    @property
    def num_samples(self):
        return len(self.inputs)

    def to(self, device):
        return dataclasses.replace(self, inputs=self.inputs.to(device))


@dataclasses.dataclass(frozen=True)
class PointBatches:
    """Rows of one endless table, `size` at a time; those in `poisoned` give a loss that is not finite."""

    size: int
    poisoned: tuple[int, ...] = ()

    def at(self, index):
        rows = [
            torch.randn(6, generator=generator("row", index * self.size + row)) for row in range(self.size)
        ]
        return Points(torch.stack(rows), index in self.poisoned)


@dataclasses.dataclass(frozen=True)
class FitSine:
    """Fit sin with an error that is noisy when `noise` is set."""

    model: nn.Module
    noise: float = 0.0

    def __call__(self, batch, generator):
        target = batch.inputs.sin() + self.noise * torch.randn(batch.inputs.shape, generator=generator)
        loss = (self.model(batch.inputs) - target).square().mean()
        return StepOutput(loss=loss * math.nan if batch.poison else loss, metrics={"error": loss.item()})


def build(**settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 6))
    settings = {"samples": 64, "warm_up": 16, "optimiser": OptimiserConfig(learning_rate=0.01)} | settings
    return Run(model, TrainingConfig(**settings), matrices=linear_weights(model, "2"), dtype=torch.float32)


def weights(run):
    return torch.cat([parameter.detach().flatten() for parameter in run.model.parameters()])


def test_trains_to_the_last_sample_and_reports_every_step():
    run = build(samples=4000)
    metrics = list(train(run, FitSine(run.model), PointBatches(16)))
    assert [step.samples for step in metrics] == list(range(16, 4001, 16))
    assert metrics[-1].loss < 0.25 * metrics[0].loss
    assert metrics[-1].values["error"] == pytest.approx(metrics[-1].loss)
    assert run.progress() == 1.0


def test_four_batches_accumulated_equal_one_of_four_times_the_size():
    large, small = build(clip_norm=1e9), build(clip_norm=1e9, accumulate=4)
    list(train(large, FitSine(large.model), PointBatches(16)))
    list(train(small, FitSine(small.model), PointBatches(4)))
    assert small.clock.samples == large.clock.samples
    assert small.clock.batches == 4 * large.clock.batches
    torch.testing.assert_close(weights(small), weights(large), rtol=0, atol=1e-6)


def test_casts_are_not_cached():
    """A prefetching thread that leaves autocast and torch's compiler would wait for each other for ever."""
    run = build(samples=8)
    run.dtype = torch.bfloat16
    cached = []

    def looks(batch, generator):
        cached.append((torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()))
        return FitSine(run.model)(batch, generator)

    list(train(run, looks, PointBatches(8)))
    assert cached == [(True, False)]


def test_weights_read_as_bfloat16_are_trained_as_float32():
    """A step of a thousandth of a weight is lost on bfloat16, whose numbers are 1/256 apart."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 6)).to(torch.bfloat16)
    rates = OptimiserConfig(learning_rate=1e-5, matrix_learning_rate=1e-4, weight_decay=0.0)
    settings = TrainingConfig(samples=16, warm_up=0, cooldown=0.0, optimiser=rates)
    run = Run(model, settings, matrices=linear_weights(model, "2"), dtype=torch.bfloat16)
    before = weights(run)
    list(train(run, FitSine(run.model), PointBatches(16)))
    assert {value.dtype for value in run.state_dict().values() if value.is_floating_point()} == {
        torch.float32
    }
    assert (weights(run) != before).float().mean() > 0.95


def test_randomness_depends_on_seed_and_batch_alone():
    first, second, other = build(), build(), build(seed=1)
    for run in (first, second, other):
        torch.manual_seed(torch.seed())
        list(train(run, FitSine(run.model, noise=1.0), PointBatches(8)))
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


def test_schedule_warms_up_stays_and_cools_down():
    config = TrainingConfig(samples=1000, warm_up=100, cooldown=0.2)
    scales = [learning_rate_scale(seen, config) for seen in (0.0, 50.0, 100.0, 800.0, 850.0, 1000.0)]
    assert scales == pytest.approx([0, 0.5, 1, 1, 0.5, 0])


def test_a_last_batch_may_reach_beyond_a_schedule_that_never_cools():
    config = TrainingConfig(samples=10, warm_up=0, cooldown=0.0)
    assert learning_rate_scale(12.0, config) == 1.0


def test_clips_the_gradient():
    run = build(clip_norm=1e-3)
    seen = []
    inner = run.optimiser.step
    run.optimiser.step = lambda scale: (
        seen.append(sum(p.grad.square().sum() for p in run.model.parameters()) ** 0.5),
        inner(scale),
    )
    metrics = next(train(run, FitSine(run.model), PointBatches(8)))
    assert seen[0].item() == pytest.approx(1e-3, rel=1e-3)
    assert metrics.gradient_norm > 1e-2


def test_skips_a_step_that_is_not_finite():
    run = build()
    steps = train(run, FitSine(run.model), PointBatches(8, poisoned=(1,)))
    next(steps)
    before = weights(run)
    skipped = next(steps)
    assert skipped.skipped
    assert torch.equal(weights(run), before)
    assert not next(steps).skipped
    assert run.clock.skipped == 0
    assert torch.isfinite(weights(run)).all()


def test_gives_up_after_several_bad_steps():
    run = build(patience=3)
    with pytest.raises(TrainingDivergedError, match="3 bad steps in a row"):
        list(train(run, FitSine(run.model), PointBatches(8, poisoned=(2, 3, 4))))
    assert torch.isfinite(weights(run)).all()


def test_first_interrupt_is_a_request_and_the_second_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with stop_requested() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals that hang up")
def test_a_terminal_that_closes_is_a_request_unless_it_is_ignored():
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with stop_requested() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)  # as shells do
            assert stop()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with stop_requested() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)
