"""How a character comes into a film: its name in the prompt becomes words for its look.

    recast("Mossy runs, and Mossy jumps", {"Mossy": "a green ball"})
    # "a green ball runs, and the green ball jumps"

The name itself says nothing to a text encoder, or something else. The words are the description that came
with the character or, for a model that knows the world only, what the evaluation's parser reads in the clip.
docs/reference/characters.md says what was measured.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache

from unstatic.evals.parser import Parser, load_parser
from unstatic.evals.readings import Frames
from unstatic.generate.prompts.scene import Scene, Thing
from unstatic.generate.prompts.wording import caption_of
from unstatic.models.manifest import Manifest
from unstatic.server.spec import Role
from unstatic.world.spec import MOTIONS

LOOK_FRAMES = 65  # four seconds at the rate of the parser


def is_named(prompt: str, name: str) -> bool:
    """Return whether a prompt names a character, not only as a part of another word."""
    return any(map(_is_whole, _pattern([name]).finditer(prompt)))


def recast(prompt: str, looks: Mapping[str, str]) -> str:
    """Put words for looks in the place of names: "a green ball" at first, "the green ball" from then on."""
    names = _longest_first(looks)
    met: set[str] = set()

    def words(found: re.Match[str]) -> str:
        if not _is_whole(found):
            return found[0]
        # As the pattern compares: a dotless i is an i to it, and to no other way of folding
        name = next(each for each in names if re.fullmatch(re.escape(each), found["name"], re.IGNORECASE))
        again, _ = name in met, met.add(name)
        return re.sub(r"^an? ", "the ", looks[name], flags=re.IGNORECASE) if again else looks[name]

    return _pattern(looks).sub(words, prompt) if looks else prompt


def goes_on(role: Role, manifest: Manifest) -> bool:
    """Return whether a film can only go on from a character's clip: nothing says how it looks in words."""
    return role.description is None and not manifest.expander


def look_in(frames: Frames) -> str:
    """Return words for what acts in a clip at 16 frames a second: "a red ball", or "a fox"."""
    reading = _parser().read(frames[:LOOK_FRAMES])
    if reading.animals and (reading.event in MOTIONS or not reading.objects):
        return caption_of(Scene(things=(Thing(group="animal", kind=reading.animal),)))
    seen = Thing(group="shape", kind=reading.shape, colour=reading.colour)
    return caption_of(Scene(things=(seen,)))


def _pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Return what finds names, with an article or an @ before them; the longest of those that begin alike."""
    one_of = "|".join(map(re.escape, _longest_first(names)))
    return re.compile(rf"(?:\b(?:a|an|the)\s+)?@?(?P<name>{one_of})", re.IGNORECASE)


def _longest_first(names: Iterable[str]) -> list[str]:
    return sorted(names, key=len, reverse=True)


def _is_whole(found: re.Match[str]) -> bool:
    """Return whether a name is no part of a longer word."""
    text, (start, stop) = found.string, found.span("name")
    before, after = text[start - 1 : start], text[stop : stop + 1]
    return not (_joins(before) and _joins(text[start])) and not (_joins(after) and _joins(text[stop - 1]))


def _joins(letter: str) -> bool:
    """Return whether a letter makes words with its neighbours: scripts without capitals may lack spaces."""
    return letter.isdigit() or letter.lower() != letter.upper()


@cache
def _parser() -> Parser:
    return load_parser()
