"""Where things are from the camera's view: in front of, beside, in the frame at all."""

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from unstatic.world.camera import UP, axes, camera_path
from unstatic.world.geometry import half_extents, product
from unstatic.world.spec import TRAVELLING_MOTIONS, ObjectSpec, PropSpec, SceneSpec, Trajectory, Vector

Thing = ObjectSpec | PropSpec

# A gap is plain when it exceeds this many times the two half widths together.
PLAIN_GAP = 1.3
WIDEST_TURN = 0.5  # radians of the camera's between two moments at which something must be plain
LEAST_ENLARGED = 1.1  # times, for a camera to be seen to come nearer
# Events in which the hero ends up somewhere else even if no direction is plain.
TRAVELLING = ("roll", "slide", "collide", "ramp", "pass-behind", "ricochet", "shower", *TRAVELLING_MOTIONS)
SHAPES_WITH_ASPECT = ("cube", "cylinder", "cone")


def hero(spec: SceneSpec) -> ObjectSpec:
    """Return the object that the event is about."""
    return next(each for each in spec.objects if each.role == "hero")


def relation_to_hero(spec: SceneSpec, thing: Thing) -> str:
    """Return where `thing` is from the hero: "left", "right", "behind" or "front"; "" when that is not plain.

    A relation is plain if it holds during the whole camera move and along the hero's way.
    """
    actor = hero(spec)
    places = [actor.position, *_other_end(spec)]
    gap = np.concatenate(
        [product(level_views(spec), np.array(thing.position) - np.array(place)) for place in places]
    )
    reach = PLAIN_GAP * (_half_width(thing) + _half_width(actor))
    moves_anywhere = spec.event in TRAVELLING and actor.direction == ""
    moves_sideways = moves_anywhere or actor.direction in ("left", "right")
    moves_in_depth = moves_anywhere or actor.direction in ("towards", "away")

    across, along = gap[:, 0], gap[:, 1]
    if not moves_sideways and np.all(np.abs(across) > np.maximum(reach, np.abs(along))):
        return _side(across, positive="right", negative="left")
    if not moves_in_depth and np.all(np.abs(along) > np.maximum(reach, np.abs(across))):
        return _side(along, positive="behind", negative="front")
    return ""


def starts_in_frame(spec: SceneSpec, thing: Thing) -> bool:
    """Return whether the middle of `thing` lies inside the first frame."""
    camera = spec.camera
    eye, target = np.array(camera.eye), np.array(camera.target)
    own = axes(eye[None], target[None])
    offset = np.array(thing.position) - eye
    depth = float(product(offset, own.forward[0]))
    half_height = math.tan(camera.field_of_view / 2) * depth
    inside_x = abs(float(product(offset, own.right[0]))) < half_height * spec.width / spec.height
    return depth > 0 and inside_x and abs(float(product(offset, own.up[0]))) < half_height


def level_views(spec: SceneSpec) -> Float[np.ndarray, "views 2 3"]:
    """Return level unit vectors to the right and away, from the start to the end of the camera's move.

    In between there is one for every half radian that it turns, at least that in the middle.
    """
    count = 3 + (math.ceil(spec.camera.amount / WIDEST_TURN) if spec.camera.kind in ("orbit", "pan") else 0)
    path = camera_path(spec.camera, np.tile(np.array(hero(spec).position), (count, 1)), fps=spec.fps)
    right = axes(path.eyes, path.targets).right
    away = np.cross(UP, right)
    return np.stack([right, away], axis=1)


def _side(gaps: Float[np.ndarray, "places"], *, positive: str, negative: str) -> str:
    if np.all(gaps > 0):
        return positive
    return negative if np.all(gaps < 0) else ""


def _other_end(spec: SceneSpec) -> list[Vector]:
    """Return where a pendulum's hero swings to from where it begins; nothing for other events."""
    strings = [each for each in spec.props if each.kind == "string"] if spec.event == "pendulum" else []
    (x, y, z) = hero(spec).position
    return [(2 * each.position[0] - x, 2 * each.position[1] - y, z) for each in strings]


def seen_spec(spec: SceneSpec, window: Trajectory) -> SceneSpec:
    """Return a scene as a window of it shows it: what comes hardly nearer there is seen by a still camera.

    A move of a minute may make things larger by a few hundredths in three seconds.
    """
    if spec.camera.kind not in ("zoom", "dolly"):
        return spec
    distances = np.linalg.norm(window.targets - window.eyes, axis=1)
    scales = 1 / (distances * np.tan(window.fields_of_view / 2))
    if max(scales[-1] / scales[0], scales[0] / scales[-1]) >= LEAST_ENLARGED:
        return spec
    return replace(spec, camera=replace(spec.camera, kind="still", sense="", amount=0.0))


def _half_width(thing: Thing) -> float:
    if isinstance(thing, PropSpec):
        return max(thing.half_extents[:2])
    if thing.is_animal:
        return max(half_extents(thing.shape, thing.size)[:2])
    return thing.size * (max(thing.aspect, 1.0) if thing.shape in SHAPES_WITH_ASPECT else 1.0)
