"""Reads a prompt that comes after another in the same film: what it leaves open stays as it was.

    before = expand("a red ball rolls across sand").scene
    expand("then it bounces", before=before).text   # "a red ball bounces on sand in daylight"

A prompt that names something which was not there before, or another place, begins a new scene.
"""

import re
from dataclasses import replace

from unstatic.generate.prompts.filling import OUTDOOR_FLOORS
from unstatic.generate.prompts.scene import DOGS, Reading, Scene, Thing
from unstatic.generate.prompts.understanding import understand

_PRONOUN = re.compile(r"\b(?:it|he|she)\b", re.IGNORECASE)


def understand_next(prompt: str, before: Scene) -> Reading:
    """Read a prompt that comes after others: "it" is the hero of before, and what is left open is as before.

    With the same hero, an event that is not said goes on. A caption that says where it is stays as it is.
    """
    reading = understand(prompt)
    if before.hero is not None and not reading.scene.things:
        named, count = _PRONOUN.subn(f"the {before.hero.kind}", prompt, count=1)
        reading = understand(named) if count else reading
    scene = carried(reading.scene, before)
    stays = reading.is_caption and (reading.scene.floor != "" or scene == reading.scene)
    return replace(reading, scene=reading.scene if stays else scene, is_caption=stays)


def carried(scene: Scene, before: Scene) -> Scene:
    """Return a scene with what it leaves open as it was before."""
    things = tuple(_as_before(each, before) for each in scene.things) or before.things
    here = replace(scene, things=things)
    if not scene.event and things[:1] == before.things[:1]:
        here = replace(
            here,
            event=before.event,
            manner=before.manner,
            direction=scene.direction or before.direction,
            camera=scene.camera or before.camera,
            camera_sense=scene.camera_sense if scene.camera else before.camera_sense,
        )
    if not scene.floor:
        here = replace(here, floor=before.floor, floor_colours=scene.floor_colours or before.floor_colours)
    if not scene.sky and not (before.sky == "studio" and here.floor in OUTDOOR_FLOORS):
        here = replace(here, sky=before.sky, light=scene.light or before.light)
    return here


def begins_anew(scene: Scene, before: Scene) -> bool:
    """Tell whether a scene shows a thing that was not there before, or another place.

    Neither is what happens nor how it is filmed: the same ball may roll and then bounce.
    """
    left = list(before.things)
    for thing in scene.things:
        found = next((each for each in left if _is_same(thing, each)), None)
        if found is None:
            return True
        left.remove(found)
    colours = scene.floor_colours and scene.floor_colours != before.floor_colours
    places = (scene.floor, before.floor), (scene.sky, before.sky)
    return any(here and there and here != there for here, there in places) or bool(
        colours and before.floor_colours
    )


def _is_same(thing: Thing, other: Thing) -> bool:
    """Tell whether a thing may be one of before: nothing that is said of it says otherwise."""
    dogs = {thing.kind, other.kind} <= {"dog", *DOGS} and "dog" in (thing.kind, other.kind)
    looks = (thing.colour, other.colour), (thing.material, other.material)
    return (
        (thing.kind == other.kind or dogs)
        and thing.count <= other.count
        and all(not here or here == there for here, there in looks)
    )


def _as_before(thing: Thing, before: Scene) -> Thing:
    """Give a thing of before the looks that it had, where they are not said."""
    same = next((each for each in before.things if _is_same(thing, each)), None)
    if same is None:
        return thing
    return replace(
        thing,
        kind=same.kind,
        colour=same.colour,
        material=same.material,
        sizes=thing.sizes or same.sizes,
        relation=thing.relation or same.relation,
    )
