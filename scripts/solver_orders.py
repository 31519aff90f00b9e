"""How fast the solvers converge, measured against the ideal denoiser, whose path is known exactly.

    python scripts/solver_orders.py

If the data are n points, each blurred by an isotropic Gaussian of standard deviation `spread`, then the noisy
marginal at every sigma is a mixture of n Gaussians, and the denoiser that training would find, given all time
and capacity, can be written down. With a single point so can the path that solvers approximate: the error of
a run is exact, and falls as steps^-p. The table has p between 128 and 256 steps, in float64, for a run
between sigma 0.95 and 0.05 with even steps in log-SNR, and for a whole run from 1 to 0 with even steps.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from unstatic.diffusion.condition import LatentState
from unstatic.diffusion.process import Latent, Sigma
from unstatic.diffusion.sampling import sample_to_end
from unstatic.diffusion.schedule import Schedule, linear
from unstatic.diffusion.solver import SOLVERS, Solver, Step

STEPS = 128


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class IdealDenoiser:
    """The optimal `Predict` for data drawn evenly from `points`, each blurred by `spread` >= 0."""

    points: Float[Tensor, "n c t h w"]
    spread: float = 0.0

    def __call__(self, latent: Latent, sigma: Sigma, /) -> Latent:
        """Return E[eps - x0 | latent]."""
        signal, variance = (1 - sigma)[:, None], self._variance(sigma)[:, None]
        offset = latent[:, None] - signal * self.points  # b n c t h w
        log_likelihood = -(offset.square() / (2 * variance)).sum(dim=(2, 3, 4, 5))  # b n
        responsibility = torch.softmax(log_likelihood, dim=1)

        # Given its point, (x0, eps, latent) is jointly Gaussian: both regress on the offset.
        slope = (sigma[:, None] - signal * self.spread**2) / variance
        return einsum(responsibility, slope * offset - self.points, "b n, b n c t h w -> b c t h w")

    def trajectory(self, noise: Latent, sigma: Sigma) -> Latent:
        """Return where the path that starts in `noise` is at `sigma`; for a single point only."""
        (point,) = self.points
        return (1 - sigma) * point + self._variance(sigma).sqrt() * noise

    def _variance(self, sigma: Sigma) -> Sigma:
        """Return the variance of a latent around its point; kept positive where all is clean and sharp."""
        return (((1 - sigma) * self.spread).square() + sigma.square()).clamp(min=1e-24)


# -------------------------------------------------------------------------------------- orders of convergence


def convergence_order(solver: Solver, schedule: Callable[[int], Schedule], steps: int) -> float:
    """Measure p in error ~ steps^-p from `steps` to 2 `steps` steps, in float64, against the exact path.

    The schedule may start below 1 and end above 0: the run starts on the exact path at its first sigma and is
    compared with it at its last.
    """
    ideal = IdealDenoiser(points=_latent(0.3, -1.2, 0.8), spread=0.5)
    noise = _latent(1.1, -0.4, -1.7)

    def error(sigmas: Schedule) -> float:
        first, last = rearrange(sigmas[[0, -1]].double(), "ends -> ends 1 1 1 1 1")
        start = replace(LatentState.static(noise), latent=ideal.trajectory(noise, first), sigma=first)
        end = sample_to_end(start, sigmas, ideal, solver)
        return float((end.latent - ideal.trajectory(noise, last)).abs().max())

    return math.log2(error(schedule(steps)) / error(schedule(2 * steps)))


def weak_order(solver: Solver, schedule: Callable[[int], Schedule], steps: int) -> float:
    """Measure p in |variance of samples - variance of data| ~ steps^-p, exactly and without sampling.

    For one-step solvers. A stochastic one follows no path, but on Gaussian data of mean 0 its steps are
    linear, x' = scale x + gain n, and take the variance of all samples to scale^2 variance + gain^2.
    """
    ideal = IdealDenoiser(points=_latent(0.0), spread=0.5)

    def error(sigmas: Schedule) -> float:
        variance = 1.0
        for sigma, sigma_next in pairwise(sigmas.double()):
            scale, gain = _linear_step(solver, ideal, sigma, sigma_next)
            variance = scale**2 * variance + gain**2
        return abs(variance - ideal.spread**2)

    return math.log2(error(schedule(steps)) / error(schedule(2 * steps)))


def _linear_step(
    solver: Solver, ideal: IdealDenoiser, sigma: Float[Tensor, ""], sigma_next: Float[Tensor, ""]
) -> tuple[float, float]:
    """Read scale and gain off two steps with the same noise, one from x = 0 and one from x = 1."""
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    drawn = float(torch.randn(1, generator=torch.Generator().manual_seed(0)))
    latent = rearrange(torch.tensor([0.0, 1.0], dtype=torch.float64), "b -> b 1 1 1 1")
    step = Step(latent, sigma.expand(2, 1, 1, 1, 1), sigma_next.expand(2, 1, 1, 1, 1), None, generators)
    at_zero, at_one = (float(each) for each in solver(ideal, step).latent.flatten())
    return at_one - at_zero, at_zero / drawn


def _latent(*values: float) -> Latent:
    return rearrange(torch.tensor(values, dtype=torch.float64), "w -> 1 1 1 1 w")


def even_in_log_snr(steps: int) -> Schedule:
    """Space the levels from 0.95 to 0.05 evenly in log-SNR: away from the ends, where it is infinite."""
    edge = math.log(0.95 / 0.05)
    return torch.sigmoid(torch.linspace(edge, -edge, steps + 1, dtype=torch.float64))


def main() -> None:
    """Print the orders of all solvers as the rows of a table."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    for name, solver in SOLVERS.items():
        if name in ("ancestral", "consistency"):
            print(f"| `{name}` | | {weak_order(solver, linear, STEPS):.2f} (weak) |")
        else:
            orders = [convergence_order(solver, schedule, STEPS) for schedule in (even_in_log_snr, linear)]
            print(f"| `{name}` | {orders[0]:.2f} | {orders[1]:.2f} |")


if __name__ == "__main__":
    main()
