"""Captions say what is in the scene, in many ways and good English, and keep the held-out wordings apart."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from unstatic.world import vocabulary
from unstatic.world.animals import motions
from unstatic.world.captions import STYLES, caption, captions
from unstatic.world.captions_grammar import PLAIN_TRAVEL, camera_is_plain, others, pluralised
from unstatic.world.mix import MIXES
from unstatic.world.physics import simulate
from unstatic.world.relations import relation_to_hero, seen_spec
from unstatic.world.scenes import sample_scene
from unstatic.world.spec import (
    ANIMALS,
    CAMERAS,
    COLOURS,
    EVENTS,
    FLOORS,
    MATERIALS,
    SHAPES,
    SKIES,
    CameraSpec,
    LightSpec,
    ObjectSpec,
    PropSpec,
    SceneSpec,
)
from unstatic.world.vocabulary import (
    ANIMAL_VERBS,
    ANIMAL_WORDS,
    COLOUR_WORDS,
    EVENT_VERBS,
    GENERIC_WORDS,
    SHAPE_WORDS,
    Words,
)

SENSES = {
    "orbit": ("left", "right"),
    "pan": ("left", "right"),
    "dolly": ("in", "out"),
    "zoom": ("in", "out"),
    "rise": ("up", "down"),
}
PROPS = {"ramp": "ramp", "pass-behind": "wall"}
DIRECTIONS = ("left", "right", "towards", "away")
DIRECTED = ("roll", "slide", "bounce", "topple", "collide", "ramp", "pass-behind", "jump")
OPPOSITES = {"left": r"\bright", "right": r"\bleft", "towards": r"\baway|distance", "away": r"\btoward"}


def an_object(position=(0.0, 0.0, 0.4), **fields) -> ObjectSpec:
    return ObjectSpec(
        **{"shape": "ball", "colour": "red", "material": "matte", "size": 0.4, "position": position} | fields
    )


def a_camera(kind: str = "still", sense: str = "", amount: float = 0.3) -> CameraSpec:
    eye, target = (0.0, -5.0, 1.5), (0.0, 0.0, 0.4)
    return CameraSpec(kind=kind, sense=sense, eye=eye, target=target, field_of_view=0.8, amount=amount)


def a_scene(*objects: ObjectSpec, event: str = "rest", **fields) -> SceneSpec:
    light = LightSpec(direction=(0.0, 0.0, 1.0))
    fixed = {
        "seed": 1,
        "frames": 17,
        "fps": 16,
        "width": 64,
        "height": 64,
        "camera": a_camera(),
        "light": light,
    }
    return SceneSpec(**fixed | {"objects": objects or (an_object(),), "event": event} | fields)


def a_drawn_scene(rng: np.random.Generator, seed: int) -> SceneSpec:
    """One scene with everything drawn: not physically sensible, but every word comes up."""

    def one(names):
        return str(names[rng.integers(len(names))])

    def drawn(position, role, direction=""):
        look = {"shape": one(SHAPES), "colour": one(COLOURS), "material": one(MATERIALS)}
        build = {"size": rng.uniform(0.25, 0.6), "aspect": rng.uniform(0.4, 2.0)}
        return an_object(position, role=role, direction=direction, **look, **build)

    event, kind = one(EVENTS), one(CAMERAS)
    objects = [drawn((0.0, 0.0, 0.4), "hero", one(DIRECTIONS) if event in DIRECTED else "")]
    objects += [drawn((1.0, 0.0, 0.4), "partner")] if event == "collide" or rng.random() < 0.3 else []
    objects += [drawn((-1.2, 0.5, 0.4), "extra")] if rng.random() < 0.4 else []
    prop = PropSpec(
        kind=PROPS.get(event, ""), colour="brown", position=(0.0, -0.5, 0.5), half_extents=(0.5, 0.1, 0.5)
    )
    return a_scene(
        *objects,
        seed=seed,
        event=event,
        props=(prop,) if event in PROPS else (),
        floor=one(FLOORS),
        floor_colour=one(COLOURS),
        floor_colour2=one(COLOURS),
        sky=one(SKIES),
        camera=a_camera(kind, one(SENSES.get(kind, ("",)))),
        light=LightSpec(direction=(0.8, 0.0, 0.6), softness=rng.uniform(0.0, 0.1)),
    )


@pytest.fixture(scope="module")
def scenes() -> list[SceneSpec]:
    rng = np.random.default_rng(0)
    return [a_drawn_scene(rng, seed) for seed in range(500)]


@pytest.fixture(scope="module")
def taught() -> list[SceneSpec]:
    """Scenes as models are taught them."""
    return [
        sample_scene(70_500_000 + seed, frames=33, width=128, height=128, mix=MIXES["taught"])
        for seed in range(80)
    ]


def says(text: str, words: Words) -> bool:
    return any(re.search(rf"\b{re.escape(piece)}\b", text, re.IGNORECASE) for piece in words.all)


def says_event(text: str, spec: SceneSpec) -> bool:
    if spec.event == "pass-behind":
        return "behind a" in text.lower()
    if spec.event == "ramp":
        return re.search(r"\bdown an? ", text) is not None and says(text, vocabulary.PROP_WORDS["ramp"])
    forms = [form for piece in EVENT_VERBS[spec.event].all for form in vocabulary.verb(piece)]
    return says(text, Words(tuple(forms)))


def motion(text: str) -> str:
    """Strip a caption of what also has sides: camera, light, other things, and "from left to right"."""
    text = re.sub(r"from left to right", "rightwards", text.lower())
    text = re.sub(r"from right to left", "leftwards", text)
    text = re.sub(r"(toward|towards|away from|closer to) the (camera|viewer)", r"\1 us", text)
    text = re.sub(r"camera [^.,]*", "", text)
    text = re.sub(r"lit from the (left|right)|with light from the (left|right)", "", text)
    text = re.sub(r"(left|right) of |(on|to) (its|the red ball's|the [a-z ]+'s) (left|right)", "", text)
    return re.sub(r"on the (left|right) side of", "", text)


@pytest.mark.parametrize("held_out", [False, True])
def test_every_caption_names_the_hero_and_the_event(scenes, held_out):
    for spec in scenes:
        for text in captions(spec, 7, 1, held_out=held_out):
            hero = spec.objects[0]
            is_block = hero.shape == "cube" and not 0.8 <= hero.aspect <= 1.25
            assert says(text, SHAPE_WORDS["block" if is_block else hero.shape]), text
            assert says(text, COLOUR_WORDS[hero.colour]), text
            assert says_event(text, spec), (spec.event, text)


@pytest.mark.parametrize("style", ["medium", "long"])
@pytest.mark.parametrize("held_out", [False, True])
def test_the_direction_is_said_and_never_the_opposite(scenes, style, held_out):
    for spec in scenes:
        side = spec.objects[0].direction
        text = caption(spec, np.random.default_rng(spec.seed), style=style, held_out=held_out)
        if side:
            table = vocabulary.DIRECTION_WORDS if spec.event in PLAIN_TRAVEL else vocabulary.LEAN_WORDS
            assert says(text, table[side]), (side, text)
            assert not re.search(OPPOSITES[side], motion(text)), (side, text)
        else:
            assert not re.search(r"leftwards|rightwards|to the (left|right)", motion(text)), text


def test_english(scenes):
    for spec in scenes:
        for text in captions(spec, 3, 1) + captions(spec, 3, 1, held_out=True):
            assert not re.search(r"\ba [aeiou]", text, re.IGNORECASE), text
            assert not re.search(r"\ban [^aeiou]", text, re.IGNORECASE), text
            assert not re.search(r"\b(\w+) \1\b", re.sub("over and over|round and round", "", text)), text
            assert not re.search(r"  | [,.;]|[{}|/]|\.\.|^\W|\W$", text.removesuffix(".")), text
            assert text.isascii(), text


def test_sentences_begin_with_capitals_and_end_with_a_stop_or_neither(scenes):
    for spec in scenes:
        for text in captions(spec, 5, 1):
            sentences = text.split(". ")
            if text.endswith("."):
                assert all(each[0].isupper() for each in sentences), text
            else:
                assert len(sentences) == 1, text
                assert text[0].islower(), text


def test_the_same_seed_says_the_same(scenes):
    assert captions(scenes[3], 11, 5) == captions(scenes[3], 11, 5)
    assert captions(scenes[3], 11, 5) != captions(scenes[3], 12, 5)


def test_there_are_many_ways_to_say_one_thing(scenes):
    assert len(set(captions(scenes[0], 0, 300))) > 240
    assert len({caption(scenes[0], np.random.default_rng(i), style="short") for i in range(300)}) > 80


def test_lengths_follow_their_shares(taught):
    plain = [spec for spec in taught if len(spec.objects) == 1 and spec.camera.kind in ("still", "follow")]
    counts = [len(text.split()) for spec in plain for text in captions(spec, 1, 8)]
    assert 0.25 < np.mean([count <= 10 for count in counts]) < 0.55
    counts = [len(text.split()) for spec in taught for text in captions(spec, 1, 4)]
    assert 0.15 < np.mean([count > 22 for count in counts]) < 0.4
    assert max(counts) < 60


@pytest.mark.parametrize("style", ["short", "medium", "long"])
def test_captions_of_every_length_say_what_else_is_there_and_how_the_camera_moves(taught, style: str):
    for spec in taught:
        text = caption(spec, np.random.default_rng(spec.seed), style=style)
        for other in others(spec):
            if isinstance(other.thing, ObjectSpec):
                names = SHAPE_WORDS | ANIMAL_WORDS
                words = tuple(
                    plural for each in names[other.thing.shape].all for plural in (each, pluralised(each))
                )
                words += GENERIC_WORDS.get(other.thing.shape, Words(())).all
                assert says(text, Words(words)), (other, text)
        moved = re.sub(r"(towards?|away from|closer to|past) the camera", "", text)
        if spec.camera.kind not in ("still", "follow") and camera_is_plain(spec):
            assert "camera" in moved, (spec.camera.kind, text)


def test_long_captions_say_floor_sky_and_camera(scenes):
    for spec in scenes:
        text = caption(spec, np.random.default_rng(spec.seed), style="long")
        colours = {"colour": spec.floor_colour, "other": spec.floor_colour2}
        floors = [each.format(**colours) for each in vocabulary.FLOOR_WORDS[spec.floor].seen]
        assert says(text, Words(tuple(re.sub(r"\ba (?=[aeiou])", "an ", each) for each in floors))), text
        assert says(text, vocabulary.SKY_WORDS[spec.sky]), text
        moved = re.sub(r"(towards?|away from|closer to) the camera", "", text)
        assert ("camera" in moved) or spec.camera.kind in ("still", "follow"), text


def all_tables(value=None) -> Iterator[Words]:
    value = vars(vocabulary) if value is None else value
    for each in value.values():
        if isinstance(each, Words):
            yield each
        elif isinstance(each, dict) and each and all(isinstance(word, Words) for word in each.values()):
            yield from each.values()


def literal(piece: str) -> list[str]:
    """Return what of a piece appears in a caption: both forms of a verb, the longest part of a template."""
    return [max(re.split(r"\{\w+\}", form), key=len).strip(" ,.;") for form in piece.split("|")]


def test_at_least_a_fifth_of_the_pieces_is_held_out():
    seen = sum(len(table.seen) for table in all_tables())
    held_out = sum(len(table.held_out) for table in all_tables())
    assert held_out / (seen + held_out) >= 0.2


def test_training_captions_contain_no_held_out_piece(scenes):
    animals = [
        a_scene(an_animal(kind, motion), event=motion, seed=seed)
        for kind in ANIMALS
        for motion in motions(kind)
        for seed in range(8)
    ]
    texts = " | ".join(text for spec in (*scenes, *animals) for text in captions(spec, 2, 2)).lower()
    assert "kick" in texts
    pieces = {form.lower() for table in all_tables() for piece in table.held_out for form in literal(piece)}
    found = [piece for piece in pieces if re.search(rf"\b{re.escape(piece)}\b", texts)]
    assert found == []


def test_held_out_captions_use_held_out_pieces(scenes):
    for spec in scenes[:100]:
        text = captions(spec, 2, 1, held_out=True)[0]
        hero = spec.objects[0]
        assert says(text, Words(COLOUR_WORDS[hero.colour].held_out)), text


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ((2.0, 0.0, 0.4), "right"),
        ((-2.0, 0.3, 0.4), "left"),
        ((0.2, 2.0, 0.4), "behind"),
        ((0.2, -2.0, 0.4), "front"),
        ((0.5, 0.5, 0.4), ""),
    ],
)
def test_relations_are_seen_from_the_camera(position, expected):
    spec = a_scene(an_object(), an_object(position, role="extra"))
    assert relation_to_hero(spec, spec.objects[1]) == expected


def test_a_relation_that_an_orbit_upsets_is_not_said():
    def with_amount(amount: float) -> str:
        spec = a_scene(
            an_object(), an_object((1.5, 0.0, 0.4), role="extra"), camera=a_camera("orbit", "left", amount)
        )
        return relation_to_hero(spec, spec.objects[1])

    assert (with_amount(0.3), with_amount(1.2)) == ("right", "")


def test_neither_relation_nor_light_is_said_after_two_turns_that_end_where_they_began():
    camera = a_camera("orbit", "left", 4 * np.pi)
    light = LightSpec(direction=(0.8, 0.0, 0.6), softness=0.05)
    spec = a_scene(an_object(), an_object((1.5, 0.0, 0.4), role="extra"), camera=camera, light=light)
    assert relation_to_hero(spec, spec.objects[1]) == ""
    assert not any("lit from" in text.lower() for text in captions(spec, 0, 100))
    assert any("lit from" in text.lower() for text in captions(a_scene(light=light), 0, 100))


def test_a_side_of_a_pendulum_is_one_of_its_whole_swing():
    string = PropSpec(kind="string", colour="grey", position=(0.0, 0.0, 2.0), half_extents=(0.01, 0.0, 0.0))
    begins = an_object((-0.8, 0.0, 0.6))
    for x, expected in ((0.7, ""), (2.6, "right"), (-2.6, "left")):
        spec = a_scene(begins, an_object((x, 0.0, 0.4), role="extra"), event="pendulum", props=(string,))
        assert relation_to_hero(spec, spec.objects[1]) == expected
    resting = a_scene(begins, an_object((0.7, 0.0, 0.4), role="extra"))
    assert relation_to_hero(resting, resting.objects[1]) == "right"


@pytest.mark.parametrize("kind", ["zoom", "dolly", "orbit"])
def test_what_hardly_comes_nearer_in_a_window_is_seen_by_a_still_camera(kind: str):
    spec = sample_scene(3, frames=65, width=64, height=64, mix=replace(MIXES["default"], cameras={kind: 1.0}))
    whole = simulate(spec)
    assert spec.camera.kind == kind
    assert seen_spec(spec, whole) == spec
    short = seen_spec(spec, whole.window(30, 4))
    assert short.camera.kind == ("orbit" if kind == "orbit" else "still")
    assert replace(short, camera=spec.camera) == spec


def test_things_outside_the_frame_are_not_mentioned():
    spec = a_scene(an_object(), an_object((9.0, 0.0, 0.4), shape="cone", colour="green", role="extra"))
    assert not any("green" in text for text in captions(spec, 0, 100))


def test_like_things_in_one_place_are_counted():
    pair = [an_object((1.3, y, 0.4), shape="cube", colour="blue", role="extra") for y in (-0.1, 0.1)]
    spec = a_scene(an_object(), *pair)
    texts = [caption(spec, np.random.default_rng(seed), style="long") for seed in range(40)]
    assert all(re.search(r"two ([a-z-]+ )*(cubes|boxes|blocks)", text, re.IGNORECASE) for text in texts)


def test_the_partner_of_a_collision_is_what_is_hit():
    partner = an_object((1.0, 0.0, 0.4), shape="cube", colour="blue", role="partner")
    spec = a_scene(an_object(direction="right"), partner, event="collide")
    for seed in range(40):
        text = caption(spec, np.random.default_rng(seed)).lower()
        assert re.search(r"(hit\w*|with|into) a ([a-z-]+ )*(cube|box|block)", text), text


def test_following_what_does_not_go_anywhere_is_not_said():
    spec = a_scene(an_object(), camera=a_camera("follow"))
    assert not any("camera" in text for text in captions(spec, 0, 50))


def test_unsaid_things_stay_unsaid():
    """A short caption of a still scene with one matte ball leaves no room for sizes, partners or sides."""
    text = " ".join(caption(a_scene(), np.random.default_rng(seed), style="short") for seed in range(100))
    assert not re.search(r"\b(big|small|left|right|behind|shiny|metal|camera)\b", text)


def test_styles_share_all_captions():
    assert sum(style.share for style in STYLES.values()) == pytest.approx(1.0)


def an_animal(kind: str = "fox", motion: str = "gallop", **fields) -> ObjectSpec:
    return an_object(**{"shape": kind, "colour": "", "material": "", "motion": motion} | fields)


@pytest.mark.parametrize("kind", ANIMALS)
def test_animals_and_their_motions_are_named(kind: str) -> None:
    for motion in motions(kind):
        spec = a_scene(an_animal(kind, motion), event=motion)
        for text in exact_captions(spec, 8):
            assert any(word in text.lower() for word in ANIMAL_WORDS[kind].seen), text
            forms = [form for verb in ANIMAL_VERBS[motion].seen for form in verb.split("|")]
            assert any(form in text.lower() for form in forms), text


def test_only_loose_captions_say_dog() -> None:
    spec = a_scene(an_animal("husky", "walk"), event="walk")
    rng = np.random.default_rng(0)
    assert any(re.search(r"\bdog\b|\bdoggo\b", caption(spec, rng, style="short")) for _ in range(80))
    generic = "|".join(rf"(?<!husky )(?<!sled )\b{word}\b" for word in GENERIC_WORDS["husky"].seen)
    assert not any(re.search(generic, text) for text in exact_captions(spec, 80))


def test_a_companion_is_named_once() -> None:
    partner = an_animal("wolf", position=(0.0, 1.0, 0.4), role="partner")
    spec = a_scene(an_animal(), partner, event="gallop")
    for text in exact_captions(spec, 20):
        assert len(re.findall("wolf", text)) == 1, text
    twins = a_scene(an_animal(), an_animal(position=(0.0, 1.0, 0.4), role="partner"), event="gallop")
    assert all("another" in text for text in exact_captions(twins, 20))


def test_a_shower_names_who_is_still_to_come_and_a_room_no_wall() -> None:
    above = an_object((0.5, 0.0, 9.0), colour="blue", shape="cube", role="partner", period_s=3.0)
    assert all("blue" in text for text in exact_captions(a_scene(an_object(), above, event="shower"), 10))
    wall = PropSpec(kind="wall", colour="brown", position=(1.0, 0.0, 0.2), half_extents=(0.1, 1.0, 0.2))
    room = a_scene(an_object(), event="ricochet", props=(wall,))
    assert not any("brown" in text for text in exact_captions(room, 20))


def exact_captions(spec: SceneSpec, count: int) -> list[str]:
    return [caption(spec, np.random.default_rng(seed), style="exact", exact=True) for seed in range(count)]


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("red box", "red boxes"),
        ("wolf", "wolves"),
        ("brown deer", "brown deer"),
        ("stag with antlers", "stags with antlers"),
        ("husky", "huskies"),
        ("donkey", "donkeys"),
        ("pony", "ponies"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert pluralised(one) == many


def test_one_scene_is_told_in_more_than_ten_thousand_ways() -> None:
    """Captions that differ only in synonyms of shapes, colours, floors and materials are one."""
    extra = an_object((1.5, 0.0, 0.4), colour="blue", shape="cube", role="extra")
    spec = a_scene(an_object(direction="left"), extra, event="roll", camera=a_camera("orbit", "left"))
    rng = np.random.default_rng(0)
    assert len({frame_of(caption(spec, rng)) for _ in range(16_000)}) > 10_000


def frame_of(text: str) -> str:
    """Take synonyms out of a caption: what is left is how the sentence is built."""
    tables = (SHAPE_WORDS, COLOUR_WORDS, vocabulary.FLOOR_WORDS, vocabulary.MATERIAL_QUALITIES)
    pieces = {piece for table in tables for words in table.values() for piece in words.all}
    pieces |= {piece.format(colour="grey", other="white") for piece in pieces if "{" in piece}
    for piece in sorted(pieces, key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(piece)}\b", "_", text.lower())
    return text
