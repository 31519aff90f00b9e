# ruff: noqa: UP018, RUF046  (Warp needs float(0.0) and int(0) for variables that a loop or a branch changes)
"""Animals for rays: a Warp mesh for each pose that is needed, and what a ray asks of it.

A mesh is in the animal's own frame at size 1; the functions take points of that frame in metres, and the
size. Warp's meshes carry a velocity for each vertex: here that is the normal.
"""

from functools import cached_property
from typing import NamedTuple, no_type_check

import numpy as np
import warp as wp
from jaxtyping import Float, Int

from unstatic.world import animals
from unstatic.world.spec import ANIMALS

SUN_POINTS = wp.constant(8)
FIRST_POINTS = wp.constant(3)
GOLDEN_ANGLE = wp.constant(2.3999632)


@wp.struct
@no_type_check
class MeshPoint:
    """A point of a mesh: its triangle, and the normal in the mesh's frame, on the side it is seen from."""

    face: wp.int32
    normal: wp.vec3


@wp.func
@no_type_check
def mesh_entry(mesh: wp.uint64, o: wp.vec3, d: wp.vec3, size: float, limit: float):
    """Return the distance at which a ray meets the mesh, `limit` if it does not before."""
    hit = wp.mesh_query_ray(mesh, o / size, d, limit / size)
    if hit.result:
        return size * hit.t
    return limit


@wp.func
@no_type_check
def mesh_point(mesh: wp.uint64, p: wp.vec3, d: wp.vec3, size: float):
    """Return the point of the mesh nearest to `p`, which the ray along `d` has just met."""
    near = wp.mesh_query_point_no_sign(mesh, p / size, 0.02)
    found = MeshPoint()
    found.face = near.face
    found.normal = wp.normalize(wp.mesh_eval_velocity(mesh, near.face, near.u, near.v))
    # Ears and tails have two sides with hardly anything between them
    if wp.dot(wp.mesh_eval_face_normal(mesh, near.face), d) > 0.0:
        found.normal = -found.normal
    return found


@wp.func
@no_type_check
def mesh_shadow(mesh: wp.uint64, p: wp.vec3, sun: wp.vec3, size: float, softness: float, footprint: float):
    """Return the share of the sun's disc that the mesh covers, seen from a patch of radius `footprint`.

    Rays from points spread over the patch go to points spread over the disc (Vogel's spiral, in an order in
    which the first few already lie apart); where those agree, so will the rest.
    """
    side = wp.normalize(wp.cross(sun, wp.vec3(0.37, 0.62, 0.69)))
    other = wp.cross(sun, side)
    hits = int(0)
    shot = int(0)
    for i in range(SUN_POINTS):
        if i < FIRST_POINTS or (hits > 0 and hits < i):
            place = (3 * i) % SUN_POINTS
            radius = wp.sqrt((float(place) + 0.5) / float(SUN_POINTS))
            angle = GOLDEN_ANGLE * float(place)
            spread = radius * (wp.cos(angle) * side + wp.sin(angle) * other)
            if wp.mesh_query_ray_anyhit(
                mesh, (p + footprint * spread) / size, sun + softness * spread, 1.0e3
            ):
                hits += 1
            shot += 1
    return float(hits) / float(shot)


class Pose(NamedTuple):
    """One pose as a mesh, and its bounding box: middle and half extents."""

    mesh: wp.Mesh
    middle: Float[np.ndarray, "3"]
    half: Float[np.ndarray, "3"]


class Herd:
    """The meshes on one device, made when a frame first shows them and kept: some 0.2 MB each.

    All poses of all animals would be 3,800 meshes; a clip needs as many as it has frames, at most.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._poses: dict[tuple[str, str, int], Pose] = {}
        counts = [len(animals.faces(species)) for species in ANIMALS]
        firsts = np.cumsum([0, *counts[:-1]]).tolist()
        self._first_faces: dict[str, int] = dict(zip(ANIMALS, firsts, strict=True))

    @cached_property
    def coats(self) -> wp.array:
        """The linear colour of each triangle, species after species."""
        colours = np.concatenate([animals.face_colours(species) for species in ANIMALS])
        return wp.array(colours.astype(np.float32), dtype=wp.vec3, device=self.device)

    def first_face(self, species: str) -> int:
        """Return where in `coats` a species begins."""
        return self._first_faces[species]

    def pose(self, species: str, motion: str, step: int) -> Pose:
        """Return a step of a motion, made now if it has not been before."""
        key = (species, motion, step)
        if key not in self._poses:
            self._poses[key] = self._made(animals.pose(species, motion, step), animals.faces(species))
        return self._poses[key]

    def _made(self, vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Pose:
        mesh = wp.Mesh(
            points=wp.array(vertices, dtype=wp.vec3, device=self.device),
            indices=wp.array(faces.ravel(), dtype=wp.int32, device=self.device),
            velocities=wp.array(vertex_normals(vertices, faces), dtype=wp.vec3, device=self.device),
        )
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        return Pose(mesh, 0.5 * (high + low), 0.5 * (high - low))


def vertex_normals(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "v 3"]:
    """Return the mean normal of the triangles around each vertex, weighted by area, of length 1."""
    a, b, c = (vertices[corner].astype(np.float64) for corner in faces.T)
    normals = np.cross(b - a, c - a)
    sums = np.stack([np.bincount(faces.ravel(), np.repeat(n, 3), len(vertices)) for n in normals.T], axis=-1)
    return (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).astype(np.float32)
