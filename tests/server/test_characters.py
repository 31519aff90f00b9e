"""Words for looks take the place of names, and the parser finds those words in clips."""

from dataclasses import replace

import pytest

from unstatic.evals.prompts import load_suite
from unstatic.models.manifest import find_model
from unstatic.server.characters import goes_on, is_named, look_in, recast
from unstatic.server.spec import Role
from unstatic.world.clip import make_clip

BALL = {"Mossy": "a green ball"}


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Mossy rolls on snow", "a green ball rolls on snow"),
        ("on snow @MOSSY rolls", "on snow a green ball rolls"),
        ("The Mossy rolls", "a green ball rolls"),
        ("Mossy rolls. Mossy's shadow follows mossy.", None),
        ("a mossy stone", "a green ball stone"),
        ("Mossyfoot runs", "Mossyfoot runs"),
        ("the cube falls", "the cube falls"),
    ],
)
def test_names_become_looks(prompt: str, text: str | None):
    text = text or "a green ball rolls. the green ball's shadow follows the green ball."
    assert recast(prompt, BALL) == text


def test_two_characters_whose_names_begin_alike():
    looks = {"Mo": "a fox", "Mo Two": "An old frog"}
    assert recast("Mo meets Mo Two, and mo two meets Mo", looks) == (
        "a fox meets An old frog, and the old frog meets the fox"
    )


@pytest.mark.parametrize("prompt", ["m\u0131a runs", "M\u0130A runs", "MIA runs"])
def test_a_name_is_found_with_and_without_the_dots_of_turkish_letters(prompt: str):
    assert recast(prompt, {"Mia": "a red ball"}) == "a red ball runs"


def test_looks_are_words_and_not_patterns():
    assert recast("A+ (x) runs", {"A+ (x)": r"a \1 fox"}) == r"a \1 fox runs"
    assert recast("Mossy runs", {}) == "Mossy runs"


@pytest.mark.parametrize(
    ("prompt", "name", "named"),
    [
        ("mossy runs", "Mossy", True),
        ("Mossyfoot runs", "Mossy", False),
        ("R2D2 rolls", "R2", False),
        (
            "\u96ea\u306e\u4e0a\u3092\u30e2\u30b9\u304c\u8d70\u308b",
            "\u30e2\u30b9",
            True,
        ),  # no spaces in Japanese
        ("Zo\u00eb runs", "Zo", False),
    ],
)
def test_a_name_is_a_word_of_its_own(prompt: str, name: str, named: bool):
    assert is_named(prompt, name) is named


def test_without_words_a_film_goes_on_from_the_clip():
    nano = find_model("nano").manifest
    other = replace(nano, expander="")
    role = Role(name="Mossy", clip="clip.mp4")
    assert goes_on(role, other)
    assert not goes_on(role, nano)
    assert not goes_on(replace(role, description="a frog"), other)


@pytest.mark.parametrize(
    ("suite", "number", "look"), [("objects", 0, "a yellow cone"), ("animals", 1, "an alpaca")]
)
def test_a_look_is_read_in_a_clip(suite: str, number: int, look: str):
    spec = load_suite(suite).prompts[number].spec
    assert look_in(make_clip(replace(spec, frames=33)).frames) == look
