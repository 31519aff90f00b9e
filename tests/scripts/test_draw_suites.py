import numpy as np
import pytest
from draw_suites import DRAWERS, Balance

from unstatic.evals.prompts import load_suite


def test_balance_draws_what_came_up_least() -> None:
    balance, rng = Balance("shape"), np.random.default_rng(0)
    drawn = [balance.draw("abc", rng) for _ in range(9)]
    assert sorted(drawn) == list("aaabbbccc")


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWERS, ids=lambda draw: draw.__name__)
def test_the_script_draws_the_suites_in_the_package(draw) -> None:
    drawn = draw(3)
    assert drawn.fingerprint == load_suite(drawn.name).first(3).fingerprint
