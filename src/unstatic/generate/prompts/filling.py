"""Adds what a good short film needs and the user left open, as the world would have drawn it.

What was said stays. Choices are drawn from the generator that is passed in, among what training showed: never
a pair that is kept for evaluation, an object on a floor of its own colour, or something dark by night.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from unstatic.generate.prompts.scene import DOGS, Scene, Thing
from unstatic.world.animals import motions
from unstatic.world.casting import FOLLOWED_EVENTS, MARKED_CAMERAS, UNMARKED_FLOORS, stands_out
from unstatic.world.events_animals import FAST_MOTIONS
from unstatic.world.events_ground import PROP_COLOURS
from unstatic.world.held_out import MATERIAL_EVENTS, held_out_look, held_out_motion
from unstatic.world.mix import contrast, draw, floor_colours
from unstatic.world.spec import COLOURS, TRAVELLING_MOTIONS
from unstatic.world.staging import COATS

# What each shape does when nobody says what, and what each animal does.
DEFAULT_EVENTS = {
    "ball": {"roll": 3.0, "bounce": 2.0},
    "cube": {"slide": 3.0, "topple": 1.0, "jump": 1.0},
    "block": {"slide": 2.0, "topple": 2.0},
    "cylinder": {"roll": 3.0, "topple": 1.0},
    "cone": {"slide": 2.0, "fall": 1.0, "jump": 1.0},
    "capsule": {"roll": 3.0, "bounce": 1.0},
    "ring": {"roll": 3.0, "spin": 1.0},
}
DEFAULT_MOTIONS = {"walk": 3.0, "gallop": 3.0, "leap": 1.0, "eat": 2.0, "stand": 0.5}
DEFAULT_FLOORS = {"plain": 3.0, "wood": 2.0, "grass": 2.0, "sand": 1.0, "snow": 1.0, "checker": 0.5}
ANIMAL_FLOORS = {"grass": 5.0, "sand": 2.0, "snow": 2.0, "plain": 1.0}
DEFAULT_SKIES = {"day": 5.0, "sunset": 1.0, "studio": 1.0}
OUTDOOR_FLOORS = frozenset({"grass", "sand", "snow", "water"})
FLOOR_COLOURS = ("grey", "white", "brown", "green", "blue", "yellow")
MATERIAL_COLOURS = {
    "mirror": ("grey", "white", "yellow"),
    "metal": ("grey", "white", "yellow"),
    "wood": ("brown", "yellow"),
}
DEFAULT_SUBJECTS = {"husky": 1.0, "fox": 1.0, "horse": 1.0, "deer": 1.0, "ball": 2.0}
DULL_COLOURS = ("black", "brown", "grey")
TRAVELS = ("roll", "slide", "collide", *TRAVELLING_MOTIONS)


def fill(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return the scene with subject, event, looks, direction, floor, sky and camera all decided."""
    scene = with_things(scene, rng)
    scene = _with_event(scene, rng)
    scene = _with_colours(scene, rng)
    scene = _with_camera(scene)
    scene = _with_place(scene, rng)
    if not scene.direction and scene.event in TRAVELS:
        scene = replace(scene, direction=_choose(rng, {"left": 1.0, "right": 1.0}, scene, "direction"))
    return scene


def with_things(scene: Scene, rng: np.random.Generator) -> Scene:
    """Decide which dog "dog" is and on which side "next to" is; nobody at all becomes somebody."""
    things = scene.things or (_subject(scene, rng),)
    dogs = {kind: 1.0 for kind in DOGS if not held_out_motion(kind, scene.event)}
    dog, side = draw(rng, dogs), draw(rng, {"left": 1.0, "right": 1.0})
    named = [replace(each, kind=dog) if each.kind == "dog" else each for each in things]
    if named[0].group != "animal":
        named = [replace(each, relation=side) if each.relation == "beside" else each for each in named]
    return replace(scene, things=tuple(named))


def _subject(scene: Scene, rng: np.random.Generator) -> Thing:
    kind = _choose(rng, DEFAULT_SUBJECTS, scene, "animal")
    return Thing(group="shape" if kind == "ball" else "animal", kind=kind)


def _choose(rng: np.random.Generator, weights: Mapping[str, float], scene: Scene, slot: str) -> str:
    """Draw a word that was not ruled out ("no grass"), if there is any."""
    open_ones = {word: weight for word, weight in weights.items() if f"{slot} {word}" not in scene.excluded}
    return draw(rng, open_ones or weights)


# ----------------------------------------------------------------------------------------------------- events


def _with_event(scene: Scene, rng: np.random.Generator) -> Scene:
    hero = scene.things[0]
    if scene.event == "collide" and len(scene.things) == 1:
        met = "cube" if hero.kind == "ball" else "ball"
        return replace(scene, things=(hero, Thing(group="shape", kind=met)))
    if scene.event == "ramp" and all(each.kind != "ramp" for each in scene.things):
        return replace(scene, things=(*scene.things, Thing(group="prop", kind="ramp")))
    if scene.event:
        return scene
    if hero.group == "animal":
        return replace(scene, event=_choose(rng, _able(hero.kind, scene), scene, "motion"))
    return replace(scene, event=_choose(rng, _object_events(hero, scene), scene, "event"))


