import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_orders import IdealDenoiser

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.diffusion.process import (
    MarkovChain,
    chain_to_flow,
    chain_view,
    divide,
    draw_noise,
    flow_to_chain,
    flow_view,
    half_log_snr,
    mix,
    per_frame,
    to_eps,
    to_velocity,
    to_x0,
)

exactly = partial(torch.testing.assert_close, rtol=0, atol=0)
closely = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)
repeated = settings(deadline=None, database=None, derandomize=True, max_examples=50)

interior = st.floats(1e-3, 1 - 1e-3)
numbers = st.floats(-5, 5)
betas = st.lists(st.floats(1e-4, 0.9), min_size=1, max_size=12).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)
CHAINS = {
    "linear": MarkovChain.linear(),
    "cosine": MarkovChain.cosine(),
    "short": MarkovChain.linear(10, first=0.01, last=0.5),
    "zero terminal": MarkovChain.linear().with_zero_terminal_snr(),
}
every_chain = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def latent(*values: float) -> torch.Tensor:
    return double(*values).reshape(1, 1, 1, 1, -1)


# -------------------------------------------------------------------------------------------- straight flow


def test_sigma_0_is_clean_and_sigma_1_is_static() -> None:
    x0, eps = torch.randn(2, 3, 4, generator=generator(1))
    exactly(mix(x0, eps, torch.tensor(0.0)), x0)
    exactly(mix(x0, eps, torch.tensor(1.0)), eps)


def test_velocity_is_the_slope_of_the_flow() -> None:
    x0, eps, sigma = double(0.7), double(-1.3), double(0.4).requires_grad_()
    (slope,) = torch.autograd.grad(mix(x0, eps, sigma).sum(), sigma)
    closely(slope, eps - x0)


def test_per_frame_multiplies_the_frames_of_each_sample() -> None:
    sigma = torch.rand(2, 3, generator=generator(2))
    scaled = torch.ones(2, 4, 3, 5, 6) * per_frame(sigma)
    exactly(scaled[1, :, 2], torch.full((4, 5, 6), float(sigma[1, 2])))


def test_half_log_snr_is_the_log_of_signal_over_noise() -> None:
    closely(half_log_snr(double(0.5, 0.2)), double(0.0, math.log(4)))
    exactly(half_log_snr(double(0.0, 1.0)), double(math.inf, -math.inf))


def test_divide_takes_the_given_value_only_at_zero() -> None:
    exactly(divide(double(3, 0, 3), double(0, 0, 2), otherwise=7.0), double(7, 7, 1.5))


# --------------------------------------------------------------------------------------------- predictions


@repeated
@given(x0=numbers, eps=numbers, sigma=interior)
def test_every_prediction_converts_to_every_other(x0: float, eps: float, sigma: float) -> None:
    truth = {"x0": double(x0), "eps": double(eps), "velocity": double(eps - x0)}
    level = double(sigma)
    x = mix(truth["x0"], truth["eps"], level)
    for prediction, value in truth.items():
        closely(to_x0(value, prediction, x, level), truth["x0"], atol=1e-9)
        closely(to_eps(value, prediction, x, level), truth["eps"], atol=1e-9)
        closely(to_velocity(value, prediction, x, level), truth["velocity"], atol=1e-9)


@pytest.mark.parametrize("prediction", ["x0", "velocity", "eps"])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_conversions_are_finite_and_agree_at_both_ends(prediction: str, sigma: float) -> None:
    value, x, level = double(0.3, -2.0), double(1.5, 0.25), double(sigma)
    x0, eps, velocity = (convert(value, prediction, x, level) for convert in (to_x0, to_eps, to_velocity))
    closely(velocity, eps - x0)
    if prediction != ("x0" if sigma == 0 else "eps"):
        closely(mix(x0, eps, level), x)


def test_what_left_no_trace_is_taken_to_be_its_mean() -> None:
    value, x = double(0.3), double(1.5)
    exactly(to_eps(value, "x0", x, double(0.0)), double(0.0))
    exactly(to_x0(value, "eps", x, double(1.0)), double(0.0))


# ------------------------------------------------------------------------------------------- the chain itself


@repeated
@given(betas=betas)
def test_the_marginal_is_the_composition_of_kernels(betas: torch.Tensor) -> None:
    chain, mean, variance = MarkovChain(betas=betas), double(1.0), double(0.0)
    for level in range(1, len(betas) + 1):
        kernel = chain.kernel(mean, level)
        scale = kernel.mean / mean
        mean, variance = kernel.mean, scale**2 * variance + kernel.variance
        marginal = chain.marginal(double(1.0), level)
        closely(marginal.mean, mean)
        closely(marginal.variance, variance[0])


