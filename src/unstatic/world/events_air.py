"""Events in the air: what falls, bounces, is thrown up or swings. Builders as in `events_ground`."""

import math

import numpy as np

from unstatic.world.spec import PropSpec, Vector
from unstatic.world.staging import (
    GRAVITY,
    STILL,
    Action,
    Brief,
    Look,
    about,
    after,
    level,
    lowest,
    place,
    vector,
    yaw,
)

STRING_RADIUS = 0.012  # metres


def fall(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that drops from above and lands, with at most one small hop."""
    hero = brief.hero
    drop = rng.uniform(0.7, 1.0) * min(brief.headroom, 5.5 * hero.size)
    drift = level(rng.uniform(0.0, 0.35), rng.uniform(0, 2 * math.pi))
    tumble = vector(rng.normal(0.0, 0.8, 3))
    return _thrown(rng, hero, drop, drift, tumble, tilt=0.25, bounciness=rng.uniform(0.05, 0.35))


def bounce(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that drops and bounces several times, each time lower."""
    hero = brief.hero
    ball = hero.shape == "ball"
    drop = rng.uniform(0.65, 1.0) * min(brief.headroom, (5.5 if ball else 3.5) * hero.size)
    bounciness = rng.uniform(0.72, 0.9) if ball else rng.uniform(0.6, 0.75)
    return _thrown(rng, hero, drop, _drift(rng, brief, 0.5), STILL, tilt=0.12, bounciness=bounciness)


def jump(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that is thrown up from the floor and comes down again."""
    hero = brief.hero
    height = rng.uniform(0.6, 1.0) * min(brief.headroom, 4.5 * hero.size)
    x, y, _ = _drift(rng, brief, 0.6)
    velocity = (x, y, math.sqrt(2 * GRAVITY * height))
    tumble = vector(rng.normal(0.0, 1.0, 3))
    return _thrown(rng, hero, 0.002, velocity, tumble, tilt=0.0, bounciness=rng.uniform(0.4, 0.7))


def pendulum(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that swings on a string, twice to and fro in four seconds."""
    hero = brief.hero
    # The period is 2 pi sqrt(length / g), and 2.3 periods fit into the action
    longest = GRAVITY * (brief.action_s / (2.3 * 2 * math.pi)) ** 2
    length = max(rng.uniform(0.75, 1.0) * longest, 1.8 * hero.radius)
    angle = rng.uniform(0.45, 0.85) * rng.choice((-1.0, 1.0))
    plane = rng.normal(0.0, 0.3)
    pivot = (0.0, 0.0, length + hero.radius + rng.uniform(0.1, 0.3))
    aside, below = length * math.sin(angle), length * math.cos(angle)

    # The string pulls at the object's top, so the object leans with it
    facing = yaw(rng.uniform(0, 2 * math.pi))
    lean = after(yaw(plane), after(about((0.0, 1.0, 0.0), -angle), facing))
    position = (aside * math.cos(plane), aside * math.sin(plane), pivot[2] - below)
    string = PropSpec(
        kind="string", colour="grey", position=pivot, half_extents=(STRING_RADIUS, 0.0, 0.0), attached_to=0
    )
    return Action(objects=(place(hero, position, quaternion=lean),), props=(string,), view=0.3)


def _thrown(
    rng: np.random.Generator,
    look: Look,
    gap: float,
    velocity: Vector,
    spin: Vector,
    *,
    tilt: float,
    bounciness: float,
) -> Action:
    """Start `gap` metres above the floor, tilted by a normal angle of deviation `tilt`."""
    facing = rng.uniform(0, 2 * math.pi)
    lean = about((math.cos(facing), math.sin(facing), 0.0), rng.normal(0.0, tilt))
    quaternion = after(lean, yaw(rng.uniform(0, 2 * math.pi)))
    hero = place(
        look,
        (0.0, 0.0, lowest(look, quaternion) + gap),
        quaternion=quaternion,
        velocity=velocity,
        spin=spin,
        bounciness=bounciness,
        friction=0.5,
    )
    return Action(objects=(hero,))


def _drift(rng: np.random.Generator, brief: Brief, most: float) -> Vector:
    """Draw no sideways motion half of the time, else up to the share `most` of the frame, left or right."""
    if rng.random() < 0.5:
        return STILL
    speed = most * brief.width / (1.3 * brief.action_s)
    return level(speed * rng.uniform(0.4, 1.0), rng.choice((0.0, math.pi)) + rng.normal(0.0, 0.15))
