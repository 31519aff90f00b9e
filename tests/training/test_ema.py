import pytest
import torch
from torch import nn

from unstatic.training.ema import Average, ema_decay


def test_decay_halves_the_past_after_one_half_life():
    assert ema_decay(1000, 10**9, 1000.0, 0.05) == pytest.approx(0.5)
    assert ema_decay(16, 10**9, 11_085.0, 0.05) == pytest.approx(0.999, abs=1e-6)
    assert ema_decay(16, 10**9, 22_175.0, 0.05) == pytest.approx(0.9995, abs=1e-6)


def test_ramp_up_forgets_the_first_weights():
    assert ema_decay(16, 16, 11_085.0, 0.05) < 1e-5
    assert ema_decay(16, 1600, 11_085.0, 0.05) == pytest.approx(0.5 ** (16 / 80))


def test_average_follows_the_formula_and_leaves_frozen_weights_alone():
    model = nn.Linear(1, 1)
    model.bias.requires_grad_(False)
    model.weight.data.fill_(1.0)
    average = Average(model, half_life=100.0)
    expected, seen = 1.0, 10_000
    for value in (2.0, 5.0, -1.0):
        seen += 50
        model.weight.data.fill_(value)
        average.update(model, batch=50, seen=seen)
        expected = 0.5**0.5 * expected + (1 - 0.5**0.5) * value
    assert average.weights.keys() == {"weight"}
    assert average.weights["weight"].item() == pytest.approx(expected)

    average.copy_to(model)
    assert model.weight.item() == pytest.approx(expected)


def test_average_is_a_copy():
    model = nn.Linear(2, 2)
    average = Average(model, half_life=10.0)
    before = average.weights["weight"].clone()
    with torch.no_grad():
        model.weight.zero_()
    assert torch.equal(average.weights["weight"], before)
