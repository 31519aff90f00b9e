"""All phrases that are understood, and what each may mean: the world's vocabulary, and `words.toml` besides.

lexicon().longest(["white", "horse"], 0)   # (2, (Sense("animal", "white horse", seen=True),))
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from unstatic.generate.prompts.inflection import Phrase, inflected, plural
from unstatic.world import vocabulary
from unstatic.world.captions_grammar import pluralised
from unstatic.world.vocabulary import Words

WORDS_FILE = Path(__file__).with_name("words.toml")
MOST_WORDS = 9
SHADES = ("light", "dark", "pale", "deep", "pastel", "neon", "bright", "vivid")
SEPARATOR = " / "

NOUNS = {
    "shape": vocabulary.SHAPE_WORDS,
    "animal": vocabulary.ANIMAL_WORDS,
    "prop": vocabulary.PROP_WORDS,
}
PIECES: tuple[tuple[str, Mapping[str, Words]], ...] = (
    ("colour", vocabulary.COLOUR_WORDS),
    ("material", vocabulary.MATERIAL_QUALITIES),
    ("material", vocabulary.MATERIAL_NOUNS),
    ("size", {"big": vocabulary.BIG, "small": vocabulary.SMALL, "tall": vocabulary.TALL}),
    ("size", {"flat": vocabulary.FLAT}),
    ("floor", vocabulary.FLOOR_WORDS),
    ("sky", vocabulary.SKY_WORDS),
    ("sky", vocabulary.SKY_TAGS),
    ("manner", vocabulary.MANNERS),
    ("direction", vocabulary.DIRECTION_WORDS),
    ("direction", vocabulary.LEAN_WORDS),
    ("direction", vocabulary.CAMERA_SENSES),
    ("light", vocabulary.SHADOWS),
    ("light", vocabulary.LIT_FROM),
    ("event", vocabulary.EVENT_VERBS),
    ("motion", vocabulary.ANIMAL_VERBS),
    ("event", {"move": vocabulary.MOVE_VERBS["rolling"]}),
    ("event", {"move": vocabulary.MOVE_VERBS["sliding"]}),
    ("event", {"move": vocabulary.PASS_VERBS}),
    ("filler", {"": vocabulary.STANDS}),
    ("filler", {"": vocabulary.STAND}),
)
GRAMMAR_SLOTS = {
    "place": ("on", "onto", "across", "over", "above", "in", "down"),
    "joint": ("and", "with", "while", "as"),
    "count": tuple(vocabulary.COUNTS.values()),
    "lens": ("camera",),
    "ground": ("floor", "ground", "surface"),
    "objects": ("objects",),
    "made": ("of",),
}


class Sense(NamedTuple):
    """One thing that a phrase says: a slot, its value, and whether captions of training say it so.

    `plural` marks nouns that speak of more than one. A `weak` sense yields to another of its slot; a weak
    noun is not quite what was said.
    """

    slot: str
    value: str
    seen: bool = False
    plural: bool = False
    weak: bool = False


Senses = tuple[Sense, ...]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Phrases with their senses; those of `camera` are looked up only where a camera is spoken of."""

    phrases: dict[Phrase, Senses] = field(default_factory=dict[Phrase, Senses])
    camera: dict[Phrase, Senses] = field(default_factory=dict[Phrase, Senses])

    def longest(self, words: Sequence[str], at: int, *, camera: bool = False) -> tuple[int, Senses]:
        """Return how many words from `at` make the longest phrase, and its senses; (0, ()) for none."""
        tables = (self.camera, self.phrases) if camera else (self.phrases,)
        for count in range(min(MOST_WORDS, len(words) - at), 0, -1):
            phrase = tuple(words[at : at + count])
            for table in tables:
                if phrase in table:
                    return count, table[phrase]
        return 0, ()


def split(text: str) -> list[str]:
    """Cut a text into lower-case words without accents and hyphens; "'s" and marks are words of their own."""
    plain = unicodedata.normalize("NFKD", text.lower().replace("\u2019", "'"))
    plain = "".join(each for each in plain if not unicodedata.combining(each))
    plain = plain.replace("n't", " not").replace("in' ", "ing ")
    return re.findall(r"'s\b|[^\W_]+|[.,;:!?&]", plain)


@cache
def lexicon() -> Lexicon:
    """Build the lexicon, once; where two tables have a phrase, the vocabulary's sense counts."""
    said = tomllib.loads(WORDS_FILE.read_text(encoding="utf-8"))
    made = Lexicon()
    for phrase, senses in (*_vocabulary(), *_grammar(said), *_things(said), *_phrases(said), *_verbs(said)):
        if _is_two(phrase, made.phrases):
            continue
        known = made.phrases.setdefault(phrase, senses)
        slots = {each.slot for each in known}
        # "jumps" is something that objects do and something that animals do
        if slots | {each.slot for each in senses} == {"event", "motion"}:
            made.phrases[phrase] = known + tuple(each for each in senses if each.slot not in slots)
    for phrase, senses in _camera(said):
        made.camera.setdefault(phrase, senses)
    return made


# ------------------------------------------------------------------------------------------------- vocabulary


