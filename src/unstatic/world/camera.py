"""Camera moves as paths, and where points of the world land on the screen.

Screen coordinates: x right, y up; the frame spans [-1, 1] in both, whatever its aspect. `CameraSpec.amount`
is the whole move of the clip: radians (orbit, pan), metres (dolly, rise), the ratio of the two focal lengths
(zoom), the followed share of the hero's way (follow). Orbit and pan name the side to which the camera travels
or turns.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from unstatic.world.spec import CameraSpec, Trajectory

UP = np.array([0.0, 0.0, 1.0])
FOLLOW_SMOOTHING_S = 0.3


class CameraPath(NamedTuple):
    """Eye, target (metres) and vertical field of view (radians) at each frame."""

    eyes: Float[np.ndarray, "t 3"]
    targets: Float[np.ndarray, "t 3"]
    fields_of_view: Float[np.ndarray, "t"]


class Axes(NamedTuple):
    """The camera's own unit vectors at each frame."""

    right: Float[np.ndarray, "t 3"]
    up: Float[np.ndarray, "t 3"]
    forward: Float[np.ndarray, "t 3"]


class Projected(NamedTuple):
    """Points as the camera sees them; `scale` is screen half-heights per metre at that depth."""

    x: Float[np.ndarray, "t"]
    y: Float[np.ndarray, "t"]
    depth: Float[np.ndarray, "t"]
    scale: Float[np.ndarray, "t"]


def camera_path(camera: CameraSpec, hero: Float[np.ndarray, "t 3"], *, fps: int) -> CameraPath:
    """Run the camera's move at constant speed, one pose for each of the hero's positions."""
    frames = len(hero)
    progress = np.linspace(0.0, 1.0, frames) if frames > 1 else np.zeros(1)
    eyes = np.tile(np.array(camera.eye, dtype=np.float64), (frames, 1))
    targets = np.tile(np.array(camera.target, dtype=np.float64), (frames, 1))
    tangents = np.full(frames, np.tan(camera.field_of_view / 2))
    sign = -1.0 if camera.sense in ("left", "out", "down") else 1.0
    amount = sign * camera.amount * progress
    match camera.kind:
        case "orbit":
            eyes = targets + _turned(eyes - targets, amount)
        case "pan":
            targets = eyes + _turned(targets - eyes, -amount)
        case "dolly":
            sight = (targets - eyes) / np.linalg.norm(targets - eyes, axis=1, keepdims=True)
            eyes = eyes + sight * amount[:, None]
        case "rise":
            eyes = eyes + UP * amount[:, None]
        case "zoom":
            tangents = tangents * camera.amount ** (-sign * progress)
        case "follow":
            way = camera.amount * _followed(hero, fps)
            eyes, targets = eyes + way, targets + way
        case _:
            pass
    return CameraPath(eyes, targets, 2 * np.arctan(tangents))


def axes(eyes: Float[np.ndarray, "t 3"], targets: Float[np.ndarray, "t 3"]) -> Axes:
    """Return the right, up and forward unit vectors of a level camera."""
    forward = targets - eyes
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, UP)
    right = right / np.linalg.norm(right, axis=1, keepdims=True)
    return Axes(right, np.cross(right, forward), forward)


def project(
    points: Float[np.ndarray, "t 3"], trajectory: Trajectory | CameraPath, *, aspect: float
) -> Projected:
    """Project one point per frame; `aspect` is width over height; depths are clamped to 1 cm."""
    own = axes(trajectory.eyes.astype(np.float64), trajectory.targets.astype(np.float64))
    offset = points - trajectory.eyes
    depth = np.maximum((offset * own.forward).sum(1), 0.01)
    scale = 1.0 / (depth * np.tan(trajectory.fields_of_view / 2))
    return Projected(
        (offset * own.right).sum(1) * scale / aspect, (offset * own.up).sum(1) * scale, depth, scale
    )


def screen_travel(points: Float[np.ndarray, "t 3"], trajectory: Trajectory) -> tuple[float, float]:
    """Return metres travelled to the right and away, each step along the camera's axes at that moment.

    The camera's own motion does not count: what rolls left while the camera follows still goes left.
    """
    own = axes(trajectory.eyes.astype(np.float64), trajectory.targets.astype(np.float64))
    level = np.cross(UP, own.right)
    steps = np.diff(points.astype(np.float64), axis=0)
    return float((steps * own.right[:-1]).sum()), float((steps * level[:-1]).sum())


def _turned(vectors: Float[np.ndarray, "t 3"], angles: Float[np.ndarray, "t"]) -> Float[np.ndarray, "t 3"]:
    """Turn each vector about the vertical, counter-clockwise seen from above."""
    cos, sin = np.cos(angles), np.sin(angles)
    x, y, z = vectors.T
    return np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=1)


def _followed(hero: Float[np.ndarray, "t 3"], fps: int) -> Float[np.ndarray, "t 3"]:
    """Return the hero's level way since the first frame, as smooth as a hand would follow it."""
    way = (hero - hero[0]) * np.array([1.0, 1.0, 0.0])
    reach = math.ceil(3 * FOLLOW_SMOOTHING_S * fps)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (FOLLOW_SMOOTHING_S * fps)) ** 2)
    # What goes straight on at the ends of the clip is followed straight on, not left behind
    padded = np.pad(way, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    smooth = np.stack(
        [np.convolve(column, weights / weights.sum(), mode="valid") for column in padded.T], axis=1
    )
    return smooth - smooth[0]
