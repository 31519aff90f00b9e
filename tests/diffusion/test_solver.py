import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from solver_orders import IdealDenoiser

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.diffusion.condition import LatentState
from unstatic.diffusion.process import MarkovChain, chain_to_flow, flow_to_chain, to_x0
from unstatic.diffusion.sampling import sample_to_end
from unstatic.diffusion.schedule import from_chain, karras, linear, shifted
from unstatic.diffusion.solver import (
    SOLVERS,
    Ddim,
    Evaluation,
    Solver,
    Step,
    ancestral,
    consistency,
    ddim,
    euler,
)

exactly = partial(torch.testing.assert_close, rtol=0, atol=0)
closely = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-11)
every_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())

# One blurred point: each element is denoised by itself, so frames and samples cannot influence each other.
blurred = IdealDenoiser(points=torch.full((1, 1, 1, 1, 1), 0.3, dtype=torch.float64), spread=0.5)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=generator("test", seed), dtype=torch.float64)


def levels(*sigmas: float) -> torch.Tensor:
    """Return one level per latent frame."""
    return torch.tensor(sigmas, dtype=torch.float64).reshape(1, 1, -1, 1, 1)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [generator("solver", seed) for seed in seeds]


# ------------------------------------------------------------------------------------------- exact statements


@every_solver
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_one_data_point_is_found_exactly(solver: Solver, steps: int) -> None:
    """The path to a single point is a straight line, and posterior noise is gone at the end."""
    point = noise(1, 2, 3, 4, 5, seed=1)
    start = LatentState.static(noise(2, 2, 3, 4, 5))
    end = sample_to_end(start, shifted(steps, 3.0), IdealDenoiser(points=point), solver, seeded(1, 2))
    closely(end.latent, point.expand(2, -1, -1, -1, -1))


def test_ddim_is_euler_on_the_straight_flow() -> None:
    start = LatentState.static(noise(2, 1, 3, 2, 2))
    closely(
        sample_to_end(start, karras(9), blurred, ddim).latent,
        sample_to_end(start, karras(9), blurred, euler).latent,
    )


def test_consistency_puts_fresh_static_on_x0() -> None:
    x, fresh = noise(1, 1, 2, 3, 3), torch.randn(1, 2, 3, 3, generator=seeded(5)[0]).double()
    sigma, lower = levels(0.9, 0.4), levels(0.6, 0.4)
    here, solved = (
        blurred(x, sigma),
        consistency(blurred, Step(x, sigma, lower, None, seeded(5))).latent,
    )
    x0 = to_x0(here, "velocity", x, sigma)
    closely(solved[:, :, 0], 0.4 * x0[:, :, 0] + 0.6 * fresh[:, 0])
    exactly(solved[:, :, 1], x[:, :, 1])
    exactly(consistency(blurred, Step(x, sigma, levels(0, 0))).latent, x0)


@pytest.mark.parametrize("level", [1, 2, 500, 1000])
def test_ancestral_draws_from_the_posterior_of_the_chain(level: int) -> None:
    chain, x, fresh = (
        MarkovChain.linear(),
        noise(1, 1, 1, 3, 3),
        torch.randn(1, 1, 3, 3, generator=seeded(5)[0]),
    )
    sigma, sigma_next = (chain.sigmas[k].reshape(1, 1, 1, 1, 1) for k in (level, level - 1))
    flow = chain_to_flow(x, sigma)
    x0 = to_x0(blurred(flow, sigma), "velocity", flow, sigma)

    solved = ancestral(blurred, Step(flow, sigma, sigma_next, None, seeded(5)))
    expected = chain.posterior(x, x0, level).sample(fresh.double())
    closely(flow_to_chain(solved.latent, sigma_next), expected)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_variance_of_ddim_is_that_of_the_paper(eta: float) -> None:
    """2010.02502, equation 16: eta^2 (1 - ab') / (1 - ab) (1 - ab / ab'), on the chain."""
    chain, level = MarkovChain.cosine(20), 12
    sigma, sigma_next = (chain.sigmas[k].reshape(1, 1, 1, 1, 1) for k in (level, level - 1))
    x, drawn = noise(1, 1, 1, 1, 4), torch.randn(1, 1, 1, 4, generator=seeded(1)[0])
    clean = IdealDenoiser(points=torch.zeros(1, 1, 1, 1, 1, dtype=torch.float64))  # x0 = 0, eps = x / sigma

    solved = Ddim(eta=eta)(clean, Step(x, sigma, sigma_next, None, seeded(1)))
    here, before = chain.alpha_bars[level], chain.alpha_bars[level - 1]
    variance = eta**2 * (1 - before) / (1 - here) * (1 - here / before)
    kept = (1 - before - variance).sqrt() * x / sigma
    closely(flow_to_chain(solved.latent, sigma_next), kept + variance.sqrt() * drawn.double())


@pytest.mark.parametrize("solver", [each for each in SOLVERS.values() if each is not consistency])
def test_frames_at_different_levels_are_solved_as_if_alone(solver: Solver) -> None:
    """Frame 1 waits at 0.6 until the schedule has come down; memory of the waiting must not leak into it."""
    both = replace(LatentState.static(noise(1, 1, 2, 3, 3)), sigma=levels(1.0, 0.6))
    if isinstance(solver, Ddim):
        solver = ddim  # fresh noise depends on how much was drawn before; the rule itself is the same
    together = sample_to_end(both, linear(10), blurred, solver)
    for frame in (0, 1):
        alone = sample_to_end(both.window(frame, frame + 1), linear(10), blurred, solver)
        closely(together.latent[:, :, frame : frame + 1], alone.latent)


