"""Who plays and where: the looks of the cast, the camera's kind, floor, sky and light, drawn from a mix."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unstatic.world.animals import motions
from unstatic.world.events_animals import FAST_MOTIONS, SIZES
from unstatic.world.held_out import held_out_look, held_out_motion
from unstatic.world.mix import Mix, contrast, draw, floor_colours, lost_at_night
from unstatic.world.spec import MOTIONS, LightSpec
from unstatic.world.staging import CAST, LONGEST_ACTION_S, Look

# Which shapes can play which event's hero, and how readily.
ACTORS: dict[str, dict[str, float]] = CAST["ACTORS"]
SCREENS = frozenset({"ball", "cube", "cylinder"})  # broad enough to hide something
SEAMLESS = frozenset({"ball", "cone"})  # only a pattern shows that they turn
ASPECTS = {"cube": (0.85, 1.0), "cylinder": (0.6, 1.0), "cone": (0.6, 0.9), "capsule": (0.4, 0.6)}

FOLLOWED_EVENTS = frozenset({"roll", "slide", "walk"})
UNMARKED_FLOORS = frozenset({"plain", "mirror", "snow"})
# Moves that over such a floor look like none
MARKED_CAMERAS = frozenset({"orbit", "pan", "dolly", "follow"})
PAIR_EVENTS = frozenset({"collide", "pass-behind"})
CROWD_EVENTS = frozenset({"ricochet", "shower"})  # who plays in them plays the hero's part
MOST_IN_A_CROWD = 3
TALLEST_BYSTANDER = 0.5  # half its height in metres: a horse beside a ball does not fit into the frame

SUN_ELEVATIONS = {"day": (0.6, 1.15), "sunset": (0.25, 0.45), "night": (0.6, 1.0), "studio": (0.7, 1.25)}
LIGHT_STRENGTHS = {"day": 1.0, "sunset": 0.9, "night": 0.6, "studio": 1.0}


class Setting(NamedTuple):
    """The place: a floor with its two colours, and a sky."""

    floor: str
    first: str
    second: str
    sky: str


class Cast(NamedTuple):
    """How many play, and whether an animal has company."""

    count: int
    accompanied: bool


def draw_cast(rng: np.random.Generator, mix: Mix) -> Cast:
    """Draw how many play."""
    return Cast(_draw_count(rng, mix), bool(rng.random() < mix.companions))


def can_play(event: str, mix: Mix) -> bool:
    """Tell whether anything in a mix can be the hero of an event."""
    actors = _able(event, mix) if event in MOTIONS else _shapes(event, 0, mix)
    return any(weight > 0 for weight in actors.values())


def _draw_count(rng: np.random.Generator, mix: Mix) -> int:
    return 1 + int(rng.choice(len(mix.num_objects), p=np.array(mix.num_objects) / sum(mix.num_objects)))


def draw_looks(rng: np.random.Generator, event: str, mix: Mix, cast: Cast | None = None) -> list[Look]:
    """Draw the looks of hero, partner (if the event needs one) and extras, in colours that differ."""
    count = _draw_count(rng, mix) if cast is None else cast.count
    looks = _animals(rng, event, mix, cast) if event in MOTIONS else []
    count = min(max(count, 2), MOST_IN_A_CROWD) if event in CROWD_EVENTS else count
    for part in range(len(looks), max(count, 2 if event in PAIR_EVENTS else 1)):
        may_stand_by = mix.bystanders and part >= 2 and event not in CROWD_EVENTS
        if may_stand_by and rng.random() < mix.bystanders:
            looks.append(_bystander(rng, mix))
            continue
        shape = draw(rng, _shapes(event, 0 if event in CROWD_EVENTS else part, mix))
        colours = _colours(shape, looks, mix)
        if not colours:  # four looks can leave no fifth colour that stands out
            break
        looks.append(_look(rng, event, part, shape, colours, mix))
    return looks


def _look(
    rng: np.random.Generator, event: str, part: int, shape: str, colours: dict[str, float], mix: Mix
) -> Look:
    """Draw how an object looks that plays a part: 0 is the hero, 1 the partner if any."""
    material = draw(rng, mix.materials)
    if event == "spin" and part == 0 and shape in SEAMLESS:
        material = "checkered"
    if event == "pass-behind" and part == 1 and material == "glass":
        material = "matte"
    return Look(
        shape=shape,
        colour=draw(rng, colours),
        material=material,
        size=round(rng.uniform(*_size_range(event, part)), 3),
        aspect=_draw_aspect(rng, shape, slim=event == "topple" and part == 0),
    )


def _bystander(rng: np.random.Generator, mix: Mix) -> Look:
    """Draw an animal that is small enough to stand beside objects."""
    small = {kind: weight for kind, weight in mix.animals.items() if SIZES[kind][1] < TALLEST_BYSTANDER}
    return _animal(rng, draw(rng, small))


def _animals(rng: np.random.Generator, event: str, mix: Mix, cast: Cast | None) -> list[Look]:
    """Draw the animal whose motion is the event, and sometimes a companion that can do the same."""
    able = _able(event, mix)
    hero = draw(rng, able)
    kinds = [hero]
    if rng.random() < mix.companions if cast is None else cast.accompanied:
        kinds.append(hero if rng.random() < 0.5 else draw(rng, able))
    return [_animal(rng, kind) for kind in kinds]


def _able(event: str, mix: Mix) -> dict[str, float]:
    """Return the weights of the animals that move like that."""
    return {
        kind: weight
        for kind, weight in mix.animals.items()
        if event in motions(kind) and not (mix.held_out == "avoid" and held_out_motion(kind, event))
    }


def _animal(rng: np.random.Generator, kind: str) -> Look:
    return Look(shape=kind, colour="", material="", size=round(rng.uniform(*SIZES[kind]), 3))


def draw_camera_kind(rng: np.random.Generator, event: str, mix: Mix, *, seconds: float) -> str:
    """Draw a kind of camera; only what travels is followed, and what would leave any other view must be."""
    if event in FAST_MOTIONS:
        return "follow"
    if event in ("roll", "walk") and seconds > 1.5 * LONGEST_ACTION_S:
        return "follow"
    if event == "walk" and rng.random() < 0.5:
        return "follow"
    travels = event in FOLLOWED_EVENTS
    return draw(rng, {each: weight for each, weight in mix.cameras.items() if travels or each != "follow"})


def draw_setting(rng: np.random.Generator, looks: list[Look], mix: Mix, camera: str) -> Setting | None:
    """Draw a sky, and a floor on which no look is lost; None when the mix has no such floor.

    A followed object needs a floor with marks, or nothing would show that it travels; in a legible mix so
    does every move of the camera that only the floor shows.
    """
    followed = camera == "follow" and not looks[0].is_animal
    marked = followed or (mix.legible and camera in MARKED_CAMERAS)
    sky, tints = draw(rng, mix.skies), [look.tint for look in looks]
    colours = {
        each: weight for each, weight in mix.floor_colours.items() if stands_out(tints, "plain", (each,), sky)
    }
    if not colours:
        return None
    first, second = draw(rng, colours), draw(rng, colours)
    floors = {
        each: weight
        for each, weight in mix.floors.items()
        if stands_out(tints, each, floor_colours(each, first, second), sky)
        and not (marked and each in UNMARKED_FLOORS)
        and (each != "checker" or contrast(first, second))
    }
    return Setting(draw(rng, floors), first, second, sky) if floors else None


def draw_light(rng: np.random.Generator, sky: str, view: float) -> LightSpec:
    """Draw a light from the side or from behind the camera, which looks along `view` (radians)."""
    azimuth = view + math.pi + rng.uniform(-1.9, 1.9)
    elevation = rng.uniform(*SUN_ELEVATIONS[sky])
    level = math.cos(elevation)
    return LightSpec(
        direction=(level * math.cos(azimuth), level * math.sin(azimuth), math.sin(elevation)),
        softness=0.0 if rng.random() < 0.4 else round(rng.uniform(0.02, 0.15), 3),
        strength=LIGHT_STRENGTHS[sky],
    )


def _shapes(event: str, part: int, mix: Mix) -> dict[str, float]:
    """Return the weights of the shapes that can play a part: 0 is the hero, 1 the partner if any."""
    if part == 0:
        return {shape: weight * mix.shapes.get(shape, 0.0) for shape, weight in ACTORS[event].items()}
    hides = event == "pass-behind" and part == 1
    return {shape: weight for shape, weight in mix.shapes.items() if not hides or shape in SCREENS}


def _colours(shape: str, looks: list[Look], mix: Mix) -> dict[str, float]:
    """Return the weights of the colours that differ clearly from those of `looks`."""
    # Leaving the held-out pairs to the rejection of whole scenes would make cubes and cylinders rare
    return {
        colour: weight
        for colour, weight in mix.colours.items()
        if all(contrast(colour, look.tint) for look in looks)
        and not (mix.held_out == "avoid" and held_out_look(shape, colour))
    }


def _size_range(event: str, part: int) -> tuple[float, float]:
    """Return half heights in metres: what hides another is taller, what hangs is small beside its string."""
    if event == "pass-behind" and part < 2:
        return (0.35, 0.45) if part == 1 else (0.22, 0.3)
    return (0.2, 0.3) if event == "pendulum" and part == 0 else (0.25, 0.45)


def _draw_aspect(rng: np.random.Generator, shape: str, *, slim: bool) -> float:
    """Draw half width over half height; what is to topple is slim."""
    if shape not in ASPECTS:
        return 1.0
    return round(rng.uniform(*((0.3, 0.5) if slim else ASPECTS[shape])), 3)


def stands_out(tints: Sequence[str], floor: str, shown: tuple[str, ...], sky: str) -> bool:
    """Return whether every tint of a thing differs clearly from every colour that the floor shows."""
    apart = all(contrast(colour, tint) for colour in shown for tint in tints)
    return apart and not (sky == "night" and any(lost_at_night(tint, floor, shown) for tint in tints))
