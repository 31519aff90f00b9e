"""Words that nobody foresaw: mistyped ones by their letters, others by their meaning.

A word that the text encoder has as one token is a real word and never taken for a typing mistake ("house" is
no "horse"). The meaning of a word is its MiniLM sentence embedding, compared with words of the lexicon.
"""

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from itertools import islice, pairwise

from jaxtyping import Float
from torch import Tensor, nn

from unstatic.generate.prompts.lexicon import lexicon
from unstatic.models.text import MINILM_FOLDER, VOCABULARY_NAME, MiniLM, load_minilm

# Takes 21 of 72 unforeseen synonyms, all rightly, and 3 of 155 words for other things ("star" for "stars")
LEAST_LIKENESS = 0.74
SHORTEST_MISTYPED = 4
LONG_WORD = 8  # may hold two mistakes
MOST_GUESSED = 100  # words of a prompt; a text with more strange ones is about other things anyway
REMEMBERED = 10_000
SLOTS_OF_THINGS = frozenset({"shape", "animal", "colour"})
SLOTS_OF_MEANING = frozenset({"shape", "animal", "colour", "material", "event", "motion", "floor", "sky"})


def guess(words: Iterable[str]) -> dict[str, str]:
    """Return the known word that each word is taken for; words like nothing known are left out.

    Only the first `MOST_GUESSED` words are looked at.
    """
    wanted = list(islice(dict.fromkeys(words), MOST_GUESSED))
    found = {word: _spelled(word) for word in wanted}
    strange = [word for word in wanted if not found[word] and _is_word(word)]
    found |= _meant(strange) if strange else {}
    return {word: known for word, known in found.items() if known}


def _is_word(text: str) -> bool:
    return text.isascii() and text.isalpha() and len(text) > 2


# ---------------------------------------------------------------------------------------------------- letters


@cache
def _real_words() -> frozenset[str]:
    lines = (MINILM_FOLDER / VOCABULARY_NAME).read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line.isalpha())


@cache
def _spellings() -> dict[str, list[str]]:
    """List the known words by their first letter."""
    found: dict[str, list[str]] = {}
    for phrase in lexicon().phrases:
        if len(phrase) == 1 and len(phrase[0]) > 2:
            found.setdefault(phrase[0][0], []).append(phrase[0])
    return found


@lru_cache(REMEMBERED)
def _spelled(word: str) -> str:
    """Return the known word that `word` mistypes: letters repeated, one wrong, or two of a long word."""
    if word in _real_words():
        return ""
    alike = _spellings().get(word[:1], [])
    stretched = [each for each in alike if _squeezed(each) == _squeezed(word)]
    if stretched or len(word) < SHORTEST_MISTYPED:
        return "".join(stretched[:1])
    most = 2 if len(word) >= LONG_WORD else 1
    near = [
        (distance(word, each), not _names(each), each) for each in alike if abs(len(each) - len(word)) <= most
    ]
    best, _, known = min(near, default=(most + 1, True, ""))
    return known if best <= most else ""


def _names(word: str) -> bool:
    """Return whether a known word says what is filmed: "hors" is rather a horse than what hops."""
    return any(sense.slot in SLOTS_OF_THINGS for sense in lexicon().phrases[word,])


@lru_cache(REMEMBERED)
def _squeezed(word: str) -> str:
    """Drop repeated letters: "runnning", "woooolf"."""
    return "".join(letter for before, letter in pairwise(f" {word}") if letter != before)


def distance(one: str, other: str) -> int:
    """Count the letters to add, drop, change or swap with their neighbour (Damerau, restricted)."""
    rows = [list(range(len(other) + 1))]
    for i, left in enumerate(one, 1):
        row = [i]
        for j, right in enumerate(other, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (left != right))
            if i > 1 and j > 1 and (left, one[i - 2]) == (other[j - 2], right):
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


# ---------------------------------------------------------------------------------------------------- meaning


def _meant(words: Sequence[str]) -> dict[str, str]:
    """Return the known words whose meaning is nearest, "" where it is not near enough."""
    names, vectors = _meanings()
    likeness, nearest = (embed(words) @ vectors.T).max(dim=1)
    found = zip(words, likeness.tolist(), nearest.tolist(), strict=True)
    return {word: names[index] if value >= LEAST_LIKENESS else "" for word, value, index in found}


@cache
def _meanings() -> tuple[tuple[str, ...], Float[Tensor, "n e"]]:
    names = tuple(
        phrase[0]
        for phrase, senses in lexicon().phrases.items()
        if len(phrase) == 1
        and all(each.slot in SLOTS_OF_MEANING and not each.plural for each in senses)
        # Of a verb one form is enough
        and (phrase[0].endswith("ing") or not {"event", "motion"} & {each.slot for each in senses})
    )
    return names, embed(names)


@cache
def _encoder() -> MiniLM:
    return load_minilm()


def embed(texts: Sequence[str]) -> Float[Tensor, "n e"]:
    """Return unit vectors whose products say how alike texts are: the mean of MiniLM's token states."""
    encoded = _encoder().encode(list(texts))
    means = encoded.states.sum(dim=1) / encoded.lengths[:, None]
    return nn.functional.normalize(means, dim=1)
