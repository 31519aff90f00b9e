"""What people type becomes a caption: nothing said is lost, nothing held out is used, twice is once."""

import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unstatic.evals.prompts import load_suite
from unstatic.generate.prompts.expand import expand, worded
from unstatic.generate.prompts.lexicon import lexicon
from unstatic.models.manifest import EMBEDDED_MODELS, read_manifest
from unstatic.world import vocabulary
from unstatic.world.captions import caption
from unstatic.world.vocabulary import Words

STRANGE = " ".join("".join(chr(97 + (n * k) % 26) for k in (3, 5, 7, 11, 13, 17)) for n in range(4_500))
PHRASES = st.lists(st.sampled_from(sorted(" ".join(phrase) for phrase in lexicon().phrases)), max_size=9)
PROMPTS = st.one_of(PHRASES.map(" ".join), st.text(max_size=40))
SUITES = ("objects", "animals", "pairs", "cameras", "held-out", "first-light")


@pytest.mark.parametrize("text", ["red ", "red, ", "a red and a ", "rolling ", "zxqw ", f"{STRANGE} "])
def test_the_longest_texts_are_read_in_a_moment(text: str):
    """A server reads prompts before it knows whether they are paid for: "red red ..." took half a minute."""
    text = (text * 32_000)[:32_000]
    expand("a red bal")
    began_s = time.process_time()
    expand(text)
    assert time.process_time() - began_s < 15, "runtime checks of shapes take their part of it"


def held_out_pieces() -> set[str]:
    tables: list[Words] = []
    for value in vars(vocabulary).values():
        tables += value.values() if isinstance(value, dict) else [value]
    pieces = {piece for words in tables if isinstance(words, Words) for piece in words.held_out}
    return {form for piece in pieces for form in piece.split("|") if "{" not in form}


HELD_OUT = re.compile(r"\b(" + "|".join(map(re.escape, sorted(held_out_pieces()))) + r")\b")


@pytest.mark.parametrize(
    ("prompt", "caption"),
    [
        ("puppy in the snow!!", r"a (husky|shiba inu) \w+ .*snow (in daylight|at sunset)"),
        ("a white doggo sprinting", r"a husky gallops to the (left|right) .* while the camera follows it"),
        ("horsey jumping", r"a horse leaps .* while the camera follows it"),
        ("a mule goes for a stroll through the park", r"a donkey walks to the \w+ across grass .*"),
        ("shiny gold ball on a beach at night", r"a yellow metal ball \w+ .*on sand at night"),
        ("chrome sphere near a lake", r"a grey mirror ball \w+ .*on water .*"),
        ("crimson sphere drops", r"a red ball falls onto .*"),
        ("a wooden crate tipping over indoors", r"a \w+ wood cube topples over on .* in a studio"),
        ("camera circles a cube made of glass", r"a \w+ glass cube rests .* while the camera orbits it"),
        ("2 ponies racing", r"a horse gallops to the \w+ beside another horse across .*"),
        ("three red balls", r"a red ball .*, with two red balls in the scene"),
        ("red and blue balls", r"a red ball .*, with a blue ball in the scene"),
        ("red ball next to a blue cube", r"a red ball .*, with a blue cube on its (left|right)"),
        ("a ball to the left of a green cone", r"a \w+ ball .*, with a green cone on its right"),
        ("a red ball rolls into a blue cube", r"a red ball rolls to the \w+ and hits a blue cube on .*"),
        ("the white cube gets hit by a red ball", r"a red ball rolls to the \w+ and hits a white cube on .*"),
        (
            "a pyramid spinning on black and yellow tiles",
            r"a \w+ cone spins on a black and yellow checkered .*",
        ),
        ("black and white ball", r"a checkered black ball .*"),
        ("blue ball down a slope", r"a blue ball rolls down a (grey|brown|white) ramp .*"),
        ("marble swinging on a rope", r"a \w+ ball swings on a string above .*"),
        ("hosre galoping thru the snwo", r"a horse gallops to the \w+ across snow .*"),
        ("can you show me a wolf at night", r"a wolf \w+ .* at night.*"),
        ("a green can that can jump", r"a green cylinder jumps on .*"),
        ("slow pan left over a red cone", r"a red cone .* while the camera pans to the left"),
        ("sunset over the ocean", r"an? \w+ .* water at sunset.*"),
    ],
)
def test_what_people_type_becomes_a_caption(prompt: str, caption: str):
    for seed in range(5):
        found = expand(prompt, seed=seed)
        assert found.changed
        assert re.match(caption, found.text), found.text


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a red ball and a spaceship on grass", ("spaceship",)),
        ("a cute black horse", ("black", "cute")),
        ("a glass horse", ("glass",)),
        ("a spinning wolf", ("spinning",)),
        ("a hungry ball eating", ("eating", "hungry")),
        ("a red ball on top of a blue cube", ("on top of",)),
        ("a kitten chasing a dog", ("kitten",)),
        ("a corgi running on the beach", ("corgi",)),
        ("a fox on a beach in the snow", ("snow",)),
        ("a fast red ball", ("fast",)),
    ],
)
def test_what_has_no_place_in_the_world_is_listed(prompt: str, unknown: tuple[str, ...]):
    assert expand(prompt).unknown == unknown


