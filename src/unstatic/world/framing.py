"""Placing the camera so that the action fills the frame."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unstatic.world.camera import UP, CameraPath, project
from unstatic.world.geometry import length
from unstatic.world.spec import CameraSpec
from unstatic.world.staging import vector

LARGEST_SHARE = 0.55  # of the frame's height
MARGIN = 0.94  # of the frame may be filled by the action
LOWEST_EYE = 0.35  # metres above the floor

Point = Float[np.ndarray, "3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """What to film: `points` with a `radius` around each, from direction `view`, for so many seconds.

    `view` is the way the camera looks (radians, counter-clockwise from +x); `hero_size` is the hero's half
    height as it lies; `aspect` is the frame's width over its height; the hero fills at least `smallest_share`
    of that height.
    """

    points: Float[np.ndarray, "p 3"]
    radius: float
    hero_size: float
    view: float
    aspect: float
    smallest_share: float
    seconds: float


def frame_shot(rng: np.random.Generator, shot: Shot, kind: str) -> CameraSpec:
    """Draw a camera of `kind` that has the points in its frame, the horizon above the middle.

    When the hero would be too small in it, the camera comes nearer than the points ask.
    """
    lens = rng.uniform(0.62, 0.85)
    horizon = rng.uniform(0.3, 0.75)
    tilt = math.atan(horizon * math.tan(lens / 2))
    level = math.cos(tilt)
    forward = np.array([math.cos(shot.view) * level, math.sin(shot.view) * level, -math.sin(tilt)])
    target, distance = _fit(shot, forward, lens)

    # Neither too close, nor too far to see the hero, nor under the floor
    metres = shot.hero_size / math.tan(lens / 2)
    nearest = metres / rng.uniform(0.3, LARGEST_SHARE)
    farthest = metres / (1.04 * shot.smallest_share)
    eye = target - forward * min(max(distance * rng.uniform(1.0, 1.2), nearest), farthest)
    eye[2] = max(eye[2], LOWEST_EYE)
    return _moving(rng, kind, eye, target, lens, shot.seconds)


def _fit(shot: Shot, forward: Point, lens: float) -> tuple[Point, float]:
    """Find what to look at, and from what distance, so that every point just lies inside the frame."""
    right = np.cross(forward, UP)
    right = right / length(right)
    up = np.cross(right, forward)
    target = (shot.points.min(0) + shot.points.max(0)) / 2
    distance = shot.radius / math.tan(lens / 2)
    for _ in range(12):
        spot = project(shot.points, _still(target - forward * distance, target, lens), aspect=shot.aspect)
        reach = shot.radius * spot.scale
        left, most_right = (spot.x - reach / shot.aspect).min(), (spot.x + reach / shot.aspect).max()
        bottom, top = (spot.y - reach).min(), (spot.y + reach).max()

        # Centre what is seen, then come as near as it allows; perspective makes both approximate
        metres = distance * math.tan(lens / 2)
        target = target + right * (left + most_right) / 2 * metres * shot.aspect
        target = target + up * (bottom + top) / 2 * metres
        fill = max(most_right - left, top - bottom) / 2 / MARGIN
        distance = distance * (1 + 0.7 * (fill - 1))
    return target, distance


def _still(eye: Point, target: Point, lens: float) -> CameraPath:
    """Return a path of one pose, which broadcasts over any number of points."""
    return CameraPath(eye[None], target[None], np.array([lens]))


def _moving(
    rng: np.random.Generator, kind: str, eye: Point, target: Point, lens: float, seconds: float
) -> CameraSpec:
    """Draw a move that begins half of it early: the middle of the clip has the framing that was fitted."""
    sense, amount = "", 0.0
    sight = eye - target
    distance = length(sight)
    match kind:
        case "orbit":
            sense, amount = str(rng.choice(("left", "right"))), rng.uniform(0.12, 0.32) * seconds
            eye = target + _swung(sight, amount / 2 if sense == "left" else -amount / 2)
        case "pan":
            sense, amount = str(rng.choice(("left", "right"))), rng.uniform(0.15, 0.35)
            target = eye + _swung(-sight, -amount / 2 if sense == "left" else amount / 2)
        case "dolly":
            sense, amount = str(rng.choice(("in", "out"))), distance * rng.uniform(0.25, 0.45)
            eye = eye + sight / distance * (amount / 2 if sense == "in" else -amount / 2)
        case "zoom":
            sense, amount = str(rng.choice(("in", "out"))), rng.uniform(1.3, 1.7)
            factor = math.sqrt(amount if sense == "in" else 1 / amount)
            lens = 2 * math.atan(math.tan(lens / 2) * factor)
        case "rise":
            sense, amount = str(rng.choice(("up", "down"))), distance * rng.uniform(0.2, 0.35)
            low = max(float(eye[2]) - amount / 2, LOWEST_EYE)
            eye = np.array([eye[0], eye[1], low if sense == "up" else low + amount])
        case "follow":
            amount = 1.0
        case _:
            assert kind == "still", kind
    return CameraSpec(
        kind=kind,
        sense=sense,
        eye=vector(eye),
        target=vector(target),
        field_of_view=lens,
        amount=float(amount),
    )


def _swung(vector: Point, angle: float) -> Point:
    """Turn about the vertical, counter-clockwise seen from above."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1], vector[2]])
