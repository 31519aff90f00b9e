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
    clock.now += 9.0
    assert budget.decide(900, 100.0) is None, "a tenth of the time is not over"
    clock.now += 1.0
    assert budget.decide(1_000, None) is None, "no speed is known"
    length = budget.decide(1_000, 100.0)
    assert length is not None
    assert length.samples == 1_000 + 100 * 90
    assert length.warm_up == 500
    assert json.loads((tmp_path / "length.json").read_text()) == {"samples": 10_000}


def test_a_resumed_run_keeps_the_decision(tmp_path: Path) -> None:
    clock = Clock()
    budget = Budget(tmp_path, CONFIG, clock)
    clock.now += 20.0
    length = budget.decide(500, 10.0)
    assert Budget(tmp_path, CONFIG, clock).decided() == length


def test_the_time_may_be_over_before_anything_was_measured(tmp_path: Path) -> None:
    clock = Clock()
    budget = Budget(tmp_path, CONFIG, clock)
    clock.now += 400.0
    length = budget.decide(64, 0.2)
    assert length is not None
    assert length.samples == 64


@pytest.mark.parametrize(("seconds", "measured"), [(10.0, 1.0), (3_600.0, 60.0)])
def test_measuring_takes_a_tenth_of_the_time_but_never_more_than_a_minute(
    tmp_path: Path, seconds: float, measured: float
) -> None:
    clock = Clock()
    budget = Budget(tmp_path, TrainingConfig(samples=10, seconds=seconds), clock)
    clock.now += measured - 0.01
    assert budget.decide(1, 1.0) is None
    clock.now += 0.02
    assert budget.decide(1, 1.0) is not None