def test_what_is_not_wanted_is_not_filled_in():
    texts = [expand("a fox, no grass, without snow, not running", seed=seed).text for seed in range(20)]
    assert not any(re.search("grass|snow|gallops", text) for text in texts)


@pytest.mark.parametrize("prompt", ["", "?!", "a spaceship lands on Mars", "please", "a wall", "empty beach"])
def test_what_names_no_thing_of_the_world_stays_as_it_is(prompt: str):
    assert expand(prompt).text == prompt


def test_a_picture_is_not_contradicted():
    assert expand("the ball rolls away", filling=False).text == "a ball rolls away"
    assert expand("doggo, camera zooms out", filling=False).text in (
        "a husky while the camera zooms out",
        "a shiba inu while the camera zooms out",
    )


def test_a_seed_chooses_and_chooses_the_same_again():
    texts = [expand("a ball", seed=seed).text for seed in range(12)]
    assert texts == [expand("a ball", seed=seed).text for seed in range(12)]
    assert len(set(texts)) > 6


def test_the_documents_show_what_really_happens():
    root = Path(__file__).parent.parent.parent.parent
    nano = read_manifest(EMBEDDED_MODELS / "nano")
    text = worded("shiny gold ball on a beach at night", nano, seed=0, filling=True).text
    for name in ("README.md", "docs/explanation/prompts.md"):
        assert text in " ".join((root / name).read_text(encoding="utf-8").split())


def test_understood_slots_are_told():
    assert expand("gold ball on a beach at night, tracking shot").understood == {
        "subject": "yellow metal ball",
        "floor": "sand",
        "sky": "night",
        "camera": "follow",
    }


@pytest.mark.parametrize("suite", SUITES)
def test_captions_stay_as_they_are(suite: str):
    for prompt in load_suite(suite).prompts[:40]:
        rng = np.random.default_rng(prompt.spec.seed)
        for _ in range(3):
            text = caption(prompt.spec, rng, exact=True)
            assert expand(text).text == text


@pytest.mark.parametrize("suite", SUITES)
def test_captions_in_held_out_words_are_said_in_seen_ones(suite: str):
    for prompt in load_suite(suite).prompts[:40]:
        text = caption(prompt.spec, np.random.default_rng(prompt.spec.seed), exact=True, held_out=True)
        found = expand(text)
        assert found.unknown == ()
        assert not HELD_OUT.search(found.text), found.text


@settings(max_examples=300)
@given(PROMPTS, st.integers(0, 2**63 - 1), st.booleans())
def test_any_text_can_be_expanded_and_twice_is_once(prompt: str, seed: int, filling: bool):
    found = expand(prompt, seed=seed, filling=filling)
    assert found == expand(prompt, seed=seed, filling=filling)
    if filling:
        assert expand(found.text, seed=seed).text == found.text
    if found.changed:
        assert not HELD_OUT.search(found.text), found.text


def test_only_a_model_with_an_expander_has_its_prompts_worded():
    worldly = replace(read_manifest(EMBEDDED_MODELS / "nano"), expander="world")
    found = worded("labradors galoping, cinematic", worldly, seed=0, filling=True)
    assert found.text.startswith("a ")
    assert found.warnings == ("read galoping as galloping", "not understood: labradors, cinematic")


def test_a_prompt_about_other_things_gets_one_warning():
    nano = read_manifest(EMBEDDED_MODELS / "nano")
    (warning,) = worded("Two people argue in a Paris cafe", nano, seed=0, filling=True).warnings
    assert "nano knows few things (ball, cube" in warning
    assert "unstatic models list --all" in warning


@pytest.mark.parametrize("prompt", ["a fox", "red ball next to a dog", "a horse gallops to the left on snow"])
def test_a_model_that_has_seen_no_animals_says_so(prompt: str):
    objects = replace(read_manifest(EMBEDDED_MODELS / "nano"), expander="objects")
    found = worded(prompt, objects, seed=0, filling=True)
    assert found.text == prompt
    (warning,) = found.warnings
    assert "ring)" in warning
    assert "fox" not in warning
    assert worded(prompt, replace(objects, expander="world"), seed=0, filling=True).warnings == ()


def test_such_a_model_gets_no_animal_that_nobody_asked_for():
    texts = [expand("a lake at sunset", seed=seed, animals=False).text for seed in range(8)]
    assert all("ball" in text for text in texts), texts