def _able(kind: str, scene: Scene) -> dict[str, float]:
    """Return what such an animal may do: it goes somewhere if it is followed or a direction was said."""
    able = {
        motion: weight
        for motion, weight in DEFAULT_MOTIONS.items()
        if motion in motions(kind) and not held_out_motion(kind, motion)
    }
    if scene.direction or scene.camera == "follow":
        return {motion: weight for motion, weight in able.items() if motion in TRAVELLING_MOTIONS}
    if scene.camera:  # what runs away is followed, or it is not seen
        return {motion: weight for motion, weight in able.items() if motion not in FAST_MOTIONS}
    return able


def _object_events(hero: Thing, scene: Scene) -> dict[str, float]:
    events = {
        event: weight
        for event, weight in DEFAULT_EVENTS[hero.kind].items()
        if (hero.material, event) not in MATERIAL_EVENTS
    }
    if scene.direction or scene.camera == "follow":
        return {event: 1.0 for event in events if event in FOLLOWED_EVENTS} or events
    if scene.camera == "orbit":
        return {"rest": 1.0}
    return events


# ---------------------------------------------------------------------------------------------------- colours


def _with_colours(scene: Scene, rng: np.random.Generator) -> Scene:
    """Give every object a colour: one that differs from all others and from a floor that was said."""
    things = list(scene.things)
    for place, thing in enumerate(things):
        if thing.group == "animal" or thing.colour:
            continue
        others = [_tint(each) for each in (*things[:place], *things[place + 1 :]) if _tint(each)]
        others += scene.floor_colours or (floor_colours(scene.floor, "", "") if scene.floor else ())
        things[place] = replace(thing, colour=_colour(thing, others, scene, rng))
    return replace(scene, things=tuple(things))


def _colour(thing: Thing, others: Iterable[str], scene: Scene, rng: np.random.Generator) -> str:
    offered = PROP_COLOURS if thing.group == "prop" else MATERIAL_COLOURS.get(thing.material, COLOURS)
    shape = "cube" if thing.kind == "block" else thing.kind
    apart = [each for each in offered if all(contrast(each, other) for other in others if other)]
    seen = [each for each in apart or offered if not held_out_look(shape, each)]
    if offered is COLOURS:
        seen = [each for each in seen if each not in DULL_COLOURS] or seen
    if thing.material in MATERIAL_COLOURS:  # as most people picture it
        seen = seen[:1]
    return _choose(rng, dict.fromkeys(seen, 1.0), scene, "colour") if seen else offered[0]


def _tint(thing: Thing) -> str:
    return COATS[thing.kind] if thing.group == "animal" else thing.colour


# ------------------------------------------------------------------------------------------------------ place


def _with_camera(scene: Scene) -> Scene:
    is_open = not scene.camera and "camera follow" not in scene.excluded
    return replace(scene, camera="follow") if is_open and scene.event in FAST_MOTIONS else scene


def _with_place(scene: Scene, rng: np.random.Generator) -> Scene:
    """Decide floor and sky: whatever is chosen, the things stand out from it."""
    if not scene.floor:
        scene = _with_floor(scene, rng)
    elif scene.floor == "plain" and not scene.floor_colours:
        scene = replace(scene, floor_colours=(draw(rng, _plain_colours(scene)),))
    if not scene.sky:
        outdoors = scene.floor in OUTDOOR_FLOORS
        skies = {sky: share for sky, share in DEFAULT_SKIES.items() if not (outdoors and sky == "studio")}
        scene = replace(scene, sky=_choose(rng, skies, scene, "sky"))
    return scene


def _with_floor(scene: Scene, rng: np.random.Generator) -> Scene:
    colour = draw(rng, _plain_colours(scene))
    is_animal = scene.things[0].group == "animal"
    # On a floor without marks nothing shows that a camera moves; legs show that an animal does
    kind = scene.camera.partition(" ")[0]
    needs_marks = kind in MARKED_CAMERAS and not (kind == "follow" and is_animal)
    unmarked = UNMARKED_FLOORS if needs_marks else frozenset[str]()
    floors = {
        floor: weight
        for floor, weight in (ANIMAL_FLOORS if is_animal else DEFAULT_FLOORS).items()
        if floor not in unmarked and _stands_out(scene, floor, floor_colours(floor, colour, ""))
    }
    floor = _choose(rng, floors or {"wood": 1.0}, scene, "floor")
    return replace(scene, floor=floor, floor_colours=(colour,) if floor == "plain" else ())


def _plain_colours(scene: Scene) -> dict[str, float]:
    apart = {each: 1.0 for each in FLOOR_COLOURS if _stands_out(scene, "plain", (each,))}
    return apart or {"grey": 1.0}


def _stands_out(scene: Scene, floor: str, shown: tuple[str, ...]) -> bool:
    tints = [_tint(each) for each in scene.things if _tint(each)]
    return stands_out(tints, floor, tuple(filter(None, shown)), scene.sky)
