"""Events on the floor: each builder draws one action of its kind, in stage coordinates.

Speeds follow from the brief: a roll crosses what the camera will see, and what ends does so within the clip.
"""

import math

import numpy as np

from unstatic.world.physics import ROLLING_FRICTION
from unstatic.world.spec import ObjectSpec, PropSpec
from unstatic.world.staging import (
    GRAVITY,
    Action,
    Brief,
    Look,
    about,
    after,
    level,
    place,
    rolling,
    rolling_spin,
    standing,
    vector,
    yaw,
)

ROLLERS = ("ball", "cylinder", "capsule", "ring")
PROP_COLOURS = ("grey", "brown", "white")
# Metres/s that a ball with a radius of 1 m loses in a second: of its energy 5/7 is that of its way.
ROLLING_LOSS = 5 / 7 * GRAVITY * ROLLING_FRICTION
UNHURRIED_S = 3.0  # shorter clips hurry what would take a second


def rest(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that stands still; the camera may move."""
    height, quaternion = standing(brief.hero, rng.uniform(0, 2 * math.pi))
    return Action(objects=(place(brief.hero, (0.0, 0.0, height), quaternion=quaternion),))


def roll(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that rolls across the view, or towards or away from the audience."""
    return _travel(rng, brief, _heading(rng, across=0.7))


def slide(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that slides over a slippery floor and slows to a stop."""
    heading = _heading(rng, across=0.75)
    # Constant deceleration: way = speed / 2 x duration = friction g / 2 x duration^2
    way, duration = _way(rng, brief, heading), brief.action_s * rng.uniform(0.7, 1.0)
    height, quaternion = standing(brief.hero, rng.uniform(0, 2 * math.pi))
    x, y, _ = level(-way / 2, heading)
    hero = place(
        brief.hero,
        (x, y, height),
        quaternion=quaternion,
        velocity=level(2 * way / duration, heading),
        friction=2 * way / (GRAVITY * duration**2),
        bounciness=0.1,
    )
    return Action(objects=(hero,), view=0.2)


def spin(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that turns in place about the vertical, slowing only a little."""
    look, facing = brief.hero, rng.uniform(0, 2 * math.pi)
    height, quaternion = (rolling if look.shape in ("capsule", "cylinder") else standing)(look, facing)
    if look.shape == "ring":  # on its rim like a coin: fast, or it falls
        rate, friction = rng.uniform(8.0, 12.0), 0.3
    else:
        rate, friction = rng.uniform(2.5, 6.5), rng.uniform(0.004, 0.01) * min(1.0, 4.0 / brief.seconds)
    hero = place(
        look,
        (0.0, 0.0, height),
        quaternion=quaternion,
        spin=(0.0, 0.0, rate * rng.choice((-1.0, 1.0))),
        friction=friction,
        bounciness=0.05,
    )
    return Action(objects=(hero,))


def topple(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that is pushed just hard enough to fall over."""
    look, heading = brief.hero, rng.choice((0.0, math.pi)) + rng.normal(0.0, 0.35)
    # A ring tips over its side, and like a capsule it balances on a point
    height, quaternion = standing(look, heading + (math.pi / 2 if look.shape == "ring" else 0.0))
    half_width = look.size * (0.02 if look.shape in ("ring", "capsule") else look.aspect)

    # Energy that lifts the centre over the edge, for an inertia of 4/3 m reach^2 about it
    reach = math.hypot(half_width, height)
    needed = math.sqrt(1.5 * GRAVITY * (reach - height)) / reach
    hurry = max(1.0, UNHURRIED_S / brief.seconds)
    rate = (needed * rng.uniform(1.03, 1.25) + rng.uniform(0.05, 0.3)) * hurry
    forward = level(rate * height, heading)
    hero = place(
        look,
        vector((*level(-height / 2, heading)[:2], height)),
        quaternion=quaternion,
        velocity=(forward[0], forward[1], rate * half_width),  # turning about the edge lifts the centre
        spin=(-rate * math.sin(heading), rate * math.cos(heading), 0.0),
        bounciness=rng.uniform(0.05, 0.25),
        friction=0.9,
    )
    return Action(objects=(hero,), view=0.2)


def collide(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that runs into a partner in its way and sends it off."""
    look, partner = brief.hero, brief.partner
    heading = rng.choice((0.0, math.pi)) + rng.normal(0.0, 0.15)
    approach = rng.uniform(0.18, 0.28) * brief.width
    speed = approach / (rng.uniform(0.5, 0.9) * min(1.0, brief.seconds / UNHURRIED_S))
    bounciness = rng.uniform(0.6, 0.9)
    # What the partner takes over in a straight hit, and the friction that stops it near the edge of the frame
    taken = speed * (1 + bounciness) * look.size**3 / (look.size**3 + partner.size**3)
    friction = min(taken**2 / (2 * GRAVITY * rng.uniform(0.3, 0.6) * brief.width), 0.3)

    x, y, _ = level(-approach - look.size - partner.size, heading)
    hero = _runner(look, (x, y), heading, speed, friction=0.03, bounciness=bounciness)
    height, quaternion = standing(
        partner, heading if partner.shape == "ring" else rng.uniform(0, 2 * math.pi)
    )
    rolls = partner.shape in ("ball", "ring")
    other = place(
        partner,
        (0.0, 0.0, height),
        quaternion=quaternion,
        bounciness=bounciness,
        friction=0.6 if rolls else friction,
        rolling_friction=friction * height if rolls else 0.0,
        role="partner",
    )
    return Action(objects=(hero, other), view=0.2, wide=True)


def ramp(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that comes down a ramp and goes on over the floor until friction stops it."""
    look, heading = brief.hero, float(rng.choice((0.0, math.pi)))
    slope, length = rng.uniform(0.25, 0.42), brief.width * rng.uniform(0.42, 0.5)
    resistance = math.tan(slope) * rng.uniform(0.45, 0.65)
    downhill = np.array([math.cos(slope), 0.0, -math.sin(slope)])
    normal = np.array([math.sin(slope), 0.0, math.cos(slope)])
    flip = np.array([math.cos(heading), math.cos(heading), 1.0])  # half a turn, when it goes left

    # A thick slab whose upper face meets the floor at the origin; the rest of it lies below the floor
    thickness, half_width = 0.35 * length, rng.uniform(1.5, 2.2) * look.size
    tilt = about((0.0, 1.0, 0.0), slope)
    slab = PropSpec(
        kind="ramp",
        colour=str(rng.choice(PROP_COLOURS)),
        position=vector(flip * (-downhill * length / 2 - normal * thickness)),
        half_extents=(length / 2, half_width, thickness),
        quaternion=after(yaw(heading), tilt),
    )

    # The hero on its upper end
    rolls = look.shape in ROLLERS
    height, pose = rolling(look, 0.0) if rolls else standing(look)
    hero = place(
        look,
        vector(flip * (-downhill * (length - 1.2 * look.radius) + normal * (height + 0.002))),
        quaternion=after(yaw(heading), pose if rolls else after(tilt, pose)),
        friction=0.8 if rolls else resistance,
        rolling_friction=resistance * height if rolls else 0.0,
        bounciness=0.1,
    )
    return Action(objects=(hero,), props=(slab,), view=0.3)


def pass_behind(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that crosses the view behind a partner, a post or a wall, and comes out again."""
    look, partner = brief.hero, brief.partner
    back = look.radius + 0.9 * partner.radius + 0.1
    action = _travel(rng, brief, float(rng.choice((0.0, math.pi))), back=back)
    if rng.random() < 0.5:
        height, quaternion = standing(partner, rng.uniform(0, 2 * math.pi))
        other = place(partner, (0.0, 0.0, height), quaternion=quaternion, role="partner")
        return Action(objects=(*action.objects, other), view=0.05)
    height, broad = rng.uniform(1.1, 1.5) * look.size, rng.uniform(0.9, 1.3) * look.size
    screen = PropSpec(
        kind="wall" if broad > 1.1 * look.size else "post",
        colour=str(rng.choice(PROP_COLOURS)),
        position=(0.0, 0.0, height),
        half_extents=(broad, 0.08, height),
    )
    return Action(objects=action.objects, props=(screen,), view=0.05)


def _heading(rng: np.random.Generator, *, across: float) -> float:
    """Draw left or right with probability `across`, else towards or away; never exactly."""
    if rng.random() < across:
        return rng.choice((0.0, math.pi)) + rng.normal(0.0, 0.15)
    return rng.choice((-1.0, 1.0)) * math.pi / 2 + rng.normal(0.0, 0.12)


def _way(rng: np.random.Generator, brief: Brief, heading: float) -> float:
    """Draw metres to travel, across: most of what the frame will show; in depth: a few."""
    if abs(math.cos(heading)) < 0.7:
        return rng.uniform(1.5, 3.0)
    size = brief.hero.size
    return max(brief.width / rng.uniform(1.0, 1.4) - 2 * size, size) * rng.uniform(0.85, 1.1)


def _travel(rng: np.random.Generator, brief: Brief, heading: float, *, back: float = 0.0) -> Action:
    """Go the way in most of the action's time; longer clips start faster, to be as fast at their end."""
    way = _way(rng, brief, heading)
    speed = way / (brief.action_s * rng.uniform(0.7, 1.0))
    speed += ROLLING_LOSS / brief.hero.size * (brief.seconds - brief.action_s)
    x, y, _ = level(-way / 2, heading)
    return Action(objects=(_runner(brief.hero, (x, y + back), heading, speed),), view=0.2)


def _runner(
    look: Look,
    at: tuple[float, float],
    heading: float,
    speed: float,
    *,
    friction: float = 0.0,
    bounciness: float = 0.2,
) -> ObjectSpec:
    """Place a hero that rolls along `heading` if its shape can; if not it slides with `friction`."""
    velocity = level(speed, heading)
    if look.shape not in ROLLERS:
        height, quaternion = standing(look, heading)
        return place(
            look,
            (*at, height),
            quaternion=quaternion,
            velocity=velocity,
            bounciness=bounciness,
            friction=friction,
        )
    height, quaternion = rolling(look, heading)
    return place(
        look,
        (*at, height),
        quaternion=quaternion,
        velocity=velocity,
        spin=rolling_spin(velocity, height),
        bounciness=bounciness,
    )