def test_the_marginal_is_its_formula() -> None:
    chain = MarkovChain.linear(4, first=0.1, last=0.4)
    left = 0.9 * 0.8 * 0.7
    closely(chain.alpha_bars, double(1, 0.9, 0.9 * 0.8, left, left * 0.6))
    marginal = chain.marginal(double(2.0), 3)
    closely(marginal.mean, double(2 * math.sqrt(left)))
    closely(marginal.variance, double(1 - left)[0])


@repeated
@given(betas=betas, x0=numbers, x=numbers)
def test_the_posterior_is_bayes_rule(betas: torch.Tensor, x0: float, x: float) -> None:
    chain = MarkovChain(betas=betas)
    for level in range(2, len(betas) + 1):
        # q(x_{k-1} | x_k, x_0) ~ q(x_k | x_{k-1}) q(x_{k-1} | x_0): two Gaussians in x_{k-1}; precisions add.
        likelihood = chain.kernel(double(1.0), level)
        prior = chain.marginal(double(x0), level - 1)
        precision = likelihood.mean**2 / likelihood.variance + 1 / prior.variance
        mean = (likelihood.mean * x / likelihood.variance + prior.mean / prior.variance) / precision
        posterior = chain.posterior(double(x), double(x0), level)
        closely(posterior.mean, mean, rtol=1e-8, atol=1e-9)
        closely(posterior.variance, 1 / precision[0], rtol=1e-8)


def test_the_last_posterior_is_clean() -> None:
    posterior = MarkovChain.linear().posterior(double(3.0), double(0.25), 1)
    closely(posterior.mean, double(0.25))
    exactly(posterior.variance, double(0.0)[0])


def test_small_variances_survive_float32() -> None:
    variance = MarkovChain.linear().marginal(torch.ones(1), 1).variance
    assert variance.dtype == torch.float32
    assert float(variance) == pytest.approx(1e-4, rel=1e-6)


def test_levels_may_differ_per_frame() -> None:
    chain, x0 = MarkovChain.cosine(8), torch.randn(2, 1, 3, 1, 1, generator=generator(3))
    levels = torch.tensor([[0, 3, 8], [5, 1, 2]])[:, None, :, None, None]
    together = chain.marginal(x0, levels)
    for sample, frame in [(0, 0), (0, 2), (1, 1)]:
        alone = chain.marginal(x0[sample, :, frame], int(levels[sample, 0, frame]))
        exactly(together.mean[sample, :, frame], alone.mean)


def test_dissolving_follows_the_marginal() -> None:
    chain = MarkovChain.linear(6, first=0.05, last=0.4)
    x0 = torch.full((1, 20_000), 0.8, dtype=torch.float64)
    for level, x in enumerate(chain.dissolve(x0, [generator("dissolve")]), start=1):
        expected = chain.marginal(double(0.8), level)
        mean_z = (x.mean() - expected.mean) / (expected.variance / x.numel()).sqrt()
        variance_z = (x.var() / expected.variance - 1) / math.sqrt(2 / x.numel())
        assert abs(float(mean_z)) < 4
        assert abs(float(variance_z)) < 4
    assert level == 6


def test_dissolving_takes_one_generator_per_sample() -> None:
    chain, x0 = MarkovChain.cosine(3), torch.ones(2, 5)
    together = list(chain.dissolve(x0, [generator(1), generator(2)]))
    alone = list(chain.dissolve(x0[1:], [generator(2)]))
    exactly(together[-1][1], alone[-1][0])


def test_a_strided_chain_has_the_same_marginals() -> None:
    chain = MarkovChain.cosine(1000)
    strided = chain.strided(7)
    closely(strided.alpha_bars, chain.alpha_bars[[0, 143, 286, 429, 571, 714, 857, 1000]])


def test_zero_terminal_snr_moves_the_last_level_to_static_and_keeps_the_first() -> None:
    before, after = MarkovChain.linear(), MarkovChain.linear().with_zero_terminal_snr()
    assert before.sigmas[-1] == pytest.approx(0.9937, abs=1e-4)
    assert float(after.sigmas[-1]) == 1.0
    assert float(after.betas[0]) == pytest.approx(float(before.betas[0]), rel=1e-9)


# ------------------------------------------------------------------------------- the chain seen from the flow


