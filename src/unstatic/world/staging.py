"""Putting objects on a stage: poses, standing heights and the words that event builders share.

Builders work in stage coordinates: the audience sits towards -y and sees +x to the right; the middle of the
action is near the origin. `turned` turns a finished stage about the vertical.
"""

import dataclasses
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from unstatic.world.geometry import bounding_radius, half_extents, product, rotation_matrices, surface_points
from unstatic.world.spec import ANIMALS, MOTIONS, ObjectSpec, PropSpec, Quaternion, Vector

GRAVITY = 9.81  # metres per second squared
LONGEST_ACTION_S = 5.0  # an event that ends takes no longer than this, however long the clip
STILL: Vector = (0.0, 0.0, 0.0)
UPRIGHT: Quaternion = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What an object is, before it has a place; fields as in `ObjectSpec`."""

    shape: str
    colour: str
    material: str
    size: float
    aspect: float = 1.0

    @property
    def is_animal(self) -> bool:
        """Whether it is one of the ANIMALS."""
        return self.shape in ANIMALS

    @property
    def tint(self) -> str:
        """The colour it is taken for: of an animal that of its coat."""
        return COATS[self.shape] if self.is_animal else self.colour

    @property
    def radius(self) -> float:
        """The sphere around the object, in metres."""
        return bounding_radius(self.shape, self.size, self.aspect)


ROOMY_EVENTS = ("collide", "ramp", "pass-behind", "ricochet", "shower")
CAST: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("cast.toml").read_text(encoding="utf-8")
)
COATS: dict[str, str] = CAST["COATS"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Brief:
    """What a builder is asked for: who acts (`partner` is for events of two), how long, in which frame.

    `aspect` is the frame's width over its height; `cast` are all looks that were drawn, hero and partner
    included; `followed` says that the camera will go with the hero.
    """

    hero: Look
    partner: Look
    seconds: float
    aspect: float
    event: str
    cast: tuple[Look, ...] = ()
    followed: bool = False

    @property
    def action_s(self) -> float:
        """How long an event may take."""
        return min(self.seconds, LONGEST_ACTION_S)

    @property
    def smallest_share(self) -> float:
        """The least share of the frame's height for a hero."""
        return smallest_share(self.event, self.aspect)

    @property
    def width(self) -> float:
        """How many metres the frame shows across when the hero has the smallest share of it."""
        return self.aspect * 2 * self.hero.size / self.smallest_share

    @property
    def headroom(self) -> float:
        """How many metres of air the frame can show above the hero."""
        return 2 * self.hero.size * (0.85 / self.smallest_share - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """What a builder gives back: objects (the hero first) and props in stage coordinates.

    `view` turns the audience about the vertical by at most so many radians. `wide` asks for a frame that
    holds the partner's first moves too; `corners` are points that the frame must hold besides.
    """

    objects: tuple[ObjectSpec, ...]
    props: tuple[PropSpec, ...] = ()
    view: float = 0.35
    wide: bool = False
    corners: tuple[Vector, ...] = ()


def smallest_share(event: str, aspect: float) -> float:
    """Return the least share of the frame's height for a hero, in a frame so many times as wide as high.

    19 pixels of 64 x 64, 80 x 48 or 48 x 80; 13 where the frame must hold more than the hero and its way, 22
    for an animal, whose legs must be told apart.
    """
    share = 0.21 if event in ROOMY_EVENTS else 0.34 if event in MOTIONS else 0.30
    return share * math.sqrt(aspect)


def place(
    look: Look,
    position: Vector,
    *,
    quaternion: Quaternion = UPRIGHT,
    velocity: Vector = STILL,
    spin: Vector = STILL,
    bounciness: float = 0.3,
    friction: float = 0.6,
    rolling_friction: float = 0.0,
    role: str = "hero",
    motion: str = "",
    phase: float = 0.0,
    pace: float = 1.0,
    period_s: float = 0.0,
) -> ObjectSpec:
    """Give a look a place and a motion."""
    return ObjectSpec(
        shape=look.shape,
        colour=look.colour,
        material=look.material,
        size=look.size,
        aspect=look.aspect,
        position=vector(position),
        quaternion=quaternion,
        velocity=vector(velocity),
        spin=vector(spin),
        bounciness=round(bounciness, 4),
        friction=round(friction, 4),
        rolling_friction=round(rolling_friction, 4),
        role=role,
        motion=motion,
        phase=round(phase, 3),
        pace=round(pace, 3),
        period_s=round(period_s, 3),
    )


def about(axis: Vector, angle: float) -> Quaternion:
    """Return the rotation by `angle` about a unit `axis`."""
    sine = math.sin(angle / 2)
    return (math.cos(angle / 2), axis[0] * sine, axis[1] * sine, axis[2] * sine)


def yaw(angle: float) -> Quaternion:
    """Return a turn about the vertical, counter-clockwise seen from above."""
    return about((0.0, 0.0, 1.0), angle)


def after(second: Quaternion, first: Quaternion) -> Quaternion:
    """Return the rotation that does `first`, then `second` (the quaternion product)."""
    a, b, c, d = second
    w, x, y, z = first
    return (
        a * w - b * x - c * y - d * z,
        a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x,
        a * z + b * y - c * x + d * w,
    )


def standing(look: Look, facing: float = 0.0) -> tuple[float, Quaternion]:
    """Return height of the centre and orientation of an object that stands upright on the floor."""
    return half_extents(look.shape, look.size, look.aspect)[2], yaw(facing)


def rolling(look: Look, heading: float) -> tuple[float, Quaternion]:
    """Return height of the centre (the rolling radius) and orientation of what is to roll along `heading`."""
    if look.shape in ("ball", "ring"):
        return look.size, yaw(heading)
    # A cylinder or capsule lies on its side, its axis level and across the way
    on_its_side = about((1.0, 0.0, 0.0), math.pi / 2)
    return half_extents(look.shape, look.size, look.aspect)[0], after(yaw(heading), on_its_side)


def rolling_spin(velocity: Vector, radius: float) -> Vector:
    """Return the spin of what rolls without slipping: the upward unit vector times velocity, over radius."""
    return (-velocity[1] / radius, velocity[0] / radius, 0.0)


def lowest(solid: Look | ObjectSpec, quaternion: Quaternion) -> float:
    """Return how far the solid in this orientation reaches below its centre, in metres."""
    if solid.shape == "ball":
        return solid.size
    points = surface_points(solid.shape, solid.size, solid.aspect)
    return float(-product(points, rotation_matrices(np.array(quaternion))[2]).min())


def apparent_size(each: ObjectSpec) -> float:
    """Return half the height of the object as it lies, a long lying object counting for more, in metres."""
    return math.sqrt(lowest(each, each.quaternion) * each.size)


def level(speed: float, heading: float) -> Vector:
    """Return a level velocity; heading 0 is +x, counter-clockwise seen from above."""
    return (speed * math.cos(heading), speed * math.sin(heading), 0.0)


def vector(values: Sequence[float] | Float[np.ndarray, "3"]) -> Vector:
    """Return plain numbers, unrounded: a rolling ring amplifies the sixth digit until it falls over."""
    x, y, z = values
    return (float(x), float(y), float(z))


def turned(action: Action, angle: float) -> Action:
    """Turn the whole stage about the vertical."""
    turn = yaw(angle)
    matrix = rotation_matrices(np.array(turn))
    objects = tuple(
        dataclasses.replace(
            each,
            position=vector(product(matrix, each.position)),
            quaternion=after(turn, each.quaternion),
            velocity=vector(product(matrix, each.velocity)),
            spin=vector(product(matrix, each.spin)),
        )
        for each in action.objects
    )
    props = tuple(
        dataclasses.replace(
            each, position=vector(product(matrix, each.position)), quaternion=after(turn, each.quaternion)
        )
        for each in action.props
    )
    corners = tuple(vector(product(matrix, each)) for each in action.corners)
    return dataclasses.replace(action, objects=objects, props=props, corners=corners)
