"""Says a scene as a caption of the world, in its plain words: the first piece of each table."""

from unstatic.generate.prompts.scene import Scene, Thing
from unstatic.world import vocabulary as terms
from unstatic.world.captions import enumerated, with_articles
from unstatic.world.captions_grammar import NAMES_ANOTHER_THING, PLAIN_TRAVEL, pluralised
from unstatic.world.events_ground import ROLLERS
from unstatic.world.spec import IN_PLACE, MOTIONS
from unstatic.world.vocabulary import Words

SIZE_WORDS = {
    "big": terms.BIG,
    "small": terms.SMALL,
    "tall": terms.TALL,
    "flat": terms.FLAT,
}


def caption_of(scene: Scene) -> str:
    """Return one sentence, or two, that says all of the scene; it needs a hero that does something."""
    hero, *others = scene.things
    partner = _partner(scene)
    rest = [each for each in others if each is not partner]
    parts = [
        f"a {_noun(hero)}",
        _deed(scene, partner),
        _floor(scene),
        _plain(terms.SKY_WORDS.get(scene.sky)),
    ]
    text = " ".join(part for part in parts if part)
    if scene.light:
        text += f", {_plain((terms.SHADOWS | terms.LIT_FROM)[scene.light])}"
    listed = [_other(scene, each, partner, alone=len(rest) == 1) for each in rest]
    listed += _more_of_the_same(scene, partner)
    if listed:
        text += f", with {enumerated(listed)}"
    return with_articles(text + _camera(scene, crowded=len(scene.things) > 1 or bool(listed)))


def _plain(words: Words | None) -> str:
    return words.seen[0] if words else ""


def _noun(thing: Thing) -> str:
    """Name a thing without article: "big red glass ball"."""
    if thing.group == "animal":
        return _plain(terms.ANIMAL_WORDS[thing.kind])
    colour = [_plain(terms.COLOUR_WORDS[thing.colour])] if thing.colour else []
    if thing.group == "prop":
        return " ".join([*colour, _plain(terms.PROP_WORDS[thing.kind])])
    sizes = [_plain(SIZE_WORDS[each]) for each in thing.sizes]
    if thing.material in terms.MATERIAL_NOUNS and colour:
        looks = [*colour, _plain(terms.MATERIAL_NOUNS[thing.material])]
    else:
        looks = [_plain(terms.MATERIAL_QUALITIES.get(thing.material)), *colour]
    return " ".join(word for word in [*sizes, *looks, _plain(terms.SHAPE_WORDS[thing.kind])] if word)


def _partner(scene: Scene) -> Thing | None:
    """Return the thing that the verb names: what is hit, gone down, passed, or the animal at one's side."""
    others = scene.things[1:]
    match scene.event:
        case "collide":
            return next(iter(others), None)
        case "ramp":
            return next((each for each in others if each.kind == "ramp"), None)
        case "pass-behind":
            return next((each for each in others if each.group == "prop" or each.relation == "front"), None)
        case event if event in MOTIONS:
            beside = (
                each for each in others if each.group == "animal" and each.relation in (None, "beside", "")
            )
            return next(beside, None)
        case _:
            return None


def _deed(scene: Scene, partner: Thing | None) -> str:
    """Say what the hero does, to what, and where to."""
    hero, where = scene.things[0], _direction(scene)
    other = f"{_article(scene, partner)} {_noun(partner)}" if partner else ""
    moves = _present(terms.MOVE_VERBS["rolling" if hero.kind in ROLLERS else "sliding"])
    match scene.event:
        case "":
            parts = []
        case "collide":
            parts = [
                *([moves, where, "and"] if where else []),
                _present(terms.EVENT_VERBS["collide"]),
                other,
            ]
        case "ramp":
            parts = [moves, "down", other, where]
        case "pass-behind":
            parts = [_present(terms.PASS_VERBS), where, *(["behind", other] if other else [])]
        case event if event in MOTIONS:
            other = other or (f"another {_noun(hero)}" if hero.count > 1 else "")
            beside = _plain(terms.BESIDE).format(other=other) if other else ""
            parts = [_present(terms.ANIMAL_VERBS[event]), where, beside]
        case event:
            manner = _plain(terms.MANNERS[event]) if scene.manner == event and not where else where
            parts = [_present(terms.EVENT_VERBS[event]), manner]
    return " ".join(part for part in parts if part)


def _present(words: Words) -> str:
    return _plain(words).partition("|")[0]


def _direction(scene: Scene) -> str:
    if not scene.direction or scene.event in IN_PLACE:
        return ""
    return _plain(
        (terms.DIRECTION_WORDS if scene.event in PLAIN_TRAVEL else terms.LEAN_WORDS)[scene.direction]
    )


def _floor(scene: Scene) -> str:
    if not scene.floor:
        return ""
    preposition = _plain(terms.FLOOR_PREPOSITIONS.get(scene.event)) or "on"
    colours = [*scene.floor_colours, "", ""]
    pieces = terms.FLOOR_WORDS[scene.floor].seen
    piece = pieces[1] if scene.floor == "checker" and len(scene.floor_colours) > 1 else pieces[0]
    return f"{preposition} {piece.format(colour=colours[0], other=colours[1])}"


def _other(scene: Scene, thing: Thing, partner: Thing | None, *, alone: bool) -> str:
    """Say what else is there, and where."""
    noun = _noun(thing)
    name = (
        f"{terms.COUNTS[thing.count]} {pluralised(noun)}"
        if thing.count > 1
        else f"{_article(scene, thing)} {noun}"
    )
    hero = _name(scene.things[0], plain=alone and partner is None)
    owner = "its" if hero == "it" else f"{hero}'s"
    where = terms.RELATION_WORDS[_place(thing)].seen[1 if _place(thing) in ("left", "right") else 0]
    return f"{name} {where.format(it=hero, its=owner)}"


def _place(thing: Thing) -> str:
    return thing.relation if thing.relation in terms.RELATION_WORDS else ""


def _more_of_the_same(scene: Scene, partner: Thing | None) -> list[str]:
    """Say the others of "three horses": one may be at the hero's side, the rest stand around."""
    hero = scene.things[0]
    has_companion = hero.group == "animal" and partner is None and bool(scene.event)
    left = [(hero, hero.count - 1 - has_companion), *([(partner, partner.count - 1)] if partner else [])]
    where = _plain(terms.RELATION_WORDS[""])
    return [
        f"another {_noun(thing)} {where}"
        if count == 1
        else f"{terms.COUNTS[count]} {pluralised(_noun(thing))} {where}"
        for thing, count in left
        if count > 0
    ]


def _article(scene: Scene, thing: Thing) -> str:
    hero = scene.things[0]
    return "another" if (thing.kind, thing.colour) == (hero.kind, hero.colour) else "a"


def _name(hero: Thing, *, plain: bool) -> str:
    if plain:
        return "it"
    words = [hero.colour] if hero.colour else []
    table = terms.ANIMAL_WORDS if hero.group == "animal" else terms.SHAPE_WORDS
    return " ".join(["the", *words, _plain(table[hero.kind])])


def _camera(scene: Scene, *, crowded: bool) -> str:
    if not scene.camera:
        return ""
    it = _name(scene.things[0], plain=not crowded and scene.event not in NAMES_ANOTHER_THING)
    move = _present(terms.CAMERA_VERBS[scene.camera]).format(it=it)
    if scene.camera in ("pan", "orbit") and scene.camera_sense:
        move = f"{move} {_plain(terms.CAMERA_SENSES[scene.camera_sense])}"
    return f". The camera {move}." if crowded else f" while the camera {move}"
