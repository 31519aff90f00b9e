"""Gives what was noted down its part in a scene: who is the hero, what it does, and to whom."""

from collections.abc import Sequence
from dataclasses import replace

from unstatic.generate.prompts.reading import OPPOSITE, Deed, Draft, Notes
from unstatic.generate.prompts.scene import DOGS, MOST_THINGS, Scene, Thing
from unstatic.world.animals import motions
from unstatic.world.events_ground import ROLLERS
from unstatic.world.staging import COATS
from unstatic.world.vocabulary import MANNERS

CARRIES = ("move", "roll", "slide", "fall")  # what may end in a collision, go down a ramp or behind something
COATS_OF_DOGS = {"husky": {"grey", "white", "black"}, "shiba inu": {"orange", "brown", "yellow"}}
OTHER_COATS = {**COATS_OF_DOGS, "fox": {"red"}, "wolf": {"white"}, "white horse": {"grey"}}
# Motions that say the same thing, the first of them more of it
STRONGER = frozenset({("leap", "gallop"), ("gallop", "walk")})


def cast(notes: Notes) -> Scene:
    """Return the scene; what has no part in it joins the unknown of the notes."""
    things = tuple(_thing(draft, notes) for draft in _hero_first(notes))[:MOST_THINGS]
    event = _event(things, notes)
    if event == "collide" and len(things) == 1 and things[0].count > 1:  # "two balls collide"
        things = (replace(things[0], count=1), replace(things[0], count=things[0].count - 1))
    manner = notes.value("manner")
    if manner == "pendulum" and event != "pendulum":
        notes.unknown.append("on a string")
    return Scene(
        things=things,
        event=event,
        manner=manner if manner == event and manner in MANNERS else "",
        direction=notes.value("direction"),
        floor=notes.value("floor"),
        floor_colours=_floor_colours(notes),
        sky=notes.value("sky"),
        light=notes.value("light"),
        camera=notes.value("camera"),
        camera_sense=notes.value("sense"),
        excluded=frozenset(notes.excluded),
    )


def _floor_colours(notes: Notes) -> tuple[str, ...]:
    most = {"plain": 1, "checker": 2}.get(notes.value("floor"), 0)
    colours = dict.fromkeys(look.value for look, _ in notes.floor_looks)
    kept = tuple(colours)[:most]
    notes.unknown += [text for look, text in notes.floor_looks if look.value not in kept and text]
    return kept


# ----------------------------------------------------------------------------------------------------- things


def _hero_first(notes: Notes) -> list[Draft]:
    """Order the things: who acts comes first, and what it meets second; props alone are nothing to film."""
    drafts = notes.things
    actors = [number for number, each in enumerate(drafts) if each.noun.slot != "prop"]
    if not actors:
        notes.unknown += [each.text for each in drafts]
        return []
    hero = actors[0]
    if len(notes.deeds) == 1 and notes.deeds[0].before and notes.deeds[0].owner in actors:
        hero = notes.deeds[0].owner
    if any(deed.value("event") == "collided" for deed in notes.deeds) and len(actors) > 1:
        hero = actors[1]

    # Where others are is said as seen from the hero
    first = drafts[hero]
    if hero and drafts[0].relation is None and first.relation is not None:
        drafts[0].relation = OPPOSITE.get(first.relation, first.relation)
    first.relation = None
    met = [drafts[notes.hits]] if notes.hits not in (0, hero) else []
    rest = [each for each in drafts if not any(each is other for other in (first, *met))]
    return [first, *met, *rest]


