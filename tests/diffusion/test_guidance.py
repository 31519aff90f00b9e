import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.diffusion.guidance import (
    Answers,
    both_led_away,
    guide,
    guided,
    in_one_batch,
    in_turn,
    led_away,
    rescale,
)
from unstatic.diffusion.process import to_eps, to_x0

exactly = partial(torch.testing.assert_close, rtol=0, atol=0)
closely = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-11)
repeated = settings(deadline=None, database=None, derandomize=True, max_examples=30)


class Counted:
    """A denoiser with a recognisable answer that counts how often it is asked."""

    def __init__(self, slope: float) -> None:
        self.slope = slope
        self.calls = 0

    def __call__(self, latent: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.slope * latent + sigma


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=generator("test", seed), dtype=torch.float64)


def levels(*sigmas: float) -> torch.Tensor:
    return torch.tensor(sigmas, dtype=torch.float64).reshape(1, 1, -1, 1, 1)


answers = Answers(noise(2, 3, 2, 4, 4, seed=1), noise(2, 3, 2, 4, 4, seed=2))


def test_weights_0_and_1_are_the_two_answers() -> None:
    exactly(guide(answers, 0.0), answers.unconditional)
    exactly(guide(answers, 1.0), answers.conditional)


@repeated
@given(weight=st.floats(-3, 15))
def test_guidance_is_its_formula(weight: float) -> None:
    expected = answers.unconditional + weight * (answers.conditional - answers.unconditional)
    closely(guide(answers, weight), expected)


@repeated
@given(weight=st.floats(-3, 15), sigma=st.floats(0, 1))
def test_guiding_velocity_x0_or_eps_is_the_same(weight: float, sigma: float) -> None:
    x, level = noise(2, 3, 2, 4, 4), levels(sigma, sigma)
    for convert in (to_x0, to_eps):
        converted = Answers(*(convert(velocity, "velocity", x, level) for velocity in answers))
        closely(convert(guide(answers, weight), "velocity", x, level), guide(converted, weight), atol=1e-9)


def test_weight_1_is_the_conditional_denoiser_itself() -> None:
    conditional = Counted(1.0)
    assert guided(conditional, in_turn(conditional, Counted(2.0)), weight=1.0) is conditional


@pytest.mark.parametrize(
    ("sigma", "inside"), [(0.0, False), (0.2, False), (0.21, True), (0.7, True), (0.71, False), (1.0, False)]
)
def test_outside_the_interval_one_call_is_enough(sigma: float, inside: bool) -> None:
    conditional, unconditional = Counted(1.0), Counted(3.0)
    predict = guided(conditional, in_turn(conditional, unconditional), weight=4.0, interval=(0.2, 0.7))
    x, level = noise(1, 1, 1, 2, 2), levels(sigma)
    closely(predict(x, level), (3 + 4 * (1 - 3)) * x + level if inside else x + level)
    assert (conditional.calls, unconditional.calls) == (1, int(inside))


def test_the_interval_holds_for_each_frame() -> None:
    conditional = Counted(1.0)
    predict = guided(conditional, in_turn(conditional, Counted(3.0)), weight=4.0, interval=(0.2, 0.7))
    x = noise(1, 1, 3, 2, 2)
    velocity = predict(x, levels(0.0, 0.5, 0.9)) - levels(0.0, 0.5, 0.9)
    closely(velocity / x, levels(1.0, -5.0, 1.0).expand_as(x))


def test_both_ways_to_ask_give_the_same_answers() -> None:
    x, level = noise(2, 1, 1, 2, 2), levels(0.4).expand(2, 1, 1, 1, 1)

    def two_prompts(latent: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        slopes = torch.tensor([1.0, 1.0, 3.0, 3.0]).double().reshape(4, 1, 1, 1, 1)
        return slopes * latent + sigma

    for one, other in zip(
        in_one_batch(two_prompts)(x, level), in_turn(Counted(1.0), Counted(3.0))(x, level), strict=True
    ):
        exactly(one, other)


def test_rescaling_restores_the_standard_deviation_of_each_sample() -> None:
    strong = guide(answers, 9.0)
    closely(
        rescale(strong, answers.conditional, 1.0).std((1, 2, 3, 4)), answers.conditional.std((1, 2, 3, 4))
    )
    exactly(rescale(strong, answers.conditional, 0.0), strong)
    half = rescale(strong, answers.conditional, 0.5)
    closely(half, (strong + rescale(strong, answers.conditional, 1.0)) / 2)


def test_guided_rescales_when_asked() -> None:
    conditional, unconditional = Counted(1.0), Counted(3.0)
    both = in_turn(conditional, unconditional)
    x, level = noise(1, 1, 1, 4, 4), levels(0.5)
    expected = rescale(guide(both(x, level), 4.0), conditional(x, level), 0.7)
    exactly(guided(conditional, both, weight=4.0, rescaled=0.7)(x, level), expected)


@pytest.mark.parametrize(
    ("weight", "interval", "rescaled", "named"),
    [
        (math.nan, (0.0, 1.0), 0.0, "weight"),
        (math.inf, (0.0, 1.0), 0.0, "weight"),
        (2.0, (0.7, 0.2), 0.0, "interval"),
        (2.0, (0.0, 1.5), 0.0, "interval"),
        (2.0, (0.0, 1.0), 1.1, "rescale"),
    ],
)
def test_what_makes_no_sense_is_refused(
    weight: float, interval: tuple[float, float], rescaled: float, named: str
) -> None:
    conditional = Counted(1.0)
    both = in_turn(conditional, conditional)
    with pytest.raises(InputError, match=named):
        guided(conditional, both, weight=weight, interval=interval, rescaled=rescaled)


@repeated
@given(amount=st.floats(0, 5))
def test_a_denoiser_is_led_away_from_a_weaker_one(amount: float) -> None:
    x, sigma = noise(1, 3, 2, 4, 4), levels(0.3, 0.7)
    strong, weak = Counted(2.0), Counted(0.5)
    closely(led_away(strong, weak, amount)(x, sigma), (2.0 + 1.5 * amount) * x + sigma)
    assert (strong.calls, weak.calls) == (1, 1)


@repeated
@given(weight=st.floats(0, 15))
def test_a_guided_answer_is_led_as_far_whatever_its_weight(weight: float) -> None:
    x, sigma = noise(1, 3, 2, 4, 4), levels(0.3, 0.7)
    led = both_led_away(in_turn(Counted(2.0), Counted(1.0)), Counted(0.5), 0.4)(x, sigma)
    closely(guide(led, weight), (1.0 + weight + 0.4 * 1.5) * x + sigma)
