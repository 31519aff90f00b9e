"""The clauses of a caption: what is there, what happens, how it is lit and filmed.

Everything said here is true of the spec and plain to see; what is not certain is left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from unstatic.world import vocabulary as terms
from unstatic.world.events_ground import ROLLERS
from unstatic.world.geometry import product
from unstatic.world.relations import (
    SHAPES_WITH_ASPECT,
    Thing,
    hero,
    level_views,
    relation_to_hero,
    starts_in_frame,
)
from unstatic.world.spec import MOTIONS, ObjectSpec, PropSpec, SceneSpec
from unstatic.world.vocabulary import Verb, Words, verb

# Sizes and lights are named only where they are plain to see.
PLAIN_SIZE_RATIO = 1.6
PLAIN_ASPECT_RATIO = 1.5
UPRIGHT_COSINE = 0.9
PLAIN_SIDE_LIGHT = 0.6
SOFT_LIGHT, HARD_LIGHT = 0.06, 0.01

# Events whose verb takes a bare "left", "right" or "away".
PLAIN_TRAVEL = ("roll", "slide", "bounce", "collide", "walk", "gallop", "leap")
GENERIC_SHARE = 0.12
NAMES_ANOTHER_THING = ("collide", "ramp", "pass-behind")


@dataclass(frozen=True, slots=True)
class Voice:
    """Whose words they are: the random choices of one caption, from the seen or from the held-out pieces.

    An `exact` voice calls nothing by a word that fits more than one kind.
    """

    rng: np.random.Generator
    held_out: bool
    exact: bool = False

    def pick(self, words: Words) -> str:
        """Choose one piece."""
        return words.pick(self.rng, held_out=self.held_out)

    def verb(self, words: Words) -> Verb:
        """Choose one verb phrase."""
        return verb(self.pick(words))

    def maybe(self, share: float) -> bool:
        """Return True in this share of all cases."""
        return bool(self.rng.random() < share)


@dataclass(frozen=True, slots=True)
class Other:
    """`count` things of one look that stand in one relation to the hero."""

    thing: Thing
    count: int
    relation: str


def event_partner(spec: SceneSpec) -> Thing | None:
    """Return the second thing that the event needs: what is hit, what hides the hero, what it goes down."""
    if spec.event in MOTIONS:
        return next((each for each in spec.objects if each.role == "partner"), None)
    if spec.event not in NAMES_ANOTHER_THING:
        return None
    if spec.event == "ramp":
        return next((each for each in spec.props if each.kind == "ramp"), None)
    partners = [each for each in spec.objects if each.role == "partner"]
    screens = [each for each in spec.props if each.kind in ("wall", "post")]
    return next(iter((*partners, *screens)), None)


def noun_phrase(
    spec: SceneSpec, thing: Thing, voice: Voice, *, material: float, size: float, plural: bool = False
) -> str:
    """Name a thing without article: "big red glass ball"; `material`, `size`: how often they are said."""
    if isinstance(thing, PropSpec):
        nouns = [
            voice.pick(terms.COLOUR_WORDS[thing.colour]),
            voice.pick(terms.PROP_WORDS[_prop_name(thing)]),
        ]
        return pluralised(" ".join(nouns)) if plural else " ".join(nouns)
    if thing.is_animal:
        noun = _animal_noun(thing, voice)
        return pluralised(noun) if plural else noun
    words = [voice.pick(each) for each in _size_words(spec, thing) if voice.maybe(size)]
    words += _look(thing, voice, material)
    words.append(voice.pick(terms.SHAPE_WORDS[_shape_name(thing)]))
    return pluralised(" ".join(words)) if plural else " ".join(words)


def event_phrase(spec: SceneSpec, voice: Voice, *, direction: float, material: float, size: float) -> Verb:
    """Say what the hero does and to what; `direction`, `material`, `size`: how often they are said."""
    where = _direction(spec, voice) if voice.maybe(direction) else ""
    partner, other = event_partner(spec), ""
    if partner is not None:
        other = _article(spec, partner) + noun_phrase(spec, partner, voice, material=material, size=size)
    match spec.event:
        case "collide":
            return _collision(spec, voice, where, other)
        case "pass-behind":
            parts = (where, f"behind {other}") if voice.maybe(0.5) else (f"behind {other}", where)
            return voice.verb(terms.PASS_VERBS).then(" ".join(parts).strip())
        case "ramp":
            return voice.verb(_moves(hero(spec))).then(f"down {other}").then(where)
        case event if event in MOTIONS:
            beside = voice.pick(terms.BESIDE).format(other=other) if other else ""
            return voice.verb(terms.ANIMAL_VERBS[event]).then(where).then(beside)
        case event:
            has_manner = event in terms.MANNERS and not where and voice.maybe(0.6)
            return voice.verb(terms.EVENT_VERBS[event]).then(
                voice.pick(terms.MANNERS[event]) if has_manner else where
            )


def floor_noun(spec: SceneSpec, voice: Voice) -> str:
    """Name the floor, with its article where it takes one."""
    return voice.pick(terms.FLOOR_WORDS[spec.floor]).format(
        colour=spec.floor_colour, other=spec.floor_colour2
    )


def floor_phrase(spec: SceneSpec, voice: Voice) -> str:
    """Say where it happens: "across the grass"."""
    preposition = voice.pick(terms.FLOOR_PREPOSITIONS.get(spec.event, Words(("on",))))
    return f"{preposition} {floor_noun(spec, voice)}"


def camera_is_plain(spec: SceneSpec) -> bool:
    """Return whether one can see what the camera does: following what stays in its place is not seen."""
    return spec.camera.kind != "follow" or bool(hero(spec).direction)


def camera_verb(spec: SceneSpec, voice: Voice, *, it: str) -> Verb:
    """Say what the camera does; `it` is what the hero is called."""
    camera = spec.camera
    key = f"{camera.kind} {camera.sense}" if camera.kind in ("dolly", "zoom", "rise") else camera.kind
    done = voice.verb(terms.CAMERA_VERBS[key])
    if camera.kind == "pan" or (camera.kind == "orbit" and voice.maybe(0.5)):
        done = done.then(voice.pick(terms.CAMERA_SENSES[camera.sense]) if camera.sense else "")
    return Verb(*(form.format(it=it) for form in done))


def light_phrase(spec: SceneSpec, voice: Voice) -> str:
    """Say how the light falls: softness or side, whichever is plain; "" when neither is."""
    choices: list[Words] = []
    if spec.light.softness >= SOFT_LIGHT:
        choices.append(terms.SHADOWS["soft"])
    if spec.light.softness <= HARD_LIGHT:
        choices.append(terms.SHADOWS["hard"])
    sideways = product(level_views(spec), spec.light.direction)
    if np.abs(sideways[:, 0]).min() > PLAIN_SIDE_LIGHT and np.ptp(np.sign(sideways[:, 0])) == 0:
        choices.append(terms.LIT_FROM["right" if sideways[0, 0] > 0 else "left"])
    return voice.pick(choices[voice.rng.integers(len(choices))]) if choices else ""


def others(spec: SceneSpec) -> list[Other]:
    """Return the visible things that the event does not name, like ones in one place together."""
    taken = (hero(spec), event_partner(spec))
    named = terms.PROP_WORDS if spec.event != "ricochet" else ()
    things: Iterable[Thing] = (*spec.objects, *(each for each in spec.props if each.kind in named))
    found: dict[tuple[str, ...], Other] = {}
    for thing in things:
        comes_later = spec.event == "shower" and isinstance(thing, ObjectSpec) and thing.role == "partner"
        if any(thing is each for each in taken) or not (comes_later or starts_in_frame(spec, thing)):
            continue
        relation = relation_to_hero(spec, thing)
        key = (*_identity(thing), relation)
        found[key] = Other(thing, found[key].count + 1 if key in found else 1, relation)
    return list(found.values())


def other_phrase(
    spec: SceneSpec, other: Other, voice: Voice, *, it: str, standing: bool, material: float
) -> str:
    """Say what else is there and where: "a blue cube on its left"; `standing` puts a verb in between."""
    noun = noun_phrase(spec, other.thing, voice, material=material, size=0.5, plural=other.count > 1)
    name = f"{terms.COUNTS[other.count]} {noun}" if other.count > 1 else _article(spec, other.thing) + noun
    owner = "its" if it == "it" else f"{it}'s"
    where = voice.pick(terms.RELATION_WORDS[other.relation]).format(it=it, its=owner)
    stands = voice.pick(terms.STAND if other.count > 1 else terms.STANDS) if standing else ""
    return " ".join(part for part in (name, stands, where) if part)


def hero_name(spec: SceneSpec, *, plain: bool) -> str:
    """Return what the hero is called the second time: "it" where that is plain, else "the red ball"."""
    actor = hero(spec)
    if actor.is_animal:
        return "it" if plain else f"the {terms.ANIMAL_WORDS[actor.shape].seen[0]}"
    return "it" if plain else f"the {actor.colour} {terms.SHAPE_WORDS[_shape_name(actor)].seen[0]}"


def _direction(spec: SceneSpec, voice: Voice) -> str:
    side = hero(spec).direction
    if not side or spec.event in ("rest", "spin", "pendulum"):
        return ""
    return voice.pick((terms.DIRECTION_WORDS if spec.event in PLAIN_TRAVEL else terms.LEAN_WORDS)[side])


def _collision(spec: SceneSpec, voice: Voice, where: str, other: str) -> Verb:
    hit = voice.verb(terms.EVENT_VERBS["collide"]).then(other)
    if not where:
        return hit
    move = voice.verb(_moves(hero(spec))).then(where)
    return Verb(f"{move.present} and {hit.present}", f"{move.participle} and {hit.participle}")


def _animal_noun(thing: ObjectSpec, voice: Voice) -> str:
    if thing.shape in terms.GENERIC_WORDS and not voice.exact and voice.maybe(GENERIC_SHARE):
        return voice.pick(terms.GENERIC_WORDS[thing.shape])
    return voice.pick(terms.ANIMAL_WORDS[thing.shape])


def _moves(actor: ObjectSpec) -> Words:
    return terms.MOVE_VERBS["rolling" if actor.shape in ROLLERS else "sliding"]


def _article(spec: SceneSpec, thing: Thing) -> str:
    """Say "another" for what looks like the hero, else "a"; "an" is settled when the sentence is finished."""
    actor = hero(spec)
    same = isinstance(thing, ObjectSpec) and (thing.shape, thing.colour) == (actor.shape, actor.colour)
    return "another " if same else "a "


def _identity(thing: Thing) -> tuple[str, ...]:
    if isinstance(thing, PropSpec):
        return (thing.kind, thing.colour)
    return (thing.shape, thing.colour, thing.material)


def _look(thing: ObjectSpec, voice: Voice, share: float) -> list[str]:
    """Name colour and material in the order English wants: "shiny blue" or "blue metal"."""
    colour = voice.pick(terms.COLOUR_WORDS[thing.colour])
    if not voice.maybe(share * (0.3 if thing.material == "matte" else 1.0)):
        return [colour]
    if thing.material in terms.MATERIAL_NOUNS and voice.maybe(0.6):
        return [colour, voice.pick(terms.MATERIAL_NOUNS[thing.material])]
    return [voice.pick(terms.MATERIAL_QUALITIES[thing.material]), colour]


def _size_words(spec: SceneSpec, thing: ObjectSpec) -> list[Words]:
    """Return words for the size beside other objects and for the build of an upright thing, where plain."""
    found: list[Words] = []
    sizes = [each.size for each in spec.objects if not each.is_animal]
    if max(sizes) >= PLAIN_SIZE_RATIO * min(sizes):
        found += [terms.BIG] * (thing.size > 0.85 * max(sizes)) + [terms.SMALL] * (
            thing.size < 1.15 * min(sizes)
        )

    _, x, y, _ = thing.quaternion
    is_upright = abs(1 - 2 * (x * x + y * y)) > UPRIGHT_COSINE
    if thing.shape in SHAPES_WITH_ASPECT and is_upright:
        found += [terms.TALL] * (thing.aspect * PLAIN_ASPECT_RATIO < 1) + [terms.FLAT] * (
            thing.aspect > PLAIN_ASPECT_RATIO
        )
    return found


def _shape_name(thing: ObjectSpec) -> str:
    """Return the key of terms.SHAPE_WORDS; a cube that is clearly higher or wider is a "block"."""
    is_block = thing.shape == "cube" and not 0.8 <= thing.aspect <= 1.25
    return "block" if is_block else thing.shape


def _prop_name(thing: PropSpec) -> str:
    """Return the key of terms.PROP_WORDS; a post as broad as a board is a "wall"."""
    is_broad = thing.kind == "post" and max(thing.half_extents[:2]) > 0.4 * thing.half_extents[2]
    return "wall" if is_broad else thing.kind


def pluralised(phrase: str) -> str:
    """Put the noun into the plural: "red boxes", "wolves", "deer", "stags with antlers"."""
    head, joint, rest = phrase.partition(" with ")
    if joint:
        return pluralised(head) + joint + rest
    if phrase.endswith(("deer", "shiba inu", "shiba")):
        return phrase
    if phrase.endswith(("olf", "alf")):
        return phrase[:-1] + "ves"
    if phrase.endswith(("ky", "ny", "gy")):
        return phrase[:-1] + "ies"
    return phrase + ("es" if phrase.endswith(("x", "s")) else "s")
