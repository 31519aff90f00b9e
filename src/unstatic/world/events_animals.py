"""What animals do: each builder draws one motion of a hero, alone or beside a companion of its pace.

Builders as in `events_ground`. Animals move by themselves: nothing pushes them, and their feet keep up with
the ground because they go at the speed that their steps were recorded for.
"""

import math

import numpy as np

from unstatic.world import animals
from unstatic.world.held_out import held_out_motion
from unstatic.world.spec import ObjectSpec, Vector
from unstatic.world.staging import CAST, Action, Brief, Look, level, place, yaw

SIZES: dict[str, tuple[float, float]] = {kind: (low, high) for kind, (low, high) in CAST["SIZES"].items()}
FAST_MOTIONS = ("gallop", "leap")  # what leaves any frame that does not come along
PACES = (0.85, 1.15)


def travel(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that walks, gallops or leaps straight on, mostly across the view."""
    across = rng.random() < 0.75
    heading = rng.choice((0.0, math.pi)) + rng.normal(0.0, 0.3)
    if not across:
        heading = rng.choice((-1.0, 1.0)) * math.pi / 2 + rng.normal(0.0, 0.3)
    pace = rng.uniform(*PACES)
    speed = pace * animals.stride(brief.hero.shape, brief.event, brief.hero.size)
    back = 0.0 if brief.followed else speed * brief.action_s / 2
    return _cast(rng, brief, heading, speed, pace, back)


def stay(rng: np.random.Generator, brief: Brief) -> Action:
    """Draw a hero that eats, stands, butts or kicks where it is, seen more or less from the side."""
    heading = rng.choice((0.0, math.pi)) + rng.normal(0.0, 0.6)
    return _cast(rng, brief, heading, 0.0, rng.uniform(*PACES), 0.0)


def bystander(rng: np.random.Generator, look: Look, at: Vector, facing: float) -> ObjectSpec:
    """Place an animal that eats or looks on; never a pair that is kept for evaluation."""
    able = [motion for motion in ("eat", "stand") if not held_out_motion(look.shape, motion)]
    motion = able[int(rng.integers(len(able)))]
    return _animal(look, at[:2], facing, motion, rng.random(), rng.uniform(*PACES), "extra")


def _cast(
    rng: np.random.Generator, brief: Brief, heading: float, speed: float, pace: float, back: float
) -> Action:
    """Place the hero `back` metres behind the middle of the stage, and its companion beside it."""
    hero, other = brief.hero, brief.partner
    x, y, _ = level(-back, heading)
    first = _animal(hero, (x, y), heading, brief.event, rng.random(), pace, "hero", speed)
    if other is hero or not other.is_animal or brief.event not in animals.motions(other.shape):
        return Action(objects=(first,), view=0.3)

    # Side by side, half a length apart at most, and never out of step for long
    aside = 1.15 * (animals.extents(hero.shape, hero.size)[1] + animals.extents(other.shape, other.size)[1])
    along = rng.uniform(-0.5, 0.5) * animals.extents(hero.shape, hero.size)[0]
    side = heading + rng.choice((-1.0, 1.0)) * math.pi / 2
    dx, dy, _ = level(aside + rng.uniform(0.1, 0.3), side)
    ax, ay, _ = level(along, heading)
    own_pace = speed / animals.stride(other.shape, brief.event, other.size) if speed else pace
    at = (x + dx + ax, y + dy + ay)
    second = _animal(other, at, heading, brief.event, rng.random(), own_pace, "partner", speed)
    return Action(objects=(first, second), view=0.3, wide=True)


def _animal(
    look: Look,
    at: tuple[float, float],
    heading: float,
    motion: str,
    phase: float,
    pace: float,
    role: str,
    speed: float = 0.0,
) -> ObjectSpec:
    return place(
        look,
        (*at, look.size),
        quaternion=yaw(heading),
        velocity=level(speed, heading),
        role=role,
        motion=motion,
        phase=phase,
        pace=pace,
    )
