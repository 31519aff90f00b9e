"""Mistyped words are read, real words are never taken for mistakes, and like words stand for each other."""

import pytest
import torch

from unstatic.generate.prompts.guessing import LEAST_LIKENESS, MOST_GUESSED, distance, embed, guess


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("hosre", "horse"),
        ("galoping", "galloping"),
        ("sphre", "sphere"),
        ("hors", "horse"),
        ("grean", "green"),
        ("woooolf", "wolf"),
        ("runnnning", "running"),
        ("transparant", "transparent"),
        ("lumber", "timber"),
        ("spherical", "sphere"),
    ],
)
def test_a_word_is_taken_for_the_nearest(word: str, known: str):
    assert guess([word]) == {word: known}


def test_real_words_and_other_things_are_taken_for_nothing():
    words = [
        "house",
        "bell",
        "kitten",
        "cat",
        "sheep",
        "goat",
        "car",
        "person",
        "plastic",
        "unicorn",
        "king",
        "xq",
    ]
    assert guess(words) == {}


def test_of_a_long_text_only_the_first_words_are_guessed():
    strange = [f"{'x' * (number // 26)}{chr(97 + number % 26)}q" for number in range(MOST_GUESSED)]
    assert guess([*strange[:-1], "hosre"]) == {"hosre": "horse"}
    assert guess([*strange, "hosre"]) == {}


@pytest.mark.parametrize(
    ("one", "other", "letters"),
    [("ball", "ball", 0), ("bal", "ball", 1), ("blal", "ball", 1), ("", "cone", 4)],
)
def test_letters_are_counted(one: str, other: str, letters: int):
    assert distance(one, other) == distance(other, one) == letters


def test_texts_are_embedded_as_unit_vectors():
    dog, hound, guitar = embed(["dog", "hound", "guitar"])
    torch.testing.assert_close(dog.norm(), torch.tensor(1.0))
    assert dog @ hound > dog @ guitar
    assert dog @ guitar < LEAST_LIKENESS
