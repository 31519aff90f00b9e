"""Which phrases are known, and what they mean."""

import pytest

from unstatic.generate.prompts.lexicon import Sense, lexicon, split
from unstatic.world.vocabulary import ANIMAL_WORDS, COLOUR_WORDS, SHAPE_WORDS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Jet-black Ball!!", ["jet", "black", "ball", "!", "!"]),
        ("the horse\u2019s left, caf\u00e9", ["the", "horse", "'s", "left", ",", "cafe"]),
        ("it isn't runnin' away", ["it", "is", "not", "running", "away"]),
        ("\u72d7 #1 \U0001f436", ["\u72d7", "1"]),
        ("", []),
    ],
)
def test_a_text_is_cut_into_words(text: str, words: list[str]):
    assert split(text) == words


@pytest.mark.parametrize(
    ("text", "count", "slot", "value"),
    [
        ("white horse standing", 2, "animal", "white horse"),
        ("horse standing", 1, "animal", "horse"),
        ("wolves", 1, "animal", "wolf"),
        ("box", 1, "shape", "cube"),
        ("block", 1, "shape", "block"),
        ("light blue", 2, "colour", "cyan"),
        ("ran", 1, "event", "move"),
        ("snowy field", 2, "floor", "snow"),
        ("under a night sky", 4, "sky", "night"),
        ("to the left of it", 5, "at", "left"),
        ("spaceship", 0, "", ""),
    ],
)
def test_the_longest_phrase_counts(text: str, count: int, slot: str, value: str):
    found, senses = lexicon().longest(text.split(), 0)
    assert found == count
    assert [(each.slot, each.value) for each in senses[:1]] == ([(slot, value)] if count else [])


def test_one_verb_is_two_things_for_objects_and_for_animals():
    _, senses = lexicon().longest(["jumps"], 0)
    assert senses == (Sense("event", "jump", seen=True), Sense("motion", "leap", seen=True))


def test_a_phrase_of_the_camera_is_known_only_to_cameras():
    assert lexicon().longest(["moves", "closer"], 0)[1][0].slot == "event"
    assert lexicon().longest(["moves", "closer"], 0, camera=True)[1] == (
        Sense("camera", "dolly in", seen=True),
    )


def test_the_vocabulary_is_understood_and_knows_what_was_seen():
    for slot, table in {"shape": SHAPE_WORDS, "animal": ANIMAL_WORDS, "colour": COLOUR_WORDS}.items():
        for words in table.values():
            for piece in words.all:
                _, senses = lexicon().longest(split(piece), 0)
                assert senses[0].slot == slot
                assert senses[0].seen == (piece in words.seen), piece
