"""From a prompt to a `Reading`: its phrases, guesses at the others, and who does what."""

from collections.abc import Sequence

from unstatic.generate.prompts.casting import cast
from unstatic.generate.prompts.guessing import guess
from unstatic.generate.prompts.lexicon import lexicon, split
from unstatic.generate.prompts.pieces import DEEDS, LOOKS, NOUNS, Piece, cut
from unstatic.generate.prompts.reading import Notes, read
from unstatic.generate.prompts.scene import Reading, Scene

# What says something of the picture: the words that a prompt's distance from the world is measured by
CONTENT = NOUNS | DEEDS | {"colour", "material", "floor", "sky", "manner"}


def understand(prompt: str) -> Reading:
    """Read a prompt; the same text always gives the same reading."""
    words, known = split(prompt), lexicon()
    pieces = cut(words, known)
    guesses = guess(piece.text for piece in pieces if not piece.senses)
    if guesses:
        pieces = cut([guesses.get(word, word) for word in words], known)
    notes = read(pieces)
    scene = cast(notes)
    unknown = tuple(dict.fromkeys(notes.unknown + notes.tastes))
    content = [piece for piece in pieces if piece.has(CONTENT) or not piece.senses]
    return Reading(
        scene=scene,
        unknown=unknown,
        guesses=tuple(guesses.items()),
        content=len(content),
        understood=sum(_is_understood(piece, unknown) for piece in content),
        is_caption=not guesses
        and not unknown
        and _is_clause(pieces, scene, notes)
        and _is_seen(pieces, scene),
    )


def _is_understood(piece: Piece, unknown: Sequence[str]) -> bool:
    """Return whether a piece says something that can be shown, or nearly: a corgi is a dog."""
    return bool(piece.senses) and (piece.text not in unknown or any(each.weak for each in piece.senses))


def _is_clause(pieces: Sequence[Piece], scene: Scene, notes: Notes) -> bool:
    """Return whether one hero, its looks said, does something: "a red ball rolls", "red ball rolling"."""
    hero = scene.hero
    if hero is None or hero.count > 1 or not scene.event or scene.excluded or not notes.deeds:
        return False
    if any(len(each.values("colour")) != 1 for each in notes.things if each.noun.slot != "animal"):
        return False
    start = next(number for number, piece in enumerate(pieces) if piece.has(NOUNS))
    while start > 0 and pieces[start - 1].has(LOOKS):
        start -= 1
    has_article = start > 0 and pieces[start - 1].text in ("a", "an", "the", "one")
    is_participle = "ing" in notes.deeds[0].text
    return (has_article or is_participle) and not any(deed.before for deed in notes.deeds)


def _is_seen(pieces: Sequence[Piece], scene: Scene) -> bool:
    """Return whether captions of training use all of these words, of such a hero."""
    slot, other = ("motion", "event") if scene.things[0].group == "animal" else ("event", "motion")
    found = [
        piece.of(frozenset({slot})) if piece.has(frozenset({slot, other})) else piece.senses
        for piece in pieces
    ]
    return all(senses and all(sense.seen for sense in senses) for senses in found)
