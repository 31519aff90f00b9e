"""A run for a stretch of time: long enough to measure, decided once, kept."""

import json
from pathlib import Path

import pytest

from unstatic.presets.budget import Budget
from unstatic.training.loop import TrainingConfig

CONFIG = TrainingConfig(samples=1_000_000, seconds=100.0, warm_up=4_000)


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_without_a_limit_the_config_is_the_length(tmp_path: Path) -> None:
    config = TrainingConfig(samples=7)
    assert Budget(tmp_path, config).decided() is config


def test_the_length_is_what_fits_into_the_rest_of_the_time(tmp_path: Path) -> None:
    clock = Clock()
    budget = Budget(tmp_path, CONFIG, clock)
    assert budget.decided() is None
    clock.now += 2.0
    assert budget.decide(100) is None
    clock.now += 7.0
    assert budget.decide(900) is None, "a tenth of the time is not over"
    clock.now += 1.0
    length = budget.decide(900)
    assert length is not None
    assert length.samples == 900 + 100 * 90, "100 a second since the first step, which took longer"
    assert length.warm_up == 495
    assert json.loads((tmp_path / "length.json").read_text()) == {"samples": 9_900}


def test_batches_that_differ_mend_the_length_until_two_fifths_of_the_time_are_over(tmp_path: Path) -> None:
    clock = Clock()
    budget = Budget(tmp_path, CONFIG, clock)
    samples, lengths = 0, dict[float, int]()
    for step in range(100):
        # Ten quick batches of stills by chance, then one of two
        clock.now += 1.0
        samples += 150 if step < 10 or step % 2 else 50
        if length := budget.decide(samples):
            lengths[clock.now - 50.0] = length.samples
    assert sorted(lengths) == [10.0, 20.0, 30.0, 40.0]
    assert lengths[10.0] == 1_500 + 150 * 90
    assert samples == 10_500
    assert abs(lengths[40.0] / samples - 1) < 0.02


def test_a_resumed_run_keeps_the_decision(tmp_path: Path) -> None:
    clock = Clock()
    budget = Budget(tmp_path, CONFIG, clock)
    clock.now += 20.0
    assert budget.decide(100) is None
    clock.now += 1.0
    length = budget.decide(500)
    resumed = Budget(tmp_path, CONFIG, clock)
    assert resumed.decided() == length
    clock.now += 30.0
    assert resumed.decide(9_000) is None


def test_the_time_may_be_over_before_anything_was_measured(tmp_path: Path) -> None:
    clock = Clock()
    budget = Budget(tmp_path, CONFIG, clock)
    clock.now += 400.0
    length = budget.decide(64)
    assert length is not None
    assert length.samples == 64


@pytest.mark.parametrize(("seconds", "measured"), [(10.0, 1.0), (3_600.0, 60.0)])
def test_measuring_takes_a_tenth_of_the_time_but_never_more_than_a_minute(
    tmp_path: Path, seconds: float, measured: float
) -> None:
    clock = Clock()
    budget = Budget(tmp_path, TrainingConfig(samples=10, seconds=seconds), clock)
    clock.now += measured - 0.01
    assert budget.decide(1) is None
    clock.now += 0.02
    assert budget.decide(2) is not None


@pytest.mark.parametrize("slow_s", [(12.0,), (8.0, 8.0, 8.0)])
def test_steps_that_compile_do_not_decide_the_length(tmp_path: Path, slow_s: tuple[float, ...]) -> None:
    clock = Clock()
    budget = Budget(tmp_path, CONFIG, clock)
    samples, total = 0, CONFIG.samples
    while samples < total:
        clock.now += slow_s[samples // 16] if samples // 16 < len(slow_s) else 0.1
        samples += 16
        if length := budget.decide(samples):
            total = length.samples
    assert abs(clock.now - 50.0 - CONFIG.seconds) < 3.0
