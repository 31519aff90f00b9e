"""Schedules: N + 1 noise levels from 1 (static) to 0 (clean), as data.

A schedule is a tensor; whoever samples walks it and never asks where it came from. Everything is computed in
float64 and returned as float32. Each function raises InputError if `steps` is below 1.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.diffusion.process import MarkovChain

Schedule = Float[Tensor, " levels"]


def linear(steps: int) -> Schedule:
    """Space sigma evenly: equal steps along the straight flow."""
    return (1 - _progress(steps)).float()


def shifted(steps: int, shift: float) -> Schedule:
    """Spend more steps near static: sigma -> shift sigma / (1 + (shift - 1) sigma) (2403.03206, equation 23).

    It divides signal / noise by `shift` > 0, which makes up for a larger picture; Wan 2.1 takes 3 or 5.
    """
    return _shift(1 - _progress(steps), shift).float()


def listed(levels: Sequence[float], shift: float) -> Schedule:
    """Take these levels, shifted as by `shifted`, then end at 0: what some few-step students learned."""
    return _shift(torch.tensor([*levels, 0.0], dtype=torch.float64), shift).float()


def wan(steps: int, shift: float) -> Schedule:
    """Space sigma evenly from 1 to 1/1000 and shift it, then end at 0: what Wan's weights are sampled with.

    It begins a millionth below 1, where the log-SNR is finite: second-order solvers use it (diffusers,
    `UniPCMultistepScheduler` with `use_flow_sigmas`). `shift` is as for `shifted`.
    """
    sigmas = _shift(1 - _progress(steps) * (1 - 1 / 1000), shift).clamp(max=1 - 1e-6)
    return torch.cat([sigmas[:-1], sigmas.new_zeros(1)]).float()


def cosine(steps: int) -> Schedule:
    """Space the chain's angle evenly: x_k = cos(angle) x0 + sin(angle) eps (2202.00512)."""
    angle = (1 - _progress(steps)) * math.pi / 2
    return _with_exact_ends(angle.sin() / (angle.sin() + angle.cos()))


def karras(steps: int, *, rho: float = 7.0, largest: float = 80.0, smallest: float = 0.002) -> Schedule:
    """Space the rho-th root of noise / signal evenly (2206.00364, equation 5), ends replaced by 1 and 0."""
    start, stop = largest ** (1 / rho), smallest ** (1 / rho)
    ratio = (start + _progress(steps) * (stop - start)) ** rho
    return _with_exact_ends(ratio / (1 + ratio))


def log_snr(steps: int, *, largest: float = 0.99, smallest: float = 0.01) -> Schedule:
    """Space the log-SNR evenly between two sigmas (2206.00927), ends replaced by 1 and 0."""
    if not 0 < smallest < largest < 1:
        raise InputError(f"need 0 < smallest < largest < 1, got smallest {smallest} and largest {largest}")
    start, stop = math.log(largest / (1 - largest)), math.log(smallest / (1 - smallest))
    return _with_exact_ends(torch.sigmoid(start + _progress(steps) * (stop - start)))


def from_chain(chain: MarkovChain, steps: int) -> Schedule:
    """Visit `steps` evenly spaced levels of the chain from its last one down, then 0.

    The one schedule here that may start below 1: a chain's last level is static only if its terminal
    signal-to-noise ratio is zero, and its model knows nothing beyond.
    """
    return chain.strided(steps).sigmas.flip(0).float()


def _shift(sigma: Schedule, shift: float) -> Schedule:
    if not (math.isfinite(shift) and shift > 0):
        raise InputError(f"the schedule's shift must be a positive number, got {shift}; 1 shifts nothing")
    return shift * sigma / (1 + (shift - 1) * sigma)


def _progress(steps: int) -> Schedule:
    """Return 0 to 1 in `steps` equal parts."""
    if steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}")
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def _with_exact_ends(sigmas: Schedule) -> Schedule:
    return torch.cat([torch.ones(1), sigmas[1:-1].float(), torch.zeros(1)])
