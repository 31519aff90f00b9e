"""Reads a prompt that comes after another in the same film: what it leaves open stays as it was.

    before = expand("a red ball rolls across sand").scene
    expand("then it bounces", before=before).text   # "a red ball bounces on sand"

A prompt that names something which was not there before, or another place, begins a new scene.
"""

import re
from dataclasses import replace

from unstatic.generate.prompts.filling import OUTDOOR_FLOORS, TRAVELS
from unstatic.generate.prompts.scene import DOGS, MOST_THINGS, Reading, Scene, Thing
from unstatic.generate.prompts.understanding import understand

_ONE, _SEVERAL = r"\b(?:it|he|she)\b", r"\b(?:they|both(?: of them)?|all of them)\b"
_FIRST = re.compile(
    rf"^(\W*(?:(?:and|then|now|so|but|suddenly|finally|next)\W+)*)(?:({_ONE})|({_SEVERAL}))", re.IGNORECASE
)
_ANYWHERE = re.compile(rf"(?:({_ONE})|({_SEVERAL}))", re.IGNORECASE)


def understand_next(prompt: str, before: Scene) -> Reading:
    """Read a prompt that comes after others: "it" is the hero of before, and what is left open is as before.

    A caption stays as it is, unless it goes on in a place or a light that it does not say.
    """
    reading = understand(prompt)
    if before.hero is not None and (told := _named(prompt, reading.scene, before)) != prompt:
        reading = understand(told)
    scene = carried(reading.scene, before)
    said = reading.scene
    place = (scene.floor, scene.floor_colours, scene.sky) == (said.floor, said.floor_colours, said.sky)
    stays = reading.is_caption and (place or (said.floor != "" and begins_anew(said, before)))
    return replace(reading, scene=replace(scene, things=said.things) if stays else scene, is_caption=stays)


def carried(scene: Scene, before: Scene) -> Scene:
    """Return a scene with what it leaves open as it was before.

    Nothing that was there goes away unless something new comes, and the same hero goes on with what it does,
    and whither.
    """
    things = tuple(_as_before(each, before) for each in scene.things)
    if not things or not begins_anew(replace(scene, things=things), before):
        things = (*things, *_others(things, before))[:MOST_THINGS]
    here = replace(scene, things=things)
    if things and before.things and _is_same(things[0], before.things[0]):
        here = _going_on(here, before)
    elif things[:1] != before.things[:1]:  # where others are was said as seen from another
        here = replace(
            here,
            things=tuple(replace(each, relation=None) if each in before.things else each for each in things),
        )
    if not scene.floor:
        here = replace(here, floor=before.floor, floor_colours=scene.floor_colours or before.floor_colours)
    if not scene.sky and not (before.sky == "studio" and here.floor in OUTDOOR_FLOORS):
        here = replace(here, sky=before.sky, light=scene.light or before.light)
    return here


def begins_anew(scene: Scene, before: Scene) -> bool:
    """Tell whether a scene shows a thing that was not there before, or another place.

    Neither is what happens nor how it is filmed: the same ball may roll and then bounce. Where nothing is
    known of what was there, as behind a picture, nothing is new.
    """
    if not before.things:
        return False
    left = list(before.things)
    for thing in scene.things:
        found = next((each for each in left if _is_same(thing, each)), None)
        if found is None:
            return True
        left.remove(found)
    colours = scene.floor_colours, before.floor_colours
    places = (scene.floor, before.floor), (scene.sky, before.sky), colours
    return any(here and there and here != there for here, there in places)


def _named(prompt: str, scene: Scene, before: Scene) -> str:
    """Return the prompt with the names of what "it" or "they" are, if these are who acts."""
    found = _FIRST.search(prompt)
    if found is None and not scene.things:
        found = _ANYWHERE.search(prompt)
    if found is None:
        return prompt
    several = found.group(found.lastindex or 0).lower() not in ("it", "he", "she")
    names = " and ".join(map(_name, before.things if several else before.things[:1]))
    start, stop = found.span(found.lastindex or 0)
    return f"{prompt[:start]}{names}{prompt[stop:]}"


def _name(thing: Thing) -> str:
    looks = (thing.colour, thing.kind) if thing.group != "animal" else (thing.kind,)
    return f"the {' '.join(filter(None, looks))}"


def _going_on(scene: Scene, before: Scene) -> Scene:
    """Let the same hero do what it did, unless something else is said."""
    if scene.event:
        goes = scene.event in TRAVELS and not scene.direction
        return replace(scene, direction=before.direction) if goes else scene
    return replace(
        scene,
        event=before.event,
        manner=before.manner,
        direction=scene.direction or before.direction,
        camera=scene.camera or before.camera,
        camera_sense=scene.camera_sense if scene.camera else before.camera_sense,
    )


def _others(things: tuple[Thing, ...], before: Scene) -> list[Thing]:
    """Return what was there before and is not named again."""
    left = list(before.things)
    for thing in things:
        found = next((each for each in left if _is_same(thing, each)), None)
        if found is not None:
            left.remove(found)
    return left


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
    looks = {"kind": same.kind, "colour": same.colour, "material": same.material}
    return replace(thing, sizes=thing.sizes or same.sizes, relation=thing.relation or same.relation, **looks)
