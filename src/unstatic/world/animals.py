"""Twelve animals that walk, gallop, leap, eat, stand and fight: skinned meshes, posed in steps of a cycle.

An animal's own frame has x where it looks, y to its left and z up; the origin is the middle of its bounding
box when it stands, so its feet are at z = -size. Everything is stored for size 1. A cycle is divided into
POSES_PER_CYCLE steps, the last of which leads back to the first. Poses were sampled from the models by
scripts/bake_animals.py; who travels treads on the spot, and is carried on at the speed of its `stride`.

Models: Quaternius, "Ultimate Animated Animals", public domain (CC0); see weights/animals.
"""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from safetensors import safe_open

from unstatic.world.spec import MOTIONS, ObjectSpec, Vector

ANIMALS_FILE = Path(__file__).parents[1] / "weights" / "animals" / "animals.safetensors"
POSES_PER_CYCLE = {"walk": 32, "gallop": 24, "leap": 48, "eat": 128, "stand": 32, "attack": 32, "kick": 32}

# Units of the integers in the file
VERTEX_STEP = 2.0**-12
AXIS_STEP = 2.0**-14


class Facts(NamedTuple):
    """What is known of a species at size 1.

    `extents`: half the standing bounding box; `radius`: of the sphere around the origin that no pose leaves;
    `cycles_s`: how long each motion lasts; `strides`: the speed (m/s) at which feet on the ground rest.
    """

    extents: Vector
    radius: float
    cycles_s: dict[str, float]
    strides: dict[str, float]


class Skin(NamedTuple):
    """A species at rest: `joints` move a vertex as much as `weights` say, which add up to 1."""

    vertices: Float[np.ndarray, "v 3"]
    joints: Int[np.ndarray, "v 4"]
    weights: Float[np.ndarray, "v 4"]
    faces: Int[np.ndarray, "f 3"]
    colours: Float[np.ndarray, "f 3"]


def motions(species: str) -> tuple[str, ...]:
    """Return which of the MOTIONS a species knows: only the hoofed kick."""
    return tuple(each for each in MOTIONS if each in facts(species).cycles_s)


def cycle_s(species: str, motion: str) -> float:
    """Return how long a motion lasts at pace 1, in seconds, until it begins again."""
    return facts(species).cycles_s[motion]


def stride(species: str, motion: str, size: float) -> float:
    """Return the ground speed (m/s at pace 1) at which the feet on the ground do not slide; 0 on the spot."""
    return facts(species).strides.get(motion, 0.0) * size


def extents(species: str, size: float) -> Vector:
    """Return half the bounding box of the standing animal along its own x, y and z."""
    x, y, z = facts(species).extents
    return (x * size, y * size, z * size)


def reach(species: str, size: float) -> float:
    """Return the radius around the origin of the animal's frame that it never leaves, whatever it does."""
    return facts(species).radius * size


def pose_step(each: ObjectSpec, time_s: float) -> int:
    """Return the step of the cycle in which an animal is after `time_s`."""
    turns = each.phase + each.pace * time_s / cycle_s(each.shape, each.motion)
    return int(turns % 1.0 * POSES_PER_CYCLE[each.motion])


def pose(species: str, motion: str, step: int) -> Float[np.ndarray, "v 3"]:
    """Return the vertices at a step of a motion, for size 1, in float32: linear blend skinning.

    A vertex goes where the weighted mean of its joints takes it, but never into the floor: a paw gives way.
    """
    own = skin(species)
    x_axis, y_axis, origin = np.moveaxis(_poses(species, motion)[step].astype(np.float64), 1, 0)
    x_axis, y_axis, origin = x_axis * AXIS_STEP, y_axis * AXIS_STEP, origin * VERTEX_STEP
    joints = np.stack([x_axis, y_axis, np.cross(x_axis, y_axis), origin], axis=1)

    blended = (joints[own.joints] * own.weights[:, :, None, None]).sum(axis=1)
    vertices = (blended[:, :3] * own.vertices[:, :, None]).sum(axis=1) + blended[:, 3]
    vertices[:, 2] = np.maximum(vertices[:, 2], -1.0)
    return vertices.astype(np.float32)


def faces(species: str) -> Int[np.ndarray, "f 3"]:
    """Return the triangles as vertex numbers, counter-clockwise seen from outside."""
    return skin(species).faces


def face_colours(species: str) -> Float[np.ndarray, "f 3"]:
    """Return the linear reflectance of each triangle."""
    return skin(species).colours


@cache
def facts(species: str) -> Facts:
    """Read what the file says about a species."""
    with safe_open(ANIMALS_FILE, framework="numpy") as file:
        fields = json.loads(file.metadata()["facts"])[species]
    return Facts(**fields | {"extents": tuple(fields["extents"])})


@cache
def skin(species: str) -> Skin:
    """Read a species' mesh at rest."""
    with safe_open(ANIMALS_FILE, framework="numpy") as file:
        read = {name: file.get_tensor(f"{species}/{name}") for name in (*Skin._fields, "materials")}
    return Skin(
        vertices=read["vertices"] * VERTEX_STEP,
        joints=read["joints"].astype(np.int32),
        weights=read["weights"] / 255.0,
        faces=read["faces"].astype(np.int32),
        colours=read["colours"][read["materials"]],
    )


@cache
def _poses(species: str, motion: str) -> Int[np.ndarray, "s j 3 3"]:
    with safe_open(ANIMALS_FILE, framework="numpy") as file:
        return file.get_tensor(f"{species}/poses/{motion}")
