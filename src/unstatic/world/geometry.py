"""The shapes as pure geometry: the one place that physics, framing, rendering and evaluation agree on.

Every object is described in its own frame, with the origin at the middle of its bounding box. With s = `size`
(half the height standing upright) and a = `aspect` (half the width over half the height):

| shape    | half extents x, y, z | solid                                                                |
|----------|----------------------|----------------------------------------------------------------------|
| ball     | s, s, s              | sphere of radius s (aspect has no meaning)                           |
| cube     | a s, a s, s          | box                                                                  |
| cylinder | a s, a s, s          | axis z, radius a s, flat caps at z = -s and z = s                    |
| cone     | a s, a s, s          | axis z, apex at z = s, flat base of radius a s at z = -s;            |
|          |                      | its centre of mass lies at z = -s / 2, not at the origin             |
| capsule  | a s, a s, s          | axis z, radius a s, half height s includes the round ends (a <= 1)   |
| ring     | s, u, s              | torus around axis y, so that it stands on its rim and rolls along x: |
|          |                      | tube radius u = 0.28 s around a circle of radius s - u (no aspect)   |
| animals  | see `animals`        | a mesh; the box is that of standing, the bounding sphere holds every |
|          |                      | pose of every motion                                                 |
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from unstatic.world import animals
from unstatic.world.spec import ANIMALS, Vector

Points = Float[np.ndarray, "p 3"]

RING_TUBE = 0.28


class TorusRadii(NamedTuple):
    """`major`: radius of the circle that the tube follows; `tube`: radius of the tube."""

    major: float
    tube: float


def torus_radii(size: float) -> TorusRadii:
    """Return the two radii of a ring whose outer radius is `size`."""
    tube = RING_TUBE * size
    return TorusRadii(major=size - tube, tube=tube)


def half_extents(shape: str, size: float, aspect: float = 1.0) -> Vector:
    """Return half the object's bounding box along its own x, y and z (see the table above)."""
    if shape in ANIMALS:
        return animals.extents(shape, size)
    if shape == "ball":
        return (size, size, size)
    if shape == "ring":
        return (size, torus_radii(size).tube, size)
    width = aspect * size
    return (width, width, max(size, width) if shape == "capsule" else size)


def bounding_radius(shape: str, size: float, aspect: float = 1.0) -> float:
    """Return the radius of the smallest sphere around the origin of the object's frame that contains it."""
    if shape in ANIMALS:
        return animals.reach(shape, size)
    x, _, z = half_extents(shape, size, aspect)
    if shape in ("ball", "capsule"):
        return z
    if shape == "ring":
        return size
    return float(np.hypot(np.hypot(x, x) if shape == "cube" else x, z))


def surface_points(shape: str, size: float, aspect: float = 1.0, segments: int = 24) -> Points:
    """Return points on the surface whose convex hull is the shape (a ring's: the ring with its hole filled).

    Flat-sided shapes get their corners and rims only, an animal those of its box; round ones get `segments`
    points around.
    """
    x, y, z = half_extents(shape, size, aspect)
    if shape == "cube" or shape in ANIMALS:
        return np.array([(sx * x, sy * y, sz * z) for sx in (-1, 1) for sy in (-1, 1) for sz in (-1, 1)])
    if shape == "cylinder":
        return np.concatenate([_circle(x, -z, segments), _circle(x, z, segments)])
    if shape == "cone":
        return np.concatenate([_circle(x, -z, segments), [(0.0, 0.0, z)]])
    if shape == "ring":
        return _ring_points(size, segments)
    return _capsule_points(x, z, segments)


def rotation_matrices(quaternions: Float[np.ndarray, "*t 4"]) -> Float[np.ndarray, "*t 3 3"]:
    """Return the rotations (object to world, acting on column vectors) of unit quaternions (w, x, y, z)."""
    w, x, y, z = np.moveaxis(np.asarray(quaternions), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def product(
    left: Float[np.ndarray, "*n d"], right: Float[np.ndarray, "d"] | Vector
) -> Float[np.ndarray, "*n"]:
    """Multiply a matrix, or any rows, with a vector: the same bits on every processor.

    numpy's own product is BLAS's, which adds in another order on another processor. A bounce makes of the
    last digit another film, and then a seed means another scene.
    """
    return np.asarray((left * np.asarray(right)).sum(-1))


def length(vector: Float[np.ndarray, "d"]) -> float:
    """Return the length of one vector, the same bits on every processor."""
    return float(np.sqrt(product(vector, vector)))


def _circle(radius: float, z: float, segments: int) -> Points:
    angle = np.arange(segments) * (2 * np.pi / segments)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(segments, z)], axis=-1)


def _capsule_points(radius: float, half_height: float, segments: int) -> Points:
    """Rings of constant latitude on the two half spheres that end a capsule (a ball when they meet)."""
    latitudes = np.linspace(0.0, np.pi / 2, segments // 4 + 1)
    middle = half_height - radius
    upper = [_circle(radius * np.cos(v), middle + radius * np.sin(v), segments) for v in latitudes]
    points = np.concatenate(upper)
    return np.concatenate([points, points * (1.0, 1.0, -1.0)])


def _ring_points(size: float, segments: int) -> Points:
    major, tube = torus_radii(size)
    turn = np.arange(segments) * (2 * np.pi / segments)
    around, across = np.meshgrid(turn, turn[::2], indexing="ij")
    radius = major + tube * np.cos(across)
    return np.stack(
        [radius * np.cos(around), tube * np.sin(across), radius * np.sin(around)], axis=-1
    ).reshape(-1, 3)
