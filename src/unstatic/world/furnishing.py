"""Standing extras around an action that was rehearsed: in the frame, but in nobody's way."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from unstatic.world.camera import UP, CameraPath, camera_path, project
from unstatic.world.events_animals import bystander
from unstatic.world.geometry import bounding_radius, half_extents, length
from unstatic.world.spec import ObjectSpec, PropSpec, SceneSpec, Trajectory, Vector
from unstatic.world.staging import Look, place, standing, vector

CLEARANCE = 0.12  # metres between an extra and anything else
MOST_TRIES = 20


def furnish(
    rng: np.random.Generator, spec: SceneSpec, rehearsal: Trajectory, looks: list[Look]
) -> SceneSpec | None:
    """Add an extra for each look, standing where the first frame shows it; None when there is no room."""
    hero = rehearsal.positions[:1, 0].astype(np.float64)
    first = camera_path(spec.camera, hero, fps=spec.fps)
    for look in looks:
        extra = _extra(rng, spec, rehearsal, first, look)
        if extra is None:
            return None
        spec = dataclasses.replace(spec, objects=(*spec.objects, extra))
    return spec


def _extra(
    rng: np.random.Generator, spec: SceneSpec, rehearsal: Trajectory, first: CameraPath, look: Look
) -> ObjectSpec | None:
    """Find a free place beside, before or behind what the camera looks at."""
    eye, sight = first.eyes[0], first.targets[0] - first.eyes[0]
    reach = length(sight)
    forward = sight * (1.0, 1.0, 0.0)
    forward = forward / length(forward)
    right = np.cross(forward, UP)
    for _ in range(MOST_TRIES):
        facing = rng.uniform(0, 2 * math.pi)
        height, quaternion = standing(look, facing)
        x, y, _ = eye + reach * (forward * rng.uniform(0.75, 1.4) + right * rng.uniform(-0.45, 0.45))
        at = vector((x, y, height))
        spot = project(np.array([at]), first, aspect=spec.width / spec.height)
        inside = abs(spot.x[0]) < 0.85 and abs(spot.y[0]) < 0.85
        if inside and _clear(spec, rehearsal, look, at):
            if look.is_animal:
                return bystander(rng, look, at, facing)
            return place(look, at, quaternion=quaternion, role="extra")
    return None


def _clear(spec: SceneSpec, rehearsal: Trajectory, look: Look, at: Vector) -> bool:
    """Return whether nothing comes near `at`: neither the rehearsed actors, nor earlier extras, nor props."""
    actors = rehearsal.positions.shape[1]
    for index, each in enumerate(spec.objects):
        path = rehearsal.positions[:, index] if index < actors else np.array([each.position])
        room = _girth(each) + _girth(look) + CLEARANCE
        if _nearest(path, at) < room:
            return False
    return all(
        _gap_to_prop(prop, at) > _girth(look) + CLEARANCE for prop in spec.props if prop.kind != "string"
    )


def _girth(each: Look | ObjectSpec) -> float:
    """Return the radius of the circle in which it stands, whatever it may kick or leap at for an animal."""
    if each.is_animal:
        return max(half_extents(each.shape, each.size)[:2])
    return bounding_radius(each.shape, each.size, each.aspect)


def _nearest(path: Float[np.ndarray, "t 3"], at: Vector) -> float:
    return float(np.linalg.norm(path - np.array(at), axis=1).min())


def _gap_to_prop(prop: PropSpec, at: Vector) -> float:
    """Return the level distance from the circle around a box that stands or leans."""
    away = math.dist(prop.position[:2], at[:2])
    return away - math.hypot(prop.half_extents[0], prop.half_extents[1])
