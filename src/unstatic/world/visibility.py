"""What the camera sees of an object: in the frame or not, hidden by others or not, and how large."""

import math

import numpy as np
from jaxtyping import Bool, Float

from unstatic.world.camera import project
from unstatic.world.geometry import rotation_matrices
from unstatic.world.spec import SceneSpec, Trajectory
from unstatic.world.staging import apparent_size

Rays = Float[np.ndarray, "t k 3"]
Shares = Float[np.ndarray, "t"]


def in_frame(spec: SceneSpec, trajectory: Trajectory, index: int) -> Shares:
    """Return for each frame the share of object `index` that is inside the frame, hidden or not."""
    return _inside(spec, trajectory, _disc(spec, trajectory, index)).mean(1)


def in_the_open(spec: SceneSpec, trajectory: Trajectory, index: int) -> Shares:
    """Return for each frame the share of object `index` that nothing hides, inside the frame or not."""
    return _open(spec, trajectory, index, _disc(spec, trajectory, index)).mean(1)


def in_view(spec: SceneSpec, trajectory: Trajectory, index: int) -> Shares:
    """Return for each frame the share of object `index` that is inside the frame and not hidden.

    Estimated, like the other shares, on points of a disc within the object: spheres hide for objects, boxes
    for props.
    """
    points = _disc(spec, trajectory, index)
    return (_inside(spec, trajectory, points) & _open(spec, trajectory, index, points)).mean(1)


def heights(spec: SceneSpec, trajectory: Trajectory, index: int) -> Shares:
    """Return for each frame the object's apparent height as a share of the frame's."""
    spot = project(trajectory.positions[:, index], trajectory, aspect=spec.width / spec.height)
    return apparent_size(spec.objects[index]) * spot.scale


def _disc(spec: SceneSpec, trajectory: Trajectory, index: int) -> Rays:
    """Return points of a disc that faces the eye: the centre, and eight at three quarters of the size."""
    centre = trajectory.positions[:, index].astype(np.float64)
    sight = centre - trajectory.eyes
    right = np.cross(sight, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    up = np.cross(right, sight)
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    size, angles = 0.75 * spec.objects[index].size, np.arange(8) * (math.pi / 4)
    around = [centre + size * (math.cos(angle) * right + math.sin(angle) * up) for angle in angles]
    return np.stack([centre, *around], axis=1)


def _inside(spec: SceneSpec, trajectory: Trajectory, points: Rays) -> Bool[np.ndarray, "t k"]:
    """Return which points the frame shows."""
    aspect = spec.width / spec.height
    spots = [project(points[:, k], trajectory, aspect=aspect) for k in range(points.shape[1])]
    return np.stack([(abs(s.x) < 1) & (abs(s.y) < 1) & (s.depth > 0.1) for s in spots], axis=1)


def _open(spec: SceneSpec, trajectory: Trajectory, index: int, points: Rays) -> Bool[np.ndarray, "t k"]:
    """Return which points nothing else hides from the eye."""
    rays = points - trajectory.eyes[:, None]
    seen = np.ones(rays.shape[:2], dtype=bool)
    for other, each in enumerate(spec.objects):
        if other != index:
            centre = trajectory.positions[:, other] - trajectory.eyes
            seen &= ~_sphere_hides(rays, centre, 0.9 * each.size)
    for prop in spec.props:
        if prop.kind != "string":
            turn = rotation_matrices(np.array(prop.quaternion))
            start = _turned(trajectory.eyes - np.array(prop.position), turn)
            seen &= ~_box_hides(_turned(rays, turn), start, np.array(prop.half_extents))
    return seen


def _sphere_hides(rays: Rays, centre: Float[np.ndarray, "t 3"], size: float) -> Bool[np.ndarray, "t k"]:
    """Return whether a sphere lies on the way along each ray, before its end."""
    length = np.linalg.norm(rays, axis=2)
    along = (rays * centre[:, None]).sum(2) / length
    aside = (centre**2).sum(1)[:, None] - along**2
    return (aside < size**2) & (along > 0) & (along < length)


def _box_hides(
    rays: Rays, start: Float[np.ndarray, "t 3"], half: Float[np.ndarray, "3"]
) -> Bool[np.ndarray, "t k"]:
    """Return whether a box around the origin lies on the way along each ray, before 95% of it (slab test)."""
    safe = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    one, other = (-half - start[:, None]) / safe, (half - start[:, None]) / safe
    enter, leave = np.minimum(one, other).max(2), np.maximum(one, other).min(2)
    return (enter < leave) & (leave > 0) & (enter < 0.95)


def _turned(rows: Float[np.ndarray, "*n 3"], turn: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "*n 3"]:
    """Multiply rows with a matrix, without BLAS for the sake of `geometry.product`."""
    return (rows[..., None] * turn).sum(-2)
