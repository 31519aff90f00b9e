from dataclasses import replace
from functools import partial

import pytest
import torch
from solver_orders import IdealDenoiser

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.diffusion.condition import FirstFrame, LatentState, apply_conditions
from unstatic.diffusion.sampling import sample_to_end
from unstatic.diffusion.schedule import linear, shifted
from unstatic.diffusion.solver import SOLVERS, Solver, euler, multistep
from unstatic.diffusion.step_cache import StepCache

exactly = partial(torch.testing.assert_close, rtol=0, atol=0)
every_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())
STEPS = 50


class Counted:
    """A denoiser that keeps the levels at which it is asked."""

    def __init__(self, denoiser: IdealDenoiser) -> None:
        self.denoiser = denoiser
        self.levels: list[float] = []

    def __call__(self, latent: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.levels.append(float(sigma.max()))
        return self.denoiser(latent, sigma)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=generator("test", seed), dtype=torch.float64)


def points() -> IdealDenoiser:
    """Many blurred points: which of them a sample comes to is decided on the way."""
    return IdealDenoiser(points=noise(12, 1, 2, 2, 2, seed=3), spread=0.2)


def run(cache: StepCache, solver: Solver = multistep, steps: int = STEPS) -> tuple[torch.Tensor, Counted]:
    counted, sigmas = Counted(points()), shifted(steps, 1.5)
    start = LatentState.static(noise(8, 1, 2, 2, 2))
    seeds = [generator("solver", seed) for seed in range(8)]
    return sample_to_end(start, sigmas, cache.around(counted, sigmas), solver, seeds).latent, counted


def test_no_cache_is_the_denoiser_itself():
    assert StepCache(1).around(euler, shifted(4, 1.0)) is euler


@pytest.mark.parametrize(("every", "calls"), [(2, 31), (3, 25), (4, 22)])
def test_the_first_quarter_then_one_of_so_many_and_the_last_are_asked(every: int, calls: int):
    _, counted = run(StepCache(every))
    sigmas = shifted(STEPS, 1.5).tolist()
    steps = [min(range(STEPS), key=lambda i, at=level: abs(sigmas[i] - at)) for level in counted.levels]
    asked = [step for step in range(STEPS) if StepCache(every).is_asked(step, STEPS)]
    assert steps == asked
    assert len(steps) == calls
    assert steps[:12] == list(range(12))
    assert steps[-1] == STEPS - 1


@every_solver
def test_one_data_point_is_found_exactly(solver: Solver):
    """Its x0 does not move, so nothing is lost by foretelling it."""
    point, sigmas = noise(1, 1, 2, 2, 2, seed=1), shifted(20, 3.0)
    predict = StepCache(3).around(IdealDenoiser(points=point), sigmas)
    end = sample_to_end(
        LatentState.static(noise(1, 1, 2, 2, 2)), sigmas, predict, solver, [generator("s", 1)]
    )
    torch.testing.assert_close(end.latent, point, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["ddim", "euler", "adams", "multistep", "unipc", "heun"])
def test_it_comes_to_the_same_points(name: str):
    whole, _ = run(StepCache(1), SOLVERS[name])
    cached, _ = run(StepCache(4), SOLVERS[name])
    assert (cached - whole).abs().mean() < 0.01 * whole.std()


def test_it_comes_closer_than_as_many_calls_without_it():
    """So it is with solvers of order 1; those that extrapolate themselves need a network to gain by it."""
    whole, _ = run(StepCache(1), euler)
    cached, counted = run(StepCache(4), euler)
    fewer, _ = run(StepCache(1), euler, steps=len(counted.levels))
    assert (cached - whole).abs().mean() < (fewer - whole).abs().mean()


@pytest.mark.parametrize("strength", [0.6, 0.59, 0.5834, 0.2084])
def test_a_run_that_begins_between_two_levels_settles_too(strength: float):
    """Two levels that lie close together are no base for a line."""
    sigmas, counted = linear(24), Counted(points())
    rough = lambda latent, sigma: counted(latent, sigma) * (1 + 0.02 * torch.sin(20_000 * sigma))  # noqa: E731
    x, clean = noise(8, 1, 2, 2, 2), noise(8, 1, 2, 2, 2, seed=4)
    start = LatentState.static(x, 1.0)
    sigma = torch.full_like(start.sigma, strength)
    begun = replace(start, latent=(1 - strength) * clean + strength * x, sigma=sigma)
    whole = sample_to_end(begun, sigmas, rough, euler)
    calls = len(counted.levels)
    cached = sample_to_end(begun, sigmas, StepCache(4).around(rough, sigmas), euler)
    assert len(counted.levels) - calls < calls
    assert (cached.latent - whole.latent).abs().mean() < 0.08


def test_frames_that_are_known_stay_bit_by_bit():
    sigmas, known = shifted(20, 1.5), noise(1, 1, 1, 2, 2, seed=5)
    state = apply_conditions(LatentState.static(noise(1, 1, 2, 2, 2)), [FirstFrame(latent=known)], end=2)
    end = sample_to_end(state, sigmas, StepCache(3).around(points(), sigmas), multistep)
    exactly(end.latent[:, :, :1], known)
    assert bool(end.latent.isfinite().all())


def test_another_network_is_asked_twice_before_its_answers_are_foretold():
    counted, sigmas, boundary = Counted(points()), shifted(STEPS, 1.5), 0.5
    predict = StepCache(4, boundary).around(counted, sigmas)
    sample_to_end(LatentState.static(noise(1, 1, 2, 2, 2)), sigmas, predict, euler)
    below = [float(level) for level in sigmas if level < boundary][:2]
    assert [level for level in counted.levels if level < boundary][:2] == pytest.approx(below)


@pytest.mark.parametrize("every", [0, 11])
def test_what_it_cannot_be_is_refused(every: int):
    with pytest.raises(InputError, match="must be from 1"):
        StepCache(every)
