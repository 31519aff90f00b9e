import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.diffusion.loss import (
    LogitNormal,
    SigmaSampler,
    Uniform,
    denoising_loss,
    min_snr_weight,
    velocity_weight,
    x0_weight,
)
from unstatic.diffusion.process import mix, per_frame, to_velocity

closely = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-11)
SHAPE = (2, 3, 4, 5, 6)
EVERYTHING = torch.ones(2, 1, 4, 1, 1, dtype=torch.bool)
x0, x0_hat, eps = (
    torch.randn(SHAPE, generator=generator("loss", seed), dtype=torch.float64) for seed in range(3)
)
sigma = torch.rand(2, 4, generator=generator("sigma"), dtype=torch.float64)


# ---------------------------------------------------------------------------------------------- noise levels


@pytest.mark.parametrize(
    ("sampler", "distribution"),
    [
        (Uniform(), stats.uniform()),
        (Uniform(low=0.2, high=0.3), stats.uniform(0.2, 0.1)),
        (LogitNormal(mean=0.8, std=0.6), stats.norm(0.8, 0.6)),
    ],
)
def test_levels_follow_their_distribution(sampler: SigmaSampler, distribution: stats.rv_continuous) -> None:
    drawn = sampler((50, 100), generator("levels")).flatten()
    values = torch.logit(drawn) if isinstance(sampler, LogitNormal) else drawn
    assert stats.kstest(values.numpy(), distribution.cdf).pvalue > 0.001


@pytest.mark.parametrize("sampler", [Uniform(), LogitNormal()])
def test_levels_have_a_shape_and_depend_on_the_generator_alone(sampler: SigmaSampler) -> None:
    drawn = sampler((3, 7), generator(1))
    assert drawn.shape == (3, 7)
    assert drawn.dtype == torch.float32
    assert bool(((drawn >= 0) & (drawn <= 1)).all())
    assert torch.equal(drawn, sampler((3, 7), generator(1)))
    assert not torch.equal(drawn, sampler((3, 7), generator(2)))


def test_frames_have_levels_of_their_own() -> None:
    levels = LogitNormal()((2000, 2), generator("frames"))
    assert abs(float(torch.corrcoef(levels.T)[0, 1])) < 4 / math.sqrt(2000)


def test_impossible_samplers_are_refused() -> None:
    with pytest.raises(InputError, match="noise levels"):
        Uniform(low=0.6, high=0.5)
    with pytest.raises(InputError, match="noise levels"):
        Uniform(high=1.5)


# ------------------------------------------------------------------------------------------------ weightings


def test_weights_at_known_levels() -> None:
    levels = torch.tensor([[0.0, 0.01, 0.2, 0.5, 1.0]], dtype=torch.float64)
    closely(x0_weight(levels), torch.ones_like(levels))
    closely(velocity_weight(levels), torch.tensor([[400.0, 400.0, 25.0, 4.0, 1.0]]).double())
    closely(min_snr_weight(levels), torch.tensor([[5.0, 5.0, 5.0, 1.0, 0.0]]).double())
    closely(min_snr_weight(levels, gamma=20.0), torch.tensor([[20.0, 20.0, 16.0, 1.0, 0.0]]).double())


@settings(deadline=None, database=None, derandomize=True, max_examples=25)
@given(level=st.floats(0.05, 1))
def test_velocity_weighting_is_the_error_of_the_velocity(level: float) -> None:
    levels = torch.full((2, 4), level, dtype=torch.float64)
    x = mix(x0, eps, per_frame(levels))
    velocity_hat = to_velocity(x0_hat, "x0", x, per_frame(levels))
    expected = (velocity_hat - (eps - x0)).square().mean()
    closely(denoising_loss(x0_hat, x0, levels, EVERYTHING, weighting=velocity_weight), expected)


# ------------------------------------------------------------------------------------------------------ loss


def test_the_loss_is_a_weighted_mean_over_all_elements() -> None:
    expected = sum(
        float(sigma[b, t]) * float((x0_hat - x0)[b, :, t].square().mean()) / 8
        for b in range(2)
        for t in range(4)
    )
    loss = denoising_loss(x0_hat, x0, sigma, EVERYTHING, weighting=lambda levels: levels)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_only_what_counts_counts() -> None:
    counted = EVERYTHING.clone()
    counted[0, :, :2] = False
    estimate = x0_hat.clone().requires_grad_()
    loss = denoising_loss(estimate, x0, sigma, counted, weighting=x0_weight)
    kept = counted.expand(SHAPE)
    closely(loss, (x0_hat - x0)[kept].square().mean())

    (gradient,) = torch.autograd.grad(loss, estimate)
    assert bool((gradient[~kept] == 0).all())
    assert bool((gradient[kept] != 0).all())


def test_positions_can_be_left_out_too() -> None:
    counted = torch.rand(2, 1, 4, 5, 6, generator=generator("positions")) < 0.5
    loss = denoising_loss(x0_hat, x0, sigma, counted, weighting=x0_weight)
    closely(loss, (x0_hat - x0)[counted.expand(SHAPE)].square().mean())


def test_if_nothing_counts_the_loss_is_0() -> None:
    assert float(denoising_loss(x0_hat, x0, sigma, torch.zeros_like(EVERYTHING))) == 0


def test_importance_gives_places_more_say() -> None:
    importance = torch.rand(2, 1, 4, 5, 6, generator=generator("importance"), dtype=torch.float64)
    loss = denoising_loss(x0_hat, x0, sigma, EVERYTHING, weighting=x0_weight, importance=importance)
    error = (x0_hat - x0).square()
    closely(loss, (error * importance).sum() / importance.expand_as(error).sum())
    even = denoising_loss(x0_hat, x0, sigma, EVERYTHING, importance=torch.full_like(importance, 3.0))
    closely(even, denoising_loss(x0_hat, x0, sigma, EVERYTHING))
