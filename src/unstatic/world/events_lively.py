"""Events that never end: in their scenes something happens at second 50 as at second 5.

Builders as in `events_ground`. What rolls, swings, spins or walks goes on by itself for a minute; these two
bring their own supply of energy, an elastic room and objects that start anew.
"""

import math

import numpy as np

from unstatic.world.spec import ObjectSpec, PropSpec
from unstatic.world.staging import Action, Brief, Look, about, level, place, standing, yaw

WALL_M = 0.05  # half the thickness of a room's walls


def ricochet(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw balls that slide for ever between four low walls, off which they bounce without loss."""
    size = brief.hero.size
    largest = max(look.radius for look in brief.cast)
    half_width = max(0.36 * brief.width, (1.15 * len(brief.cast) + 0.4) * largest)
    half_depth = max(rng.uniform(0.6, 0.9) * half_width, 1.7 * largest)
    places = _apart(rng, brief.cast, half_width, half_depth)
    objects = tuple(
        place(
            look,
            (*at, standing(look)[0]),
            velocity=level(rng.uniform(0.7, 1.3), rng.uniform(0, 2 * math.pi)),
            friction=0.0,
            bounciness=1.0,
            role="hero" if number == 0 else "partner",
        )
        for number, (look, at) in enumerate(zip(brief.cast, places, strict=True))
    )
    colour = str(rng.choice(("grey", "brown", "white")))
    corners = tuple((x * half_width, y * half_depth, 0.0) for x in (-1, 1) for y in (-1, 1))
    walls = _room(half_width, half_depth, 0.5 * size, colour)
    return Action(objects=objects, props=walls, view=0.25, corners=corners)


def shower(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw objects that drop from above the frame, bounce, and drop again, one after another."""
    period = rng.uniform(2.4, 3.6)
    top = 2.2 * brief.headroom + 1.0
    places = _apart(rng, brief.cast, 0.4 * brief.width, 0.3 * brief.width)
    objects = tuple(
        _dropper(rng, look, (*at, top), period, number / len(brief.cast))
        for number, (look, at) in enumerate(zip(brief.cast, places, strict=True))
    )
    width = 0.4 * brief.width
    corners = tuple((x * width, 0.0, z) for x in (-1, 1) for z in (0.0, 0.9 * brief.headroom))
    return Action(objects=objects, view=0.35, corners=corners)


def _dropper(
    rng: np.random.Generator, look: Look, at: tuple[float, float, float], period: float, turn: float
) -> ObjectSpec:
    """Place one object of a shower; its `turn` is the share of the period for which it waits."""
    facing = rng.uniform(0, 2 * math.pi)
    return place(
        look,
        at,
        quaternion=about((math.cos(facing), math.sin(facing), 0.0), rng.normal(0.0, 0.3)),
        velocity=level(rng.uniform(0.0, 0.25), rng.uniform(0, 2 * math.pi)),
        bounciness=rng.uniform(0.4, 0.8),
        friction=0.5,
        role="hero" if turn == 0 else "partner",
        phase=turn,
        period_s=period,
    )


def _room(half_width: float, half_depth: float, half_height: float, colour: str) -> tuple[PropSpec, ...]:
    """Put up four walls around the middle of the stage."""
    sides = (
        (half_width + WALL_M, 0.0, 0.0, half_depth + 2 * WALL_M),
        (-half_width - WALL_M, 0.0, 0.0, half_depth + 2 * WALL_M),
        (0.0, half_depth + WALL_M, math.pi / 2, half_width),
        (0.0, -half_depth - WALL_M, math.pi / 2, half_width),
    )
    return tuple(
        PropSpec(
            kind="wall",
            colour=colour,
            position=(x, y, half_height),
            half_extents=(WALL_M, length, half_height),
            quaternion=yaw(angle),
        )
        for x, y, angle, length in sides
    )


def _apart(
    rng: np.random.Generator, cast: tuple[Look, ...], half_width: float, half_depth: float
) -> list[tuple[float, float]]:
    """Draw places on a grid of columns, so that nobody stands in anybody else."""
    columns = np.linspace(-1.0, 1.0, 2 * len(cast) + 1)[1::2]
    rng.shuffle(columns)
    room = [max(half_depth - 1.2 * look.radius, 0.0) for look in cast]
    reach = half_width - 0.1
    return [(float(x) * reach, rng.uniform(-deep, deep)) for x, deep in zip(columns, room, strict=True)]