def _thing(draft: Draft, notes: Notes) -> Thing:
    """Finish a thing: its first colour, and the material that says more than "shiny"."""
    colours, materials = draft.values("colour"), draft.values("material")
    thing = Thing(
        group=draft.noun.slot,
        kind=draft.noun.value,
        colour=colours[0] if colours else "",
        material=next((each for each in materials if each != "metal"), "metal" if materials else ""),
        sizes=tuple(draft.values("size")),
        count=draft.count,
        relation=draft.relation,
    )
    if thing.group == "animal":
        return _animal(thing, draft, notes)
    if thing.group == "shape" and set(colours) == {"black", "white"}:
        return replace(thing, material="checkered")
    kept = {"colour": (thing.colour,), "material": (thing.material, "metal"), "size": thing.sizes}
    if thing.group == "prop":
        kept = {"colour": (thing.colour,), "material": (), "size": ()}
    notes.unknown += [text for sense, text in draft.looks if sense.value not in kept[sense.slot]]
    return thing


def _animal(thing: Thing, draft: Draft, notes: Notes) -> Thing:
    """Let a colour choose between kinds; an animal has no looks but its own."""
    kind, colours = thing.kind, set(draft.values("colour"))
    if kind == "dog":
        kind = next((each for each in DOGS if colours & COATS_OF_DOGS[each]), kind)
    if kind == "horse" and "white" in colours:
        kind = "white horse"
    coats = {COATS.get(kind, ""), *OTHER_COATS.get(kind, ())}
    notes.unknown += [text for look, text in draft.looks if look.slot != "colour" or look.value not in coats]
    return replace(thing, kind=kind, colour="", material="", sizes=())


# ----------------------------------------------------------------------------------------------------- events


def _event(things: Sequence[Thing], notes: Notes) -> str:
    """Return what the hero does; verbs that mean nothing for such a hero are not understood."""
    is_animal = bool(things) and things[0].group == "animal"
    slot = "motion" if is_animal else "event"
    told = [deed for deed in notes.deeds if things and _can(things[0], deed.value(slot))]
    notes.unknown += [deed.text for deed in notes.deeds if deed not in told]
    if not things:
        return ""
    return _motion(told, notes) if is_animal else _object_event(things, told, notes)


def _can(hero: Thing, deed: str) -> bool:
    if hero.group != "animal":
        return deed != ""
    return deed in motions(DOGS[0] if hero.kind == "dog" else hero.kind)


def _object_event(things: Sequence[Thing], told: Sequence[Deed], notes: Notes) -> str:
    events = [deed.value("event") for deed in told]
    event = _main_event(things, events, notes)
    fitting = {event, "move"}
    if event in ("collide", "ramp", "pass-behind"):
        fitting |= {"collide", "collided", *CARRIES}
    elif event == "bounce":  # what is dropped bounces
        fitting |= {"fall"}
    notes.unknown += [deed.text for deed in told if deed.value("event") not in fitting]
    if event == "move":
        return "roll" if things[0].kind in ROLLERS else "slide"
    return event


def _main_event(things: Sequence[Thing], events: Sequence[str], notes: Notes) -> str:
    """Return the event that says most: between things, else the first that is more than moving."""
    manner, carried = notes.value("manner"), all(each in CARRIES for each in events)
    if {"collide", "collided"} & set(events) or (notes.hits and carried):
        return "collide"
    if carried and (manner == "ramp" or any(each.kind == "ramp" for each in things)):
        return "ramp"
    if carried and notes.passes and len(things) > 1:
        return "pass-behind"
    if "bounce" in events:
        return "bounce"
    if manner == "gallop":
        notes.unknown.append("fast")
    said = [each for each in events if each != "move"]
    said += [] if manner in ("", "ramp", "gallop") else [manner]
    return "".join((*said, *events)[:1])


def _motion(told: Sequence[Deed], notes: Notes) -> str:
    found = [deed.value("motion") for deed in told]
    motion = "leap" if "leap" in found else "".join(found[:1])
    if notes.value("manner") == "gallop" and motion in ("", "walk"):
        motion = "gallop"
    notes.unknown += [
        deed.text
        for deed in told
        if deed.value("motion") != motion and (motion, deed.value("motion")) not in STRONGER
    ]
    return motion
