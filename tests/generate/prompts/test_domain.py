"""How well prompts about other things are told from prompts about the world: the lists are in README.md."""

from pathlib import Path

import numpy as np
import pytest

from unstatic.evals.prompts import load_suite
from unstatic.generate.prompts import guessing, understanding
from unstatic.generate.prompts.domain import LEAST_FAMILIAR, familiarity, is_foreign
from unstatic.generate.prompts.lexicon import lexicon, split
from unstatic.generate.prompts.pieces import cut
from unstatic.generate.prompts.understanding import understand
from unstatic.world.captions import caption


def prompts(name: str) -> list[str]:
    return (Path(__file__).parent / name).read_text(encoding="ascii").splitlines()


def captions(*, held_out: bool) -> list[str]:
    specs = [
        prompt.spec for name in ("objects", "animals", "pairs") for prompt in load_suite(name).prompts[:40]
    ]
    return [caption(spec, np.random.default_rng(spec.seed), held_out=held_out) for spec in specs]


def scores(name: str) -> np.ndarray:
    """Measure a list, its strange words embedded in one batch: one prompt after another takes long."""
    texts = prompts(name)
    words = {piece.text for text in texts for piece in cut(split(text), lexicon()) if not piece.senses}
    guessed = guessing.guess(sorted(words))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            understanding, "guess", lambda each: {word: guessed[word] for word in each if word in guessed}
        )
        return np.array([familiarity(understanding.understand(text)) for text in texts])


@pytest.fixture(scope="module")
def known() -> np.ndarray:
    """Return how familiar the prompts of newcomers are."""
    return scores("known.txt")


@pytest.fixture(scope="module")
def other() -> np.ndarray:
    """Return how familiar prompts about other things are."""
    return scores("other.txt")


def test_the_lists_are_there():
    assert (len(prompts("known.txt")), len(prompts("other.txt"))) == (100, 400)


def test_prompts_about_other_things_are_warned_of(other: np.ndarray):
    assert np.mean(other < LEAST_FAMILIAR) >= 0.98


def test_newcomers_prompts_are_not(known: np.ndarray):
    assert np.mean(known < LEAST_FAMILIAR) <= 0.01


def test_captions_are_not():
    texts = captions(held_out=False) + captions(held_out=True)
    assert not any(is_foreign(understand(text)) for text in texts)


def test_a_curve_tells_the_same(known: np.ndarray, other: np.ndarray):
    area = np.mean((known[:, None] > other) + 0.5 * (known[:, None] == other))
    assert area > 0.995


@pytest.mark.parametrize(
    ("prompt", "foreign"),
    [
        ("Two people argue in a Paris cafe", True),
        ("a spaceship lands on Mars", True),
        ("a beach at night", True),  # nothing to film there
        ("a dog wearing sunglasses drives a car through New York", True),
        ("a dog with sunglasses runs on the beach", False),
        ("cute fluffy puppy, cinematic, 4k", False),
        ("a corgi running", False),
        ("ein Hund rennt", True),
    ],
)
def test_the_line_is_drawn_at_half(prompt: str, foreign: bool):
    assert is_foreign(understand(prompt)) == foreign
