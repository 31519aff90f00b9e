"""Verbs and nouns in all their forms."""

import pytest

from unstatic.generate.prompts.inflection import inflected, plural


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("run", {"run", "runs", "running", "ran"}),
        ("slide", {"slide", "slides", "sliding", "slid"}),
        ("carry", {"carry", "carries", "carrying", "carried"}),
        ("munch", {"munch", "munches", "munching", "munched"}),
        ("chew", {"chew", "chews", "chewing", "chewed"}),
        ("hop", {"hop", "hops", "hopping", "hopped"}),
        ("stay", {"stay", "stays", "staying", "stayed"}),
    ],
)
def test_a_verb_is_bent(verb: str, forms: set[str]):
    past = {"run": "ran", "slide": "slid"}
    assert inflected((verb,), past) == {(form,) for form in forms}


def test_what_follows_the_verb_or_stands_before_it_stays():
    assert ("going", "for", "a", "walk") in inflected(("go", "for", "a", "walk"), {})
    assert ("not", "moving") in inflected(("not", "move"), {})


@pytest.mark.parametrize(
    ("noun", "many"),
    [("tin can", "tin cans"), ("dice", "dice"), ("pony", "ponies"), ("calf", "calves"), ("box", "boxes")],
)
def test_a_noun_is_put_into_the_plural(noun: str, many: str):
    assert plural(tuple(noun.split()), {"dice": "dice", "calf": "calves"}) == tuple(many.split())
