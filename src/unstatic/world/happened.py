"""Whether a simulated clip shows what its spec says: one check per event, on the trajectory alone."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from unstatic.world.camera import screen_travel
from unstatic.world.geometry import product, rotation_matrices
from unstatic.world.physics import hero_index
from unstatic.world.spec import (
    STAYING_MOTIONS,
    TRAVELLING_MOTIONS,
    ObjectSpec,
    Quaternion,
    SceneSpec,
    Trajectory,
)
from unstatic.world.staging import LONGEST_ACTION_S, lowest
from unstatic.world.visibility import in_frame, in_the_open

FULL_ACTION_S = 4.0  # shorter clips need fewer bounces, swings and turns

Series = Float[np.ndarray, "t"]
Verdict = bool | np.bool


def happened(spec: SceneSpec, trajectory: Trajectory) -> bool:
    """Return whether the event of `spec` visibly takes place in `trajectory`."""
    return bool(_CHECKS[spec.event](spec, trajectory))


def screen_direction(spec: SceneSpec, trajectory: Trajectory, index: int) -> str:
    """Return where an object goes on screen, as in `ObjectSpec`.

    "" for less than its own height, and for what goes nowhere or everywhere.
    """
    across, away = screen_travel(trajectory.positions[:, index], trajectory)
    if (
        spec.event in ("pendulum", "ricochet", "shower")
        or max(abs(across), abs(away)) < 2 * spec.objects[index].size
    ):
        return ""
    if abs(across) >= abs(away):
        return "right" if across > 0 else "left"
    return "away" if away > 0 else "towards"


def _rest(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    moved = np.linalg.norm(trajectory.positions - trajectory.positions[0], axis=2).max()
    return moved < 0.03 and _tilts(trajectory, hero_index(spec)).max() < 0.1


def _fall(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    gaps = _gaps(spec, trajectory)
    landed = np.flatnonzero(gaps < 0.05)
    high = gaps[0] > 1.5 * _hero(spec).size
    return high and len(landed) > 0 and gaps[landed[0] :].max() < 0.3 * gaps[0]


def _bounce(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    needed = (3 if _hero(spec).shape == "ball" else 2) * _completeness(spec)
    return _hops(_gaps(spec, trajectory), 0.15 * _hero(spec).size) >= max(1, round(needed))


def _jump(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    gaps = _gaps(spec, trajectory)
    top = int(gaps.argmax())
    return gaps[0] < 0.05 and gaps[top] > 1.2 * _hero(spec).size and gaps[top:].min() < 0.1


def _roll(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    hero, index = _hero(spec), hero_index(spec)
    way = _ways(trajectory, index)[-1]
    return (
        way > 2.5 * hero.size
        and _turns(trajectory, index).sum() > 0.6 * way / _rolling_radius(hero)
        and _gaps(spec, trajectory).max() < 0.25 * hero.size
        and _level_axle(trajectory, index, hero.shape)
        and _moving_share(trajectory, index, spec.fps) > 0.6
        and _still_moves(spec, trajectory, index)
    )


def _slide(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    index = hero_index(spec)
    return (
        _ways(trajectory, index)[-1] > 2 * _hero(spec).size
        and _tilts(trajectory, index).max() < 0.25
        and _moving_share(trajectory, index, spec.fps) > 0.4
    )


def _spin(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    index, half_a_second = hero_index(spec), spec.fps // 2
    rates = np.abs(_vertical_turns(trajectory, index))
    return (
        _ways(trajectory, index).max() < _hero(spec).size
        and _tilts(trajectory, index).max() < 0.35
        and rates.sum() > 2 * math.pi * _completeness(spec)
        and rates[-half_a_second:].mean() > 0.3 * rates[:half_a_second].mean()
    )


def _topple(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    tilts = _tilts(trajectory, hero_index(spec))
    standing_s = (tilts < 0.4).sum() / spec.fps
    return tilts[0] < 0.1 and tilts[-1] > 1.1 and standing_s >= 0.25


def _collide(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    partner = next(index for index, each in enumerate(spec.objects) if each.role == "partner")
    pushed = np.linalg.norm(trajectory.positions[:, partner] - trajectory.positions[0, partner], axis=1)
    waits = pushed[: max(spec.fps // 8, 1)].max() < 0.02
    return waits and pushed.max() > spec.objects[partner].size * _completeness(spec)


def _pendulum(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    pivot = next(prop for prop in spec.props if prop.kind == "string").position
    out = trajectory.positions[:, hero_index(spec), :2] - np.array(pivot[:2])
    crossings = np.count_nonzero(np.diff(np.sign(product(out, out[0]))))
    return crossings >= max(1, round(3 * _completeness(spec)))


def _ramp(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    index, size = hero_index(spec), _hero(spec).size
    sunk = trajectory.positions[0, index, 2] - trajectory.positions[-1, index, 2]
    need = _completeness(spec)
    return sunk > 0.5 * size * need and _ways(trajectory, index)[-1] > 3 * size * need


def _pass_behind(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    index = hero_index(spec)
    bare = in_the_open(spec, trajectory, index)
    inside = in_frame(spec, trajectory, index) > 0.9
    hidden = np.flatnonzero((bare < 0.45) & inside)
    shown = np.flatnonzero((bare > 0.9) & inside)
    return len(hidden) > 0 and len(shown) > 0 and shown[0] < hidden[0] and shown[-1] > hidden[-1]


def _ricochet(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    """Everybody is as fast at the end as at first, and changes course off the walls."""
    steps = np.diff(trajectory.positions.astype(np.float64), axis=0) * spec.fps
    speeds = np.linalg.norm(steps, axis=2)
    second = spec.fps
    courses = (np.diff(np.sign(steps[:, 0, :2]), axis=0) != 0).sum()
    kept = speeds[-second:].mean() > 0.6 * speeds[:second].mean()
    return kept and courses >= max(1, round(2 * _completeness(spec))) and speeds.max() < 4.0


def _shower(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    """Something is in the air in every part of the clip, and the hero lands."""
    heights = trajectory.positions[:, :, 2]
    falling = (np.diff(heights, axis=0) < -0.05).any(1)
    parts = np.array_split(falling, max(1, spec.frames // (2 * spec.fps)))
    return all(part.any() for part in parts) and _gaps(spec, trajectory).min() < 0.05


def _travels(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    return _ways(trajectory, hero_index(spec))[-1] > 1.5 * _hero(spec).size


def _stays(spec: SceneSpec, trajectory: Trajectory) -> Verdict:
    return _ways(trajectory, hero_index(spec)).max() < 0.01


def _hero(spec: SceneSpec) -> ObjectSpec:
    return spec.objects[hero_index(spec)]


def _completeness(spec: SceneSpec) -> float:
    """Return how much of an event a clip of this length can show, from 0 to 1."""
    return min(1.0, spec.frames / spec.fps / FULL_ACTION_S)


def _gaps(spec: SceneSpec, trajectory: Trajectory) -> Series:
    """Return the metres of air below the hero at each frame."""
    index = hero_index(spec)
    below = [lowest(spec.objects[index], _quaternion(row)) for row in trajectory.quaternions[:, index]]
    return trajectory.positions[:, index, 2] - np.array(below)


def _quaternion(row: Float[np.ndarray, "4"]) -> Quaternion:
    w, x, y, z = row.tolist()
    return (w, x, y, z)


def _hops(gaps: Series, least: float) -> int:
    """Count how often the hero, having come down, rises again by `least` metres."""
    hops, turning_point, falling = 0, float(gaps[0]), True
    for gap in gaps.tolist():
        if falling:
            turning_point = min(turning_point, gap)
            if gap > turning_point + least:
                hops, turning_point, falling = hops + 1, gap, False
        else:
            turning_point = max(turning_point, gap)
            if gap < turning_point - least:
                turning_point, falling = gap, True
    return hops


def _ways(trajectory: Trajectory, index: int) -> Series:
    """Return the level distance from the start."""
    level = trajectory.positions[:, index, :2]
    return np.linalg.norm(level - level[0], axis=1)


def _moving_share(trajectory: Trajectory, index: int, fps: int) -> float:
    """Return the share of the first seconds in which it has more than a fifth of its greatest speed."""
    path = trajectory.positions[: round(LONGEST_ACTION_S * fps), index]
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    return float((steps > 0.2 * steps.max()).mean())


def _still_moves(spec: SceneSpec, trajectory: Trajectory, index: int) -> bool:
    """Return whether it goes its own size in the last second, which only long clips ask for."""
    last = trajectory.positions[-spec.fps :, index]
    is_long = spec.frames / spec.fps > 1.5 * LONGEST_ACTION_S
    return not is_long or bool(np.linalg.norm(last[-1] - last[0]) > 0.3 * spec.objects[index].size)


def _matrices(trajectory: Trajectory, index: int) -> Float[np.ndarray, "t 3 3"]:
    return rotation_matrices(trajectory.quaternions[:, index].astype(np.float64))


def _turns(trajectory: Trajectory, index: int) -> Series:
    """Return the radians turned from each frame to the next, about whatever axis."""
    q = trajectory.quaternions[:, index].astype(np.float64)
    return 2 * np.arccos(np.clip(np.abs((q[1:] * q[:-1]).sum(1)), 0.0, 1.0))


def _vertical_turns(trajectory: Trajectory, index: int) -> Series:
    """Return the radians that an axis which starts level turns about the vertical, frame by frame."""
    matrices = _matrices(trajectory, index)
    lying = abs(matrices[0, 2, 2]) < 0.5
    arm = matrices[:, :2, 2 if lying else 0]
    return np.diff(np.unwrap(np.arctan2(arm[:, 1], arm[:, 0])))


def _tilts(trajectory: Trajectory, index: int) -> Series:
    """Return the radians by which the z axis leaves the upright, or the level if it lay at first."""
    rise = np.clip(_matrices(trajectory, index)[:, 2, 2], -1.0, 1.0)
    return np.arccos(rise) if abs(rise[0]) > 0.5 else np.abs(np.arcsin(rise))


def _level_axle(trajectory: Trajectory, index: int, shape: str) -> bool:
    """Return whether a rolling object stays on its rim: its axle within 30 degrees of level."""
    rise = _matrices(trajectory, index)[:, 2, 1 if shape == "ring" else 2]
    return shape == "ball" or bool(np.abs(rise).max() < 0.5)


def _rolling_radius(each: ObjectSpec) -> float:
    return each.size if each.shape in ("ball", "ring") else each.aspect * each.size


_CHECKS: dict[str, Callable[[SceneSpec, Trajectory], Verdict]] = {
    "rest": _rest,
    "fall": _fall,
    "bounce": _bounce,
    "roll": _roll,
    "slide": _slide,
    "spin": _spin,
    "topple": _topple,
    "collide": _collide,
    "pendulum": _pendulum,
    "ramp": _ramp,
    "pass-behind": _pass_behind,
    "jump": _jump,
    "ricochet": _ricochet,
    "shower": _shower,
    **dict.fromkeys(TRAVELLING_MOTIONS, _travels),
    **dict.fromkeys(STAYING_MOTIONS, _stays),
}
