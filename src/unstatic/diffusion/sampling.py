"""The sampling loop. There is one."""

from collections.abc import Iterator, Sequence
from functools import reduce

import torch

from unstatic.core.errors import InputError
from unstatic.diffusion.condition import LatentState
from unstatic.diffusion.process import Latent, Predict, Sigma
from unstatic.diffusion.schedule import Schedule
from unstatic.diffusion.solver import Solver, Step


def sample(
    state: LatentState,
    sigmas: Schedule,
    predict: Predict,
    solver: Solver,
    generators: Sequence[torch.Generator] = (),
) -> Iterator[LatentState]:
    """Yield the state after every step; between two of them the caller may show, stop or cancel.

    The state says at which level each latent frame starts, the schedule how far down to go: a frame waits at
    its own level until the schedule comes below it, and kept frames wait at 0 for good. Levels that move
    nothing cost no call, so a state that is clean already yields nothing.

    `generators`, one per sample, feed stochastic solvers and advance as they are read. Raises InputError,
    when the first state is asked for, if `sigmas` are not strictly decreasing numbers in [0, 1].
    """
    _check(sigmas)
    answer = _knowing(state, predict)
    past = None
    for level in sigmas.to(state.sigma):
        sigma_next = torch.minimum(state.sigma, level)
        if torch.equal(sigma_next, state.sigma):
            continue
        solved = solver(answer, Step(state.latent, state.sigma, sigma_next, past, generators))
        past = solved.evaluation
        state = state.advance(solved.latent, sigma_next, past.x0)
        yield state


def sample_to_end(
    state: LatentState,
    sigmas: Schedule,
    predict: Predict,
    solver: Solver,
    generators: Sequence[torch.Generator] = (),
) -> LatentState:
    """Run `sample` to its end and return the last state."""
    return reduce(lambda _, after: after, sample(state, sigmas, predict, solver, generators), state)


def _knowing(state: LatentState, predict: Predict) -> Predict:
    """Answer for kept positions from knowledge: their velocity is noise - clean."""
    known = state.noise - state.clean

    def answer(latent: Latent, sigma: Sigma) -> Latent:
        return torch.where(state.keep_mask, known, predict(latent, sigma))

    return answer


def _check(sigmas: Schedule) -> None:
    inside, falling = (sigmas >= 0) & (sigmas <= 1), sigmas.diff() < 0
    if not bool(inside.all() & falling.all()):
        shown = ", ".join(f"{sigma:g}" for sigma in sigmas[:8])
        raise InputError(f"a schedule must decrease strictly inside [0, 1], got {shown}")
