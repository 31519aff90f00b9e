"""Every word a caption may use, read from vocabulary.toml, which says how its tables are written.

Evaluation reads them too, to know what counts as the right word.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

FILE = Path(__file__).with_suffix(".toml")
PLAIN_WORD_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Words:
    """Interchangeable pieces of a sentence; `seen` is never empty, and no `seen` contains a `held_out`."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every accepted wording."""
        return self.seen + self.held_out

    def pick(self, rng: np.random.Generator, *, held_out: bool) -> str:
        """Draw a piece, half of the time the plain one; with `held_out` a held-out one where there is any."""
        if held_out and self.held_out:
            return self.held_out[rng.integers(len(self.held_out))]
        if len(self.seen) == 1 or rng.random() < PLAIN_WORD_SHARE:
            return self.seen[0]
        return self.seen[1 + rng.integers(len(self.seen) - 1)]


class Verb(NamedTuple):
    """One verb phrase: "rolls" and "rolling"."""

    present: str
    participle: str

    def then(self, text: str) -> "Verb":
        """Append the same words to both forms."""
        return Verb(f"{self.present} {text}".strip(), f"{self.participle} {text}".strip())


def words(text: str) -> Words:
    """Read "plain / other // held out / held out"."""
    seen, _, held_out = text.partition(" // ")
    return Words(tuple(seen.split(" / ")), tuple(held_out.split(" / ")) if held_out else ())


def verb(text: str) -> Verb:
    """Read "present|participle"."""
    present, _, participle = text.partition("|")
    return Verb(present, participle)


_READ = tomllib.loads(FILE.read_text(encoding="utf-8"))


def _words(name: str) -> Words:
    return words(_READ[name])


def _table(name: str) -> dict[str, Words]:
    return {key: words(text) for key, text in _READ[name].items()}


SHAPE_WORDS = _table("SHAPE_WORDS")
ANIMAL_WORDS = _table("ANIMAL_WORDS")
GENERIC_WORDS = _table("GENERIC_WORDS")
PROP_WORDS = _table("PROP_WORDS")
COLOUR_WORDS = _table("COLOUR_WORDS")
MATERIAL_QUALITIES = _table("MATERIAL_QUALITIES")
MATERIAL_NOUNS = _table("MATERIAL_NOUNS")
FLOOR_WORDS = _table("FLOOR_WORDS")
SKY_WORDS = _table("SKY_WORDS")
SKY_TAGS = _table("SKY_TAGS")
EVENT_VERBS = _table("EVENT_VERBS")
ANIMAL_VERBS = _table("ANIMAL_VERBS")
MOVE_VERBS = _table("MOVE_VERBS")
MANNERS = _table("MANNERS")
DIRECTION_WORDS = _table("DIRECTION_WORDS")
LEAN_WORDS = _table("LEAN_WORDS")
RELATION_WORDS = _table("RELATION_WORDS")
CAMERA_VERBS = _table("CAMERA_VERBS")
CAMERA_SENSES = _table("CAMERA_SENSES")
SHADOWS = _table("SHADOWS")
LIT_FROM = _table("LIT_FROM")
FLOOR_PREPOSITIONS = _table("FLOOR_PREPOSITIONS")

BIG = _words("BIG")
SMALL = _words("SMALL")
TALL = _words("TALL")
FLAT = _words("FLAT")
BESIDE = _words("BESIDE")
PASS_VERBS = _words("PASS_VERBS")
STANDS = _words("STANDS")
STAND = _words("STAND")
CLAUSES = _words("CLAUSES")
FRAGMENTS = _words("FRAGMENTS")
OTHERS_JOINS = _words("OTHERS_JOINS")
COUNT_JOINS = _words("COUNT_JOINS")
CAMERA_JOINS = _words("CAMERA_JOINS")
CAMERA_SENTENCES = _words("CAMERA_SENTENCES")
FRONTS = _words("FRONTS")

COUNTS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
STYLE_SHARES: dict[str, dict[str, float]] = _READ["STYLES"]