@every_solver
def test_a_frame_that_waits_comes_out_as_it_went_in(solver: Solver) -> None:
    latent = noise(1, 1, 5, 2, 2)
    sigma, sigma_next = levels(1.0, 0.5, 0.0, 1.0, 0.5), levels(1.0, 0.5, 0.0, 0.8, 0.0)
    for sigma_past in (levels(1.0, 0.5, 0.0, 1.0, 0.5), levels(1.0, 0.7, 0.0, 1.0, 0.7)):
        past = Evaluation(latent + 0.1, sigma_past, latent.sin())
        solved = solver(blurred, Step(latent, sigma, sigma_next, past, seeded(1)))
        assert bool(solved.latent.isfinite().all())
        closely(solved.latent[:, :, :3], latent[:, :, :3])
        assert not torch.allclose(solved.latent[:, :, 3:], latent[:, :, 3:])


# ------------------------------------------------------------------------------------------------- statistics


def test_ancestral_sampling_draws_the_data_in_proportion() -> None:
    """Two thirds of the data are -1, one third is +1."""
    number = 2_000
    ideal = IdealDenoiser(points=torch.tensor([-1.0, -1.0, 1.0]).double().reshape(3, 1, 1, 1, 1))
    start = LatentState.static(noise(number, 1, 1, 1, 1))
    end = sample_to_end(start, from_chain(MarkovChain.cosine(), 40), ideal, ancestral, seeded(*range(number)))
    closely(end.latent.abs(), torch.ones_like(end.latent), atol=1e-3)
    share = float((end.latent > 0).double().mean())
    assert abs(share - 1 / 3) / math.sqrt(1 / 3 * 2 / 3 / number) < 4


def test_ancestral_samples_have_the_mean_and_variance_that_the_chain_predicts() -> None:
    """On Gaussian data each posterior is linear in x, so their variance follows in closed form."""
    chain, values, mean, spread = MarkovChain.cosine(100), 40_000, 0.3, 0.5
    variance = 1.0
    for level in range(100, 0, -1):
        alpha_bar = float(chain.alpha_bars[level])
        x0_per_x = alpha_bar**0.5 * spread**2 / (alpha_bar * spread**2 + 1 - alpha_bar)
        step = chain.posterior(torch.ones(1).double(), torch.tensor([x0_per_x]).double(), level)
        variance = float(step.mean**2 * variance + step.variance)
    assert variance == pytest.approx(spread**2, rel=0.1)  # where all this leads, up to the chain's length

    start = LatentState.static(noise(1, 1, 1, 200, 200))
    end = sample_to_end(start, from_chain(chain, 100), blurred, ancestral, seeded(3)).latent
    mean_z = (end.mean() - mean) / math.sqrt(variance / values)
    variance_z = (end.var() / variance - 1) / math.sqrt(2 / values)
    assert abs(float(mean_z)) < 4
    assert abs(float(variance_z)) < 4


# ---------------------------------------------------------------------------------------- cost and randomness


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("ancestral", 8),
        ("ddim", 8),
        ("euler", 8),
        ("adams", 8),
        ("multistep", 8),
        ("unipc", 8),
        ("consistency", 8),
        ("heun", 15),
    ],
)
def test_calls_per_run_of_8_steps(name: str, calls: int) -> None:
    asked: list[float] = []

    def counting(latent: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        asked.append(float(sigma.max()))
        return blurred(latent, sigma)

    sample_to_end(LatentState.static(noise(1, 1, 1, 2, 2)), linear(8), counting, SOLVERS[name], seeded(1))
    assert len(asked) == calls
    assert min(asked) > 0


@every_solver
def test_a_batch_of_4_equals_four_batches_of_1(solver: Solver) -> None:
    static = noise(4, 2, 3, 2, 2)
    together = sample_to_end(LatentState.static(static), linear(6), blurred, solver, seeded(0, 1, 2, 3))
    for seed in range(4):
        alone = LatentState.static(static[seed : seed + 1])
        end = sample_to_end(alone, linear(6), blurred, solver, seeded(seed))
        exactly(together.latent[seed : seed + 1], end.latent)


@every_solver
def test_a_solver_has_no_memory_of_its_own(solver: Solver) -> None:
    past = Evaluation(noise(1, 1, 1, 2, 2), levels(0.9), noise(1, 1, 1, 2, 2, seed=1))
    first, second = (
        solver(blurred, Step(noise(1, 1, 1, 2, 2, seed=2), levels(0.7), levels(0.5), past, seeded(4)))
        for _ in range(2)
    )
    exactly(first.latent, second.latent)


def test_only_stochastic_solvers_draw() -> None:
    start = LatentState.static(noise(1, 1, 1, 2, 2))
    for name in ("ddim", "euler", "heun", "adams", "multistep", "unipc"):
        sample_to_end(start, linear(3), blurred, SOLVERS[name], ())
    for solver in (ancestral, consistency):
        with pytest.raises(InputError, match="0 noise generators for a batch of 1"):
            sample_to_end(start, linear(3), blurred, solver, ())


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_eta_is_a_share(eta: float) -> None:
    with pytest.raises(InputError, match="eta"):
        Ddim(eta=eta)


def test_an_evaluation_knows_x0_and_eps() -> None:
    x0, eps = noise(1, 1, 1, 2, 2), noise(1, 1, 1, 2, 2, seed=1)
    here = Evaluation(0.6 * x0 + 0.4 * eps, levels(0.4), eps - x0)
    closely(here.x0, x0)
    closely(here.eps, eps)