def _vocabulary() -> Iterable[tuple[Phrase, Senses]]:
    # A cube may be called a block too, but who says "block" means one that is longer
    yield ("block",), (Sense("shape", "block", seen=True),)
    for slot, table in NOUNS.items():
        for value, piece, seen in _pieces(table):
            yield _phrase(piece), (Sense(slot, value, seen),)
            yield _phrase(pluralised(piece)), (Sense(slot, value, seen, plural=True),)
    for slot, table in PIECES:
        for value, piece, seen in _pieces(table):
            if "{" not in piece:
                yield from ((_phrase(form), (Sense(slot, value, seen),)) for form in piece.split("|"))
    for value, piece, seen in _pieces(vocabulary.RELATION_WORDS):
        text = piece.format(it="it", its="its")
        yield _phrase(text), (Sense("at", value, seen),)
        if text.endswith(" it"):
            yield _phrase(text.removesuffix(" it")), (Sense("to", value, seen),)
    for _, piece, seen in _pieces({"": vocabulary.BESIDE}):
        yield _phrase(piece.format(other="")), (Sense("to", "beside", seen),)


def _pieces(table: Mapping[str, Words]) -> Iterable[tuple[str, str, bool]]:
    for value, pieces in table.items():
        yield from ((value, piece, True) for piece in pieces.seen)
        yield from ((value, piece, False) for piece in pieces.held_out)


def _grammar(said: Mapping[str, Any]) -> Iterable[tuple[Phrase, Senses]]:
    numbers = {word: str(number) for number, word in vocabulary.COUNTS.items()}
    for piece in said["CAPTION_GRAMMAR"].split(SEPARATOR):
        slot = next((slot for slot, found in GRAMMAR_SLOTS.items() if piece in found), "filler")
        yield tuple(split(piece)), (Sense(slot, numbers.get(piece, ""), seen=True),)


def _phrase(text: str) -> Phrase:
    """Return the words of a piece without its article."""
    found = split(text)
    return tuple(found[1:] if found[0] in ("a", "an", "the") else found)


# -------------------------------------------------------------------------------------------- what people say


def _things(said: Mapping[str, Any]) -> Iterable[tuple[Phrase, Senses]]:
    for senses, phrase in _rows(said["THINGS"]):
        yield phrase, senses
        yield plural(phrase, said["PLURALS"]), tuple(each._replace(plural=True) for each in senses)


def _phrases(said: Mapping[str, Any]) -> Iterable[tuple[Phrase, Senses]]:
    for name in (
        "LOOKS",
        "PLACES",
        "TIMES",
        "MANNERS",
        "DIRECTIONS",
        "RELATIONS",
        "CAMERA_SHOTS",
        "COUNTS",
        "SOFT_WORDS",
    ):
        yield from ((phrase, senses) for senses, phrase in _rows(said[name]))
    for colour in vocabulary.COLOUR_WORDS:
        for shade in SHADES:
            meant = "cyan" if (shade, colour) == ("light", "blue") else colour
            yield (shade, colour), (Sense("colour", meant),)
    lists = {"lens": said["CAMERA_NOUNS"], "taste": said["TASTES"], "filler": said["FILLERS"]}
    yield from ((phrase, senses) for senses, phrase in _rows(lists))


def _verbs(said: Mapping[str, Any]) -> Iterable[tuple[Phrase, Senses]]:
    for key, text in said["VERBS"].items():
        event, _, motion = key.partition("/")
        senses = (Sense("event", event),) * bool(event) + (Sense("motion", motion),) * bool(motion)
        for each in text.split(SEPARATOR):
            yield from ((form, senses) for form in inflected(tuple(split(each)), said["PAST_FORMS"]))


def _is_two(phrase: Phrase, known: Mapping[Phrase, Senses]) -> bool:
    """Return whether a phrase says no more than the verb and the direction that it is made of."""
    if len(phrase) < 2 or phrase[1:] not in known or phrase[:1] not in known:
        return False
    return known[phrase[:1]][0].slot in ("event", "motion") and known[phrase[1:]][0].slot in (
        "direction",
        "manner",
    )


def _camera(said: Mapping[str, Any]) -> Iterable[tuple[Phrase, Senses]]:
    for value, piece, seen in _pieces(vocabulary.CAMERA_VERBS):
        forms = piece.replace(" {it}", "").split("|")
        yield from ((_phrase(form), (Sense("camera", value, seen),)) for form in forms)
    for senses, phrase in _rows(said["CAMERA_MOVES"]):
        for form in inflected(phrase, said["PAST_FORMS"]):
            yield from ((each, senses) for each in (form, (*form, "slowly"), ("slowly", *form)))


def _rows(table: Mapping[str, str]) -> Iterable[tuple[Senses, Phrase]]:
    for key, text in table.items():
        senses = tuple(_sense(part) for part in key.split(", "))
        yield from ((senses, tuple(split(each))) for each in text.split(SEPARATOR))


def _sense(text: str) -> Sense:
    """Read "colour orange"; "weak grass" is a floor that yields, "dog" some dog and "breed" nearly one."""
    slot, _, value = text.partition(" ")
    match slot:
        case "weak":
            return Sense("floor", value, weak=True)
        case "dog" | "breed":
            return Sense("animal", "dog", weak=slot == "breed")
        case _:
            return Sense(slot, value)
