from functools import partial

import pytest
import torch
from solver_orders import IdealDenoiser

from unstatic.core.errors import InputError
from unstatic.core.seeds import generator
from unstatic.diffusion.condition import (
    Condition,
    FirstFrame,
    LastFrame,
    LatentState,
    Prefix,
    Region,
    Source,
    Suffix,
    apply_conditions,
)
from unstatic.diffusion.process import mix
from unstatic.diffusion.sampling import sample, sample_to_end
from unstatic.diffusion.schedule import linear, log_snr, shifted
from unstatic.diffusion.solver import SOLVERS, Solver, euler

exactly = partial(torch.testing.assert_close, rtol=0, atol=0)
every_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())
SHAPE = (2, 3, 5, 4, 4)


def latents(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape or SHAPE, generator=generator("latents", seed))


def static() -> LatentState:
    return LatentState.static(latents(seed=99))


def seeded() -> list[torch.Generator]:
    return [generator("solver", seed) for seed in range(SHAPE[0])]


def restless(latent: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Move everything, also what should be left alone."""
    return torch.sin(3 * latent) + latent.mean() + sigma


class Recorded:
    """A denoiser that notes the highest level it was asked about."""

    def __init__(self) -> None:
        self.levels: list[float] = []

    def __call__(self, latent: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.levels.append(round(float(sigma.max()), 6))
        return restless(latent, sigma)


def checkered() -> torch.Tensor:
    mask = torch.zeros(2, 1, 5, 4, 4, dtype=torch.bool)
    mask[:, :, 1:4, ::2] = True
    return mask


CONDITIONS: dict[str, list[Condition]] = {
    "image to video": [FirstFrame(latent=latents(1, 3, 1, 4, 4))],
    "extend": [Prefix(latent=latents(2, 3, 3, 4, 4))],
    "extend backward": [Suffix(latent=latents(2, 3, 2, 4, 4))],
    "blend": [Prefix(latent=latents(2, 3, 2, 4, 4)), Suffix(latent=latents(2, 3, 2, 4, 4, seed=1))],
    "remix between frames": [
        FirstFrame(latent=latents(1, 3, 1, 4, 4)),
        LastFrame(latent=latents(1, 3, 1, 4, 4, seed=1)),
        Source(latent=latents(seed=2), strength=0.6),
    ],
    "repaint": [Region(latent=latents(), keep_mask=checkered())],
}


@every_solver
@pytest.mark.parametrize("conditions", CONDITIONS.values(), ids=CONDITIONS.keys())
def test_kept_latents_are_bit_identical(solver: Solver, conditions: list[Condition]) -> None:
    start = apply_conditions(static(), conditions)
    kept, whole = start.keep_mask.expand(SHAPE), (start.sigma == 0).expand(SHAPE)
    assert bool(kept.any())
    for state in sample(start, shifted(6, 3.0), restless, solver, seeded()):
        exactly(state.latent[whole], start.clean[whole])
    exactly(state.latent[kept], start.clean[kept])
    assert not bool((state.latent == start.clean)[~kept].any())


@every_solver
def test_kept_parts_of_a_frame_are_as_noisy_as_the_frame(solver: Solver) -> None:
    start = Region(latent=latents(), keep_mask=checkered()).apply_to(static())
    kept = start.keep_mask.expand(SHAPE)
    for state in list(sample(start, linear(4), restless, solver, seeded()))[:-1]:
        exactly(state.latent[kept], mix(start.clean, start.noise, state.sigma)[kept])
        torch.testing.assert_close(state.estimate[kept], start.clean[kept])


@every_solver
def test_a_kept_frame_decides_the_others(solver: Solver) -> None:
    """Given two films and the first frame of one, the ideal denoiser completes that one, from any static."""
    films = latents(2, 3, 5, 4, 4, seed=1).double()
    start = FirstFrame(latent=films[1:, :, :1]).apply_to(LatentState.static(latents(seed=2).double()))
    end = sample_to_end(start, linear(8), IdealDenoiser(points=films), solver, seeded())
    torch.testing.assert_close(end.latent, films[1:].expand(SHAPE), rtol=0, atol=1e-9)


def test_every_step_yields_its_state() -> None:
    states = list(sample(static(), linear(4), restless, euler))
    assert [float(state.sigma.max()) for state in states] == [0.75, 0.5, 0.25, 0.0]
    assert states[0].latent.dtype == torch.float32


def test_nothing_is_computed_ahead() -> None:
    predict = Recorded()
    states = sample(static(), linear(5), predict, euler)
    assert predict.levels == []
    next(states)
    next(states)
    assert predict.levels == [1.0, 0.8]


def test_the_estimate_is_where_the_last_step_aimed() -> None:
    *_, before, end = sample(static(), linear(3), restless, euler)
    aimed = before.latent - before.sigma * restless(before.latent, before.sigma)
    torch.testing.assert_close(end.estimate, aimed)
    torch.testing.assert_close(end.latent, aimed)


def test_a_weaker_source_costs_fewer_steps() -> None:
    predict = Recorded()
    start = Source(latent=latents(), strength=0.5).apply_to(static())
    sample_to_end(start, linear(10), predict, euler)
    assert predict.levels == [0.5, 0.4, 0.3, 0.2, 0.1]


def test_between_two_levels_the_first_step_is_shorter() -> None:
    predict = Recorded()
    start = Source(latent=latents(), strength=0.45).apply_to(static())
    sample_to_end(start, linear(10), predict, euler)
    assert predict.levels == [0.45, 0.4, 0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    "condition", [Source(latent=latents(), strength=0.0), Prefix(latent=latents())], ids=["source", "prefix"]
)
def test_what_is_clean_already_costs_nothing(condition: Condition) -> None:
    predict = Recorded()
    end = sample_to_end(condition.apply_to(static()), linear(10), predict, euler)
    exactly(end.latent, latents())
    assert predict.levels == []


def test_a_run_may_stop_above_0_and_go_on() -> None:
    sigmas = log_snr(9)
    whole = sample_to_end(static(), sigmas, restless, euler)
    half_way = sample_to_end(static(), sigmas[:5], restless, euler)
    exactly(sample_to_end(half_way, sigmas[4:], restless, euler).latent, whole.latent)


@every_solver
def test_the_same_seeds_give_the_same_latents(solver: Solver) -> None:
    once, twice = (sample_to_end(static(), linear(5), restless, solver, seeded()).latent for _ in range(2))
    exactly(once, twice)


@pytest.mark.parametrize(
    "sigmas", [[1.0, 1.0, 0.0], [0.5, 0.9], [1.1, 0.0], [0.5, -0.1], [1.0, float("nan"), 0.0]]
)
def test_a_schedule_must_fall(sigmas: list[float]) -> None:
    with pytest.raises(InputError, match="decrease strictly"):
        next(sample(static(), torch.tensor(sigmas), restless, euler))
