"""Solvers: one reverse step, from sigma down to sigma_next.

Every solver asks the denoiser at the start of its step, and so has an estimate of x0 and of eps; they differ
in how they use it. None has hidden state: what a step remembers of the one before comes in as `step.past` and
goes out as `Solved.evaluation`, and fresh noise comes from `step.generators`.

Levels are per latent frame. A frame whose sigma_next equals its sigma must come out as it went in, whatever
the others do; the quotients below are 0/0 just there, and `otherwise` is the value that keeps it so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch

from unstatic.core.errors import InputError
from unstatic.diffusion.process import Latent, Predict, Sigma, divide, draw_noise, half_log_snr, mix


class Evaluation(NamedTuple):
    """What the denoiser said at one point, and at the one before for a solver that looks back twice."""

    latent: Latent
    sigma: Sigma
    velocity: Latent
    before: "Evaluation | None" = None

    @property
    def x0(self) -> Latent:
        """The clean latent that it points at: what a preview shows."""
        return self.latent - self.sigma * self.velocity

    @property
    def eps(self) -> Latent:
        """The static that it comes from."""
        return self.latent + (1 - self.sigma) * self.velocity


class Step(NamedTuple):
    """What a solver is asked: `latent` is at `sigma`; where is it at `sigma_next` <= sigma."""

    latent: Latent
    sigma: Sigma
    sigma_next: Sigma
    past: Evaluation | None = None  # where the step before this one started, if there was one
    generators: Sequence[torch.Generator] = ()  # one per sample, read by stochastic solvers only

    def evaluate(self, predict: Predict) -> Evaluation:
        """Ask the denoiser at the start of the step."""
        return Evaluation(self.latent, self.sigma, predict(self.latent, self.sigma))


class Solved(NamedTuple):
    """What a solver answers: the latent at sigma_next, and the evaluation that is `past` to the next step."""

    latent: Latent
    evaluation: Evaluation


@runtime_checkable
class Solver(Protocol):
    """One reverse step."""

    def __call__(self, predict: Predict, step: Step, /) -> Solved: ...


def euler(predict: Predict, step: Step) -> Solved:
    """Follow the velocity: x' = x + (sigma' - sigma) v. One call, order 1."""
    here = step.evaluate(predict)
    return Solved(step.latent + (step.sigma_next - step.sigma) * here.velocity, here)


def heun(predict: Predict, step: Step) -> Solved:
    """Follow the mean of the velocities at both ends (2206.00364, algorithm 1). Two calls, order 2.

    A step that ends at sigma 0 is Euler's, with one call: a denoiser has nothing to say about clean latents.
    """
    here, length = step.evaluate(predict), step.sigma_next - step.sigma
    ahead = step.latent + length * here.velocity
    noisy = step.sigma_next > 0
    if not bool(noisy.any()):
        return Solved(ahead, here)

    mean_velocity = (here.velocity + predict(ahead, step.sigma_next)) / 2
    return Solved(torch.where(noisy, step.latent + length * mean_velocity, ahead), here)


def adams(predict: Predict, step: Step) -> Solved:
    """Extrapolate the velocity linearly from the step before (Adams-Bashforth). One call, order 2.

    The integral of v + (s - sigma) (v - v_past) / (sigma - sigma_past) over s from sigma to sigma' gives
    x' = x + (sigma' - sigma) (v + w (v - v_past)) with w = (sigma' - sigma) / (2 (sigma - sigma_past)).
    """
    here, length = step.evaluate(predict), step.sigma_next - step.sigma
    if step.past is None:
        return Solved(step.latent + length * here.velocity, here)

    weight = divide(length, 2 * (step.sigma - step.past.sigma), otherwise=0.0)
    velocity = here.velocity + weight * (here.velocity - step.past.velocity)
    return Solved(step.latent + length * velocity, here)


def multistep(predict: Predict, step: Step) -> Solved:
    """Extrapolate x0 linearly in log-SNR from the step before: DPM-Solver++(2M) (2211.01095, algorithm 2).

    Its exponential integrator is a straight line on the straight flow, x' = x0 + (sigma' / sigma) (x - x0),
    with x0 as of half-way through the step. One call. Order 2 where steps are short in log-SNR; those next to
    sigma 1 and sigma 0 never are, because the log-SNR is infinite there, and fall back to order 1.
    """
    here = step.evaluate(predict)
    x0 = here.x0 if step.past is None else _x0_half_way(here, step.past, step.sigma_next)
    remaining = divide(step.sigma_next, step.sigma, otherwise=1.0)
    return Solved(x0 + remaining * (step.latent - x0), here)


def _x0_half_way(here: Evaluation, past: Evaluation, sigma_next: Sigma) -> Latent:
    length = half_log_snr(sigma_next) - half_log_snr(here.sigma)
    length_before = half_log_snr(here.sigma) - half_log_snr(past.sigma)
    usable = (sigma_next > 0) & (here.sigma < past.sigma)
    return here.x0 + torch.where(usable, length / (2 * length_before), 0.0) * (here.x0 - past.x0)


def unipc(predict: Predict, step: Step) -> Solved:
    """Correct the step before by what is known at its end, then extrapolate: UniPC-2 (2302.04867, B2, x0).

    It extrapolates as `multistep` does, from a better place: the corrector takes the step before again, now
    that x0 is known at both of its ends. One call. What comes out as `past` is the corrected latent, with
    the velocity that points from it to the same x0. Wan's own solver.
    """
    here = step.evaluate(predict)
    if step.past is not None:
        moves = (step.sigma_next < here.sigma) & (here.sigma < step.past.sigma)
        latent = torch.where(moves, _corrected(here, step.past), here.latent)
        towards = divide(latent - here.x0, here.sigma, otherwise=0.0)
        here = Evaluation(latent, here.sigma, towards, step.past._replace(before=None))

    x0 = here.x0 if step.past is None else _x0_half_way(here, step.past, step.sigma_next)
    remaining = divide(step.sigma_next, step.sigma, otherwise=1.0)
    return Solved(x0 + remaining * (here.latent - x0), here)


def _corrected(here: Evaluation, past: Evaluation) -> Latent:
    """Take the step from `past` to `here` again, knowing the x0 at its end (UniC, section 3.2)."""
    remaining = divide(here.sigma, past.sigma, otherwise=1.0)
    length = half_log_snr(here.sigma) - half_log_snr(past.sigma)
    shrunk = torch.expm1(-length)
    slope = (here.x0 - past.x0) / 2

    # Two slopes of x0, weighted so that polynomials of degree two come out exactly
    if past.before is not None:
        ratio = (half_log_snr(past.before.sigma) - half_log_snr(past.sigma)) / length
        first = -1 / length - 1 / shrunk
        second = -2 * first / length - 1 / shrunk
        outer = (second - first) / (ratio - 1)
        both = outer / ratio * (past.before.x0 - past.x0) + 2 * (first - outer) * slope
        slope = torch.where(past.before.sigma > past.sigma, both, slope)
    return past.x0 + remaining * (past.latent - past.x0) - (1 - here.sigma) * shrunk * slope


@dataclass(frozen=True, kw_only=True, slots=True)
class Ddim:
    """Aim at x0, then put noise back: the old, fresh, or some of both (2010.02502, equations 12 and 16).

    `eta` 0 puts back the old noise: deterministic, and on the straight flow the same as `euler`. `eta` 1 is
    ancestral sampling, a draw from the Markov chain's posterior q(x_{k-1} | x_k, x0). One call, order 1.
    Raises InputError if eta is outside [0, 1].
    """

    eta: float

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta must be from 0 (deterministic) to 1 (ancestral), got {self.eta}")

    def __call__(self, predict: Predict, step: Step, /) -> Solved:
        """Take one step."""
        here = step.evaluate(predict)
        if self.eta == 0:
            return Solved(mix(here.x0, here.eps, step.sigma_next), here)

        # `shrink`: how much smaller noise / signal gets. `fresh`: the share of the noise that is new.
        a, s, a_next, s_next = 1 - step.sigma, step.sigma, 1 - step.sigma_next, step.sigma_next
        shrink = divide(a * s_next, a_next * s, otherwise=1.0)
        fresh = self.eta**2 * (1 - shrink.square())
        eps = (1 - fresh).sqrt() * here.eps + fresh.sqrt() * draw_noise(step.generators, step.latent)
        return Solved(mix(here.x0, eps, step.sigma_next), here)


def consistency(predict: Predict, step: Step) -> Solved:
    """Believe x0, then put all fresh noise on it (2303.01469, algorithm 1). One call.

    For denoisers that were taught to say where the path ends: to others it is their first guess, and the
    samples are too much alike. The step that ends at sigma 0 draws nothing.
    """
    here = step.evaluate(predict)
    moves = step.sigma_next < step.sigma
    if not bool((moves & (step.sigma_next > 0)).any()):
        return Solved(torch.where(moves, here.x0, step.latent), here)
    fresh = draw_noise(step.generators, step.latent)
    return Solved(torch.where(moves, mix(here.x0, fresh, step.sigma_next), step.latent), here)


ddim = Ddim(eta=0.0)
ancestral = Ddim(eta=1.0)

SOLVERS: Mapping[str, Solver] = {
    "ancestral": ancestral,
    "ddim": ddim,
    "euler": euler,
    "heun": heun,
    "adams": adams,
    "multistep": multistep,
    "unipc": unipc,
    "consistency": consistency,
}
