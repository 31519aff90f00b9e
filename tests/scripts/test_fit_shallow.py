import pytest
import torch
from fit_shallow import Lesson, fit_shallow

from unstatic.core.seeds import generator
from unstatic.evals.shallow import LARGEST_FACT, Shallow, standardised

LESSON = Lesson(hidden=16, steps=400, batch=64, learning_rate=0.02, drop=0.0)


@pytest.fixture(scope="module")
def rings() -> tuple[torch.Tensor, torch.Tensor]:
    """Two rings of points, one around the other: no straight line tells them apart."""
    angle = torch.rand(400, generator=generator("angles")) * 6.2832
    labels = torch.arange(400) % 2
    radius = 1.0 + 2.0 * labels
    return torch.stack([radius * angle.cos() + 50, 0.01 * radius * angle.sin()], dim=1), labels


@pytest.fixture(scope="module")
def fitted(rings: tuple[torch.Tensor, torch.Tensor]) -> Shallow:
    return fit_shallow(*rings, 2, generator("fit"), LESSON)


def test_what_no_line_divides_is_told_apart(rings, fitted: Shallow):
    facts, labels = rings
    assert (fitted(facts).argmax(1) == labels).float().mean() > 0.97


def test_a_fit_is_decided_by_its_source(rings, fitted: Shallow):
    again = fit_shallow(*rings, 2, generator("fit"), LESSON)
    assert torch.equal(again.outer, fitted.outer)


def test_pixels_are_judged_like_single_cases(fitted: Shallow):
    facts = torch.randn((3, 2, 4, 5), generator=generator("pixels")) * fitted.spread[:, None, None]
    facts = facts + fitted.middle[:, None, None]
    one_by_one = fitted(facts.movedim(1, 3).flatten(0, 2)).unflatten(0, (3, 4, 5)).movedim(3, 1)
    assert torch.allclose(fitted.per_pixel(facts), one_by_one, atol=1e-3)


def test_outliers_and_nonsense_are_limited():
    facts = torch.tensor([[1e9, float("nan")]])
    assert standardised(facts, torch.zeros(2), torch.ones(2)).tolist() == [[LARGEST_FACT, 0.0]]