@every_chain
def test_sigma_matches_the_signal_to_noise_ratio(chain: MarkovChain) -> None:
    inner = slice(1, -1)
    sigma, alpha_bar = chain.sigmas[inner], chain.alpha_bars[inner]
    closely(((1 - sigma) / sigma) ** 2, alpha_bar / (1 - alpha_bar), rtol=1e-9)
    assert float(chain.sigmas[0]) == 0
    assert bool((chain.sigmas.diff() > 0).all())


@every_chain
@repeated
@given(share=st.floats(0, 1))
def test_levels_and_sigmas_are_inverse(chain: MarkovChain, share: float) -> None:
    level = double(share * len(chain.betas))
    closely(chain.level(chain.sigma(level)), level, rtol=1e-9, atol=1e-9)


def test_beyond_the_last_level_there_is_only_the_last_level() -> None:
    exactly(MarkovChain.linear().level(double(0.999, 1.0)), double(1000, 1000))


def test_levels_keep_shape_and_dtype() -> None:
    level = MarkovChain.linear().level(torch.full((2, 1, 3, 1, 1), 0.5))
    assert level.shape == (2, 1, 3, 1, 1)
    assert level.dtype == torch.float32


@every_chain
def test_a_chain_sample_is_a_flow_sample_rescaled(chain: MarkovChain) -> None:
    x0, eps = torch.randn(2, 5, generator=generator(4), dtype=torch.float64)
    for level in (0, 1, len(chain.betas) // 2, len(chain.betas)):
        sigma = chain.sigmas[level]
        x, flow = chain.marginal(x0, level).sample(eps), mix(x0, eps, sigma)
        closely(chain_to_flow(x, sigma), flow)
        closely(flow_to_chain(flow, sigma), x)


def test_a_model_of_the_chain_samples_in_the_flow() -> None:
    chain, ideal = MarkovChain.cosine(), IdealDenoiser(points=latent(0.4), spread=0.5)

    def eps_of_level(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        # E[eps | x_k] for Gaussian data, in the chain's own terms
        alpha_bar = chain.alpha_bars[level.round().long()]
        variance = alpha_bar * 0.25 + 1 - alpha_bar
        return (1 - alpha_bar).sqrt() / variance * (x - alpha_bar.sqrt() * 0.4)

    predict = flow_view(eps_of_level, chain, "eps")
    for level in (1, 400, 990):
        x, sigma = latent(-0.7, 0.1, 2.0), chain.sigmas[level].reshape(1, 1, 1, 1, 1)
        closely(predict(x, sigma), ideal(x, sigma), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("prediction", ["x0", "eps"])
def test_there_and_back_is_the_same_model(prediction: str) -> None:
    chain, ideal = MarkovChain.linear(), IdealDenoiser(points=latent(0.4, -1.0), spread=0.3)
    there_and_back = flow_view(chain_view(ideal, chain, prediction), chain, prediction)
    x, sigma = latent(0.9, -0.2), double(0.37).reshape(1, 1, 1, 1, 1)
    closely(there_and_back(x, sigma), ideal(x, sigma), rtol=1e-9)


# -------------------------------------------------------------------------------------- randomness and errors


def test_noise_of_a_batch_is_the_noise_of_its_samples() -> None:
    like = torch.empty(4, 2, 3, 5, 5)
    together = draw_noise([generator(seed) for seed in range(4)], like)
    for seed in range(4):
        exactly(together[seed : seed + 1], draw_noise([generator(seed)], like[:1]))


def test_a_seed_means_the_same_in_every_dtype() -> None:
    single = draw_noise([generator(0)], torch.empty(1, 6))
    exactly(draw_noise([generator(0)], torch.empty(1, 6, dtype=torch.float64)), single.double())


def test_what_makes_no_sense_is_refused() -> None:
    chain, x = MarkovChain.linear(10), double(1.0)
    with pytest.raises(InputError, match="1 noise generators for a batch of 2"):
        draw_noise([generator(0)], torch.empty(2, 1))
    for level in (0, 11, torch.tensor([3, -1])):
        with pytest.raises(InputError, match=r"outside 1 \.\.\. 10"):
            chain.kernel(x, level)
    with pytest.raises(InputError, match=r"outside 0 \.\.\. 10"):
        chain.marginal(x, 11)
    for wrong in (0.0, 1.5, -0.1, math.nan):
        with pytest.raises(InputError, match="betas"):
            MarkovChain(betas=double(0.1, wrong))
    for steps in (0, 11):
        with pytest.raises(InputError, match=f"not {steps}"):
            chain.strided(steps)
