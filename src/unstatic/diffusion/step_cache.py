"""Step caching: once a film is laid out, most answers of the denoiser can be told from the last two it gave.

Between neighbouring levels the x0 that it points at moves slowly, along a line: after the first quarter of
the steps, where every answer decides what is to be seen, it is asked at one of `every` steps, and between
them x0 is extrapolated in sigma. A `Predict` comes out again, so solvers and guidance know nothing of it.
What is saved are whole calls, all passes of guidance; what it costs is measured in
`benchmarks/step_cache.py`.

Kin: TeaCache (2411.19108) and EasyCache (2507.02860) keep the last residual as it is and decide by
thresholds when to ask again. On `nano` a line halved the error of a constant, and thresholds were not needed.
"""

import math
from dataclasses import dataclass

from unstatic.core.errors import InputError
from unstatic.diffusion.process import Latent, Predict, Sigma, divide
from unstatic.diffusion.schedule import Schedule
from unstatic.diffusion.solver import Evaluation

SETTLING = 1 / 4  # of the steps, where all are asked: with fewer some films become others
LEAST = 3  # steps: the first may be shorter than the others, which is no base for a line
MAX_EVERY = 10
LEAST_STEPS = 20  # of a schedule: with fewer, films of as many calls without a cache are nearer
SAME = 1e-6  # levels that differ by less are one


@dataclass(frozen=True, slots=True)
class StepCache:
    """Ask at one of `every` steps; 1 is all of them.

    Below the level `boundary` another network answers: what the one before said does not count there.
    """

    every: int
    boundary: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.every <= MAX_EVERY:
            raise InputError(f"the step cache is {self.every}: it must be from 1 (none) to {MAX_EVERY}")

    def is_asked(self, step: int, steps: int) -> bool:
        """Tell whether the denoiser is asked at step 0, ..., `steps` - 1; it always is at the last."""
        settling = max(LEAST, int(SETTLING * steps))
        return step < settling or (step - settling) % self.every == self.every - 1 or step == steps - 1

    def around(self, predict: Predict, sigmas: Schedule) -> Predict:
        """Return a denoiser of one run down `sigmas`, that asks `predict` where it must."""
        if self.every == 1:
            return predict
        known: list[Evaluation] = []  # at the last two levels, newest first
        step, steps, before = -1, 0, math.inf

        def answer(latent: Latent, sigma: Sigma) -> Latent:
            nonlocal step, steps, before
            level = float(sigma.max())
            if before == math.inf:  # a run may begin between two levels of the schedule
                steps = 1 + int((sigmas[:-1] < level - SAME).sum())
            if level < before - SAME:  # some solvers ask twice at a level
                step, before = step + 1, level
            if self.boundary is not None and known and level < self.boundary <= float(known[0].sigma.max()):
                known.clear()
            if len(known) == 2 and not self.is_asked(step, steps):
                return _on_the_line(known[0], known[1], latent, sigma)
            velocity = predict(latent, sigma)
            again = bool(known) and float(known[0].sigma.max()) - level < SAME
            known[:] = [Evaluation(latent, sigma, velocity), *(known[1:] if again else known[:1])]
            return velocity

        return answer


def _on_the_line(last: Evaluation, before: Evaluation, latent: Latent, sigma: Sigma) -> Latent:
    """Return the velocity that points from here to where a line through two x0 leads; 0 where clean."""
    further = divide(sigma - last.sigma, last.sigma - before.sigma, otherwise=0.0)
    x0 = last.x0 + further * (last.x0 - before.x0)
    return divide(latent - x0, sigma.expand_as(latent), otherwise=0.0)


ALL_STEPS = StepCache(1)
