"""What comes after another prompt leaves open what it does not change, and what is new begins a scene."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unstatic.generate.prompts.continuing import begins_anew, carried, understand_next
from unstatic.generate.prompts.expand import Expansion, as_typed, expand, worded
from unstatic.generate.prompts.lexicon import lexicon
from unstatic.generate.prompts.scene import Scene, Thing
from unstatic.generate.prompts.understanding import understand
from unstatic.models.manifest import find_model

FIRST = "a red ball rolls across sand at sunset"


def told(*prompts: str) -> list[Expansion]:
    """Expand one prompt after another."""
    found: list[Expansion] = []
    for prompt in prompts:
        found.append(expand(prompt, before=found[-1].scene if found else None))
    return found


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("it stops", "a red ball rests on sand at sunset"),
        ("then the ball bounces", "a red ball bounces on sand at sunset"),
        ("the camera goes round it", "a red ball rolls on sand at sunset while the camera orbits it"),
        ("zoom in", "a red ball rolls on sand at sunset while the camera zooms in"),
        ("the same ball bounces on snow", "a red ball bounces on snow at sunset"),
        ("now at night", "a red ball rolls on sand at night"),
        ("it hits a blue cube", "a red ball rolls and hits a blue cube on sand at sunset"),
        ("it stops beside a blue cube", "a red ball rests on sand at sunset, with a blue cube on its side"),
        ("they stop", "a red ball rests on sand at sunset"),
    ],
)
def test_what_is_left_open_is_as_it_was(prompt: str, text: str):
    said = expand(prompt, before=understand(FIRST).scene).text
    said = re.sub(" to the (left|right)", "", said).replace("rolls across", "rolls on")
    assert re.sub("its (left|right)", "its side", said) == text


def test_nothing_is_added_to_what_goes_on():
    bare = understand("a red ball bounces.").scene
    assert {expand("it stops", before=bare, seed=seed).text for seed in range(8)} == {"a red ball rests"}


def test_nobody_goes_away_while_a_scene_goes_on():
    fox, eats, again, both = told(
        "a fox and a horse run on grass", "the horse eats", "the fox eats", "they stop"
    )
    assert [each.anew for each in (fox, eats, again, both)] == [False] * 4
    for each in (eats, again, both):
        assert {thing.kind for thing in each.scene.things} == {"fox", "horse"}
    assert eats.text.startswith("a horse eats beside a fox on grass")


def test_a_direction_stays_as_long_as_something_goes_there():
    first, slower, away = told("a fox walks to the left on grass", "it runs", "it walks to the right")
    assert "to the left" in first.text
    assert "to the left" in slower.text
    assert "to the right" in away.text


def test_a_thing_that_was_only_guessed_begins_no_scene():
    horse, sun = told("a horse on grass", "the sun shines")
    assert sun.text == "the sun shines"
    assert not sun.anew
    assert sun.scene == horse.scene


def test_where_nothing_was_known_nothing_is_new():
    assert not begins_anew(understand("the ball bounces on snow").scene, Scene())


@pytest.mark.parametrize(
    ("prompt", "anew"),
    [
        ("it stops", False),
        ("the ball bounces", False),
        ("a red ball jumps", False),
        ("the camera goes round it", False),
        ("a blue ball jumps", True),
        ("a glass ball jumps", True),
        ("the ball stops beside a cube", True),
        ("two balls collide", True),
        ("a fox walks by", True),
        ("the ball bounces on snow", True),
        ("now at night", True),
        ("at sunset", False),
    ],
)
def test_a_new_thing_or_place_begins_a_scene(prompt: str, anew: bool):
    assert expand(prompt, before=understand(FIRST).scene).anew is anew
    assert not expand(prompt).anew, "the first prompt begins nothing anew"


def test_a_story_is_told_prompt_by_prompt():
    fox, eats, gone, snow = told("a fox walks on grass", "it eats", "it gallops away", "a fox in snow")
    assert eats.text.startswith("a fox eats on grass")
    assert gone.text.startswith("a fox gallops away across grass")
    assert [each.anew for each in (fox, eats, gone, snow)] == [False, False, False, True]


def test_a_dog_stays_the_dog_that_it_is():
    first, then = told("a doggo running", "the dog sits down")
    kind = first.scene.things[0].kind
    assert then.scene.things[0].kind == kind
    assert not then.anew


def test_a_caption_that_says_where_it_is_stays_and_another_gets_the_place():
    scene = understand(FIRST).scene
    whole, open_ = "A blue cube topples over on a wooden floor.", "A blue cube topples over."
    assert expand(whole, before=scene).text == whole
    assert expand(open_, before=scene).text == "a blue cube topples over on sand at sunset"


def test_what_nobody_understands_changes_nothing():
    first, foreign, then = told(FIRST, "two people argue in a cafe", "it bounces")
    assert foreign.foreign
    assert foreign.text == "two people argue in a cafe"
    assert not foreign.anew
    assert foreign.scene == first.scene
    assert then.text == "a red ball bounces on sand at sunset"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(" ".join(each) for each in lexicon().phrases)), max_size=9).map(" ".join),
    st.sampled_from([FIRST, "a doggo running", "two foxes play", "a mirror ball hits a blue cube", "fog"]),
)
def test_any_text_can_come_after_any_other(prompt: str, first: str):
    before = expand(first).scene
    found = expand(prompt, before=before)
    assert found == expand(prompt, before=before)
    assert found.text or not prompt


def test_a_studio_does_not_come_along_out_of_doors():
    studio = understand("a red ball bounces on a wooden floor in a studio").scene
    assert carried(understand("the ball bounces on grass").scene, studio).sky == ""
    assert carried(understand("the ball spins").scene, studio).sky == "studio"


def test_things_are_counted():
    ball = Thing(group="shape", kind="ball", colour="red")
    one, two = Scene(things=(ball,)), Scene(things=(ball, ball))
    assert begins_anew(two, one)
    assert not begins_anew(one, two)
    assert begins_anew(Scene(things=(replace(ball, count=3),)), one)


def test_without_a_hero_it_stays_unread():
    place = understand("a beach at night").scene
    assert understand_next("it jumps", place).scene.things == ()


def test_models_without_expander_hear_of_no_scene():
    manifest = replace(find_model("nano").manifest, expander="")
    said = worded("a fox", manifest, seed=0, filling=True, before=understand(FIRST).scene)
    assert (said.text, said.scene, said.anew) == ("a fox", None, False)


def test_a_prompt_left_as_typed_is_still_understood():
    said = as_typed("a fox walks by", find_model("nano").manifest, before=understand(FIRST).scene)
    assert (said.text, said.anew, said.warnings) == ("a fox walks by", True, ())


def test_the_story_in_the_documents_is_told_so():
    text = (Path(__file__).parents[3] / "docs/explanation/prompts.md").read_text(encoding="utf-8")
    section = text.split("## A prompt after another")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if "|" in line]
    found = told(*(prompt for prompt, *_ in rows[2:]))
    scenes = ["", *("new scene" if each.anew else "goes on" for each in found[1:])]
    assert len(found) == 8
    assert [[each.prompt, each.text, scene] for each, scene in zip(found, scenes, strict=True)] == rows[2:]
