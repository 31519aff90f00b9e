import numpy as np
import pytest
from draw_suites import Balance, draw_animals, draw_held_out, draw_objects

from unstatic.evals.prompts import Suite


def test_balance_draws_what_came_up_least() -> None:
    balance, rng = Balance("shape"), np.random.default_rng(0)
    drawn = [balance.draw("abc", rng) for _ in range(9)]
    assert sorted(drawn) == list("aaabbbccc")
    assert balance.draw("ab", rng) in "ab"


@pytest.mark.parametrize("draw", [draw_objects, draw_animals, draw_held_out])
def test_a_shorter_suite_is_the_beginning_of_a_longer_one(draw) -> None:
    four = draw(4)
    assert draw(3).prompts == four.first(3).prompts
    assert isinstance(four, Suite)
    assert len({prompt.text for prompt in four.prompts}) == 4


def test_objects_are_alone_before_a_still_camera() -> None:
    for prompt in draw_objects(4).prompts:
        assert len(prompt.spec.objects) == 1
        assert prompt.spec.camera.kind == "still"
        assert set(prompt.asked) >= {"colour", "shape", "event"}


def test_held_out_prompts_ask_for_objects_and_animals() -> None:
    prompts = draw_held_out(20).prompts
    assert all(prompt.held_out for prompt in prompts)
    assert {"shape", "animal"} <= {atom for prompt in prompts for atom in prompt.asked}
