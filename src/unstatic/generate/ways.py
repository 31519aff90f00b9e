"""How static becomes a video: the solver, its steps and what guides them, asked for or the model's own."""

import math
from typing import TYPE_CHECKING, NamedTuple

from unstatic.core.errors import InputError
from unstatic.core.processes import this_process
from unstatic.diffusion.solver import SOLVERS
from unstatic.diffusion.step_cache import LEAST_STEPS, MAX_EVERY
from unstatic.models.manifest import Manifest

if TYPE_CHECKING:
    from unstatic.generate.request import Request

MAX_STEPS = 1_000
MAX_GUIDANCE = 30.0
MAX_SKIP_LAYER_GUIDANCE = 10.0
# The solver of a model that learned to take few steps
DISTILLED = "distilled"


class Way(NamedTuple):
    """How static becomes a video."""

    solver: str
    steps: int
    guidance: float | int
    skip_layer_guidance: float | int
    negative: str
    left_open: frozenset[str]


def choose_way(request: "Request", manifest: Manifest) -> Way:
    """Return what was asked for or the model's own choice. Raises InputError for what it cannot do."""
    defaults, few = manifest.defaults, manifest.distilled
    solver, steps = request.solver, request.steps
    if solver is None:
        solver = DISTILLED if few else defaults.solver
    if steps is None:
        steps = few.steps if few and solver == DISTILLED else defaults.steps
    told = few.guidance if few and solver == DISTILLED else None
    own = defaults.guidance if told is None else told
    guidance = own if request.guidance is None else request.guidance
    check_range("steps", steps, 1, MAX_STEPS)
    check_range("guidance", guidance, 0.0, MAX_GUIDANCE)
    _check_solver(solver, guidance, manifest)
    if defaults.levels and steps != len(defaults.levels):
        raise InputError(
            f"steps is {steps}: {manifest.name} learned {len(defaults.levels)} levels, leave steps out"
        )
    _check_step_cache(request.step_cache, solver, steps, manifest)
    if request.guidance_interval is not None:
        _check_guidance_interval(request.guidance_interval, solver, guidance, request.step_cache, manifest)
    skip_layer = _skip_layer_guidance(request.skip_layer_guidance, manifest)
    negative = defaults.negative if request.negative is None else request.negative
    if request.negative and (solver == DISTILLED or guidance == 1):
        raise InputError(
            f"a negative prompt needs two passes: take solver {defaults.solver}, and guidance above 1"
        )
    is_open = {
        "steps": request.steps is None,
        "guidance": request.guidance is None,
        "wording": request.expand and request.rewriter is None,
    }
    left_open = frozenset(name for name in is_open if is_open[name] and manifest.engine == "remote")
    return Way(solver, steps, guidance, skip_layer, negative, left_open)


def _skip_layer_guidance(asked: float | int | None, manifest: Manifest) -> float | int:
    """Return what was asked for, or the model's own choice. Raises InputError for what cannot be had."""
    amount = manifest.defaults.skip_layer_guidance if asked is None else asked
    check_range("skip_layer_guidance", amount, 0.0, MAX_SKIP_LAYER_GUIDANCE)
    if amount and manifest.engine != "native":
        raise InputError(
            f"skip_layer_guidance is {amount:g}: {manifest.name} is not run by the native engine,"
            " leave it out"
        )
    return amount


def _check_solver(solver: str, guidance: float | int, manifest: Manifest) -> None:
    """Raise InputError for a solver there is not, or one that was not taught what it is asked for."""
    few = manifest.distilled
    if manifest.engine != "native":
        if solver != manifest.defaults.solver:
            raise InputError(f"{manifest.name} has a solver of its own: leave solver {solver!r} out")
        return
    known = [DISTILLED, *SOLVERS] if few else [*SOLVERS]
    if solver not in known:
        raise InputError(f"solver {solver!r} is unknown: take one of {', '.join(known)}")
    if few and solver == DISTILLED and not 1 <= guidance <= few.max_guidance:
        other = f"take solver {manifest.defaults.solver} for any other"
        raise InputError(
            f"guidance is {guidance}: {manifest.name} in few steps knows 1 to {few.max_guidance:g}; {other}"
        )


def _check_step_cache(every: int, solver: str, steps: int, manifest: Manifest) -> None:
    """Raise InputError for steps left out where none can be spared."""
    check_range("step_cache", every, 1, MAX_EVERY)
    if every > 1 and manifest.engine != "native":
        raise InputError(f"{manifest.name} is not run by the native engine: leave the step cache out")
    if every > 1 and solver == "consistency":
        raise InputError(f"the few steps of {solver} are all needed: leave the step cache out")
    if every > 1 and solver == DISTILLED:
        raise InputError(
            f"the few steps of {solver} are all needed: leave the step cache out, or take"
            f" solver {manifest.defaults.solver}"
        )
    if every > 1 and steps < LEAST_STEPS:
        raise InputError(f"steps is {steps}: with a step cache take {LEAST_STEPS} or more, or leave it out")


def _check_guidance_interval(
    interval: tuple[float | int, float | int],
    solver: str,
    guidance: float | int,
    step_cache: int,
    manifest: Manifest,
) -> None:
    """Raise InputError for what is no part of the levels, and where there is no second pass to spare."""
    low, high = interval
    said, fix = f"guidance_interval is {low:g}:{high:g}", "leave it out"
    if not 0 <= low < high <= 1:  # true for NaN too
        raise InputError(
            f"{said}: give two levels from 0 (clean) to 1 (static), the lower first, like 0.2:0.8"
        )
    if manifest.engine != "native":
        raise InputError(f"{said}: {manifest.name} is not run by the native engine, {fix}")
    if solver == DISTILLED:
        raise InputError(
            f"{said}: {solver} has no second pass, {fix} or take solver {manifest.defaults.solver}"
        )
    if guidance == 1:
        raise InputError(f"{said}: there is no guidance, {fix} or take guidance above 1")
    if step_cache > 1:
        raise InputError(f"{said}: a step cache draws lines across its ends, leave one of the two out")
    if this_process().size > 1:
        raise InputError(f"{said}: several processes share both passes, {fix} or start one without torchrun")


def check_range(name: str, value: float | int, low: float | int, high: float | int) -> None:
    """Raise InputError for a number out of its range."""
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"{name} is {value}: it must be between {low:g} and {high:g}")
