"""Cuts a prompt into phrases of the lexicon."""

from collections.abc import Sequence
from typing import NamedTuple

from unstatic.generate.prompts.lexicon import Lexicon, Sense, Senses

LOOKS = frozenset({"colour", "material", "size"})
NOUNS = frozenset({"shape", "animal", "prop"})
DEEDS = frozenset({"event", "motion"})
FARTHEST = 24  # pieces of one thing: whoever piles up more looks than that means nothing by them
PRONOUNS = frozenset({"you", "i", "we", "u", "it", "they"})


class Piece(NamedTuple):
    """Some words of a prompt and what they say; no senses if they say nothing known."""

    text: str
    senses: Senses

    def has(self, slots: frozenset[str]) -> bool:
        """Return whether any sense is of these slots."""
        return any(each.slot in slots for each in self.senses)

    def of(self, slots: frozenset[str]) -> list[Sense]:
        """Return the senses of these slots."""
        return [each for each in self.senses if each.slot in slots]

    @property
    def slot(self) -> str:
        """The slot of its first sense."""
        return self.senses[0].slot if self.senses else ""

    @property
    def is_participle(self) -> bool:
        """Whether it is a verb that can stand before a noun: "rolling"."""
        return self.has(DEEDS) and self.text.endswith("ing")


def cut(words: Sequence[str], known: Lexicon) -> list[Piece]:
    """Cut words into phrases, the longest first; after "camera" what it does comes before anything else."""
    pieces: list[Piece] = []
    at, of_camera = 0, False
    while at < len(words):
        count, senses = known.longest(words, at, camera=of_camera)
        if count > 1 and known.longest(words, at + count - 1)[0] > 1:  # "runs" and "into the distance"
            shorter = known.longest(words[: at + count - 1], at, camera=of_camera)
            count, senses = shorter if shorter[0] == count - 1 else (count, senses)
        piece = Piece(" ".join(words[at : at + max(count, 1)]), senses)
        if piece.text == "can" and _is_modal(words, at, pieces):
            piece = Piece("can", (Sense("filler", ""),))
        if piece.slot == "lens":
            of_camera = True
        elif piece.slot == "camera" or piece.has(NOUNS) or piece.text in (".", ";"):
            of_camera = False
        pieces.append(piece)
        at += max(count, 1)
    return pieces


def _is_modal(words: Sequence[str], at: int, before: Sequence[Piece]) -> bool:
    """Tell "can you" and "a dog that can jump" from "a green can"."""
    last, following = words[max(at - 1, 0) : at], words[at + 1 : at + 2]
    asks = not (PRONOUNS | {"not"}).isdisjoint(following)
    return asks or not (PRONOUNS | {"that", "which", "who"}).isdisjoint(last) or _ends_in_noun(before)


def _ends_in_noun(pieces: Sequence[Piece]) -> bool:
    return bool(pieces) and pieces[-1].has(NOUNS)


def noun_after(pieces: Sequence[Piece], at: int) -> Piece | None:
    """Return the noun that a word before it belongs to, if nothing but looks stand between, as in "red, big".

    `at` is the number of the first piece after that word.
    """
    ends = NOUNS | {"ground", "floor", "objects", "heaven"}
    for number in range(at, min(at + FARTHEST, len(pieces))):
        piece = pieces[number]
        if piece.has(ends):
            return piece
        passes = piece.has(LOOKS | {"taste"}) or piece.is_participle or _joins_looks(pieces, number)
        if not passes:
            return None
    return None


def _joins_looks(pieces: Sequence[Piece], at: int) -> bool:
    """Return whether a piece is the "and", or the "a", of "red and a blue"."""
    rest = [piece.text for piece in pieces[at : at + 2]]
    if rest[0] in ("and", ",") and rest[1:] and rest[1] in ("a", "an"):
        return _is_look(pieces, at + 2)
    after_joint = rest[0] in ("a", "an") and pieces[at - 1].text in ("and", ",")
    return (rest[0] in ("and", ",") or after_joint) and _is_look(pieces, at + 1)


def _is_look(pieces: Sequence[Piece], at: int) -> bool:
    return at < len(pieces) and pieces[at].has(LOOKS)


def articles_before(pieces: Sequence[Piece], at: int) -> int:
    """Count what tells "a red and a blue ball" from "a red and blue ball": articles after "and"."""
    found = 0
    for number in range(at - 1, max(0, at - 1 - FARTHEST), -1):
        piece = pieces[number]
        if not (piece.has(LOOKS) or piece.text in ("a", "an", "and", ",")):
            break
        found += piece.text in ("a", "an") and pieces[number - 1].text in ("and", ",")
    return found
