"""Which scenes are kept for evaluation, by construction: a training mix never shows them.

Models are asked for what they have not seen: cubes and cylinders swap four colours (about 10% of the pairs of
shape and colour), four pairs of material and event (5%), two pairs of shapes alone in a scene, a band of
speeds; six pairs of animal and motion (8%). The rule belongs to the format: changing it makes old evaluations
meaningless, so a new rule needs a new `FORMAT_VERSION`.
"""

import math

from unstatic.world.spec import ObjectSpec, SceneSpec

SHAPE_COLOURS: dict[str, frozenset[str]] = {
    "cube": frozenset({"orange", "purple", "cyan", "brown"}),
    "cylinder": frozenset({"pink", "green", "white", "grey"}),
}
MATERIAL_EVENTS = frozenset(
    {("metal", "jump"), ("glass", "pendulum"), ("checkered", "topple"), ("wood", "spin")}
)
SHAPE_PAIRS = frozenset({frozenset({"cone", "ring"}), frozenset({"capsule", "cube"})})
ANIMAL_MOTIONS = frozenset(
    {
        ("fox", "eat"),
        ("wolf", "leap"),
        ("cow", "gallop"),
        ("horse", "kick"),
        ("donkey", "walk"),
        ("husky", "attack"),
    }
)
SPEED_BAND = (0.70, 0.76)  # metres per second at the start, of heroes that roll
SPEED_EVENTS = frozenset({"roll"})


def held_out(spec: SceneSpec) -> bool:
    """Return whether any part of `spec` is kept for evaluation."""
    hero = next(each for each in spec.objects if each.role == "hero")
    shapes = frozenset(each.shape for each in spec.objects)
    return (
        any(held_out_look(each.shape, each.colour) for each in spec.objects)
        or any(held_out_motion(each.shape, each.motion) for each in spec.objects)
        or (hero.material, spec.event) in MATERIAL_EVENTS
        or shapes in SHAPE_PAIRS
        or _held_out_speed(hero, spec.event)
    )


def held_out_look(shape: str, colour: str) -> bool:
    """Return whether this pair of shape and colour is kept for evaluation."""
    return colour in SHAPE_COLOURS.get(shape, frozenset())


def held_out_motion(animal: str, motion: str) -> bool:
    """Return whether this pair of animal and motion is kept for evaluation."""
    return (animal, motion) in ANIMAL_MOTIONS


def _held_out_speed(hero: ObjectSpec, event: str) -> bool:
    speed = math.hypot(hero.velocity[0], hero.velocity[1])
    return event in SPEED_EVENTS and SPEED_BAND[0] <= speed < SPEED_BAND[1]
