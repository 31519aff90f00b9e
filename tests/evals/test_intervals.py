import math

import pytest
from scipy.stats import binomtest

from unstatic.evals.intervals import Score, wilson


@pytest.mark.parametrize(("right", "total"), [(0, 10), (1, 10), (7, 10), (10, 10), (85, 100), (170, 200)])
def test_it_is_the_interval_that_scipy_computes(right: int, total: int):
    expected = binomtest(right, total).proportion_ci(method="wilson")
    assert wilson(right, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_known_values():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    # With nothing right of n the upper end is z^2 / (n + z^2)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_without_cases_nothing_is_known():
    assert wilson(0, 0) == (0.0, 1.0)
    assert math.isnan(Score(0, 0).share)
    assert str(Score(0, 0)) == "-"


def test_a_score_says_its_share_and_interval():
    assert str(Score(81, 263)) == "30.8% [26%, 37%]"


def test_more_right_than_there_are_is_a_mistake():
    with pytest.raises(AssertionError):
        wilson(3, 2)
