"""Reads a prompt from left to right: phrases become things, and what is said of them.

Nothing is invented here and nothing forgotten: what finds no place among the notes is noted as unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from unstatic.generate.prompts.lexicon import Sense, Senses
from unstatic.generate.prompts.pieces import DEEDS, LOOKS, NOUNS, Piece, articles_before, noun_after
from unstatic.world.mix import floor_colours
from unstatic.world.spec import FLOORS

OPPOSITE = {"left": "right", "right": "left", "behind": "front", "front": "behind"}
# Said of a floor, a material is a kind of floor
FLOOR_OF_MATERIAL = {
    "wood": "wood",
    "mirror": "mirror",
    "metal": "mirror",
    "glass": "mirror",
    "checkered": "checker",
}
OWN_COLOURS = {floor: floor_colours(floor, "", "") for floor in FLOORS}
SKY_OF_COLOUR = {"red": "sunset", "orange": "sunset", "pink": "sunset", "purple": "sunset", "black": "night"}

Look = tuple[Sense, str]


@dataclass(kw_only=True, slots=True)
class Draft:
    """A thing while more may be said of it: looks come with the words that said them."""

    noun: Sense
    text: str
    looks: list[Look]
    count: int = 1
    relation: str | None = None

    def values(self, slot: str) -> list[str]:
        """Return what was said in one slot, each once."""
        return list(dict.fromkeys(sense.value for sense, _ in self.looks if sense.slot == slot))


@dataclass(kw_only=True, slots=True)
class Deed:
    """Something done, as objects and as animals do it; `before` its owner, as in "a rolling ball"."""

    text: str
    senses: Senses
    owner: int
    before: bool

    def value(self, slot: str) -> str:
        """Return the event or the motion."""
        return next((each.value for each in self.senses if each.slot == slot), "")


@dataclass(kw_only=True, slots=True)
class Notes:
    """What was noted down. `hits` is the number of the thing that something moves into, `passes` behind."""

    things: list[Draft] = field(default_factory=list[Draft])
    deeds: list[Deed] = field(default_factory=list[Deed])
    said: dict[str, Sense] = field(default_factory=dict[str, Sense])
    floor_looks: list[Look] = field(default_factory=list[Look])
    unknown: list[str] = field(default_factory=list[str])
    tastes: list[str] = field(default_factory=list[str])
    excluded: set[str] = field(default_factory=set[str])
    hits: int = 0
    passes: bool = False

    def value(self, slot: str) -> str:
        """Return what was said in a slot, "" for nothing."""
        return self.said[slot].value if slot in self.said else ""


def read(pieces: Sequence[Piece]) -> Notes:
    """Read the pieces of one prompt."""
    reader = _Reader(pieces)
    for number, piece in enumerate(pieces):
        reader.take(number, piece)
    reader.end_clause()
    return reader.notes


class _Reader:
    """Notes, and what is still waiting for the noun that it belongs to."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.notes = Notes()
        self.looks: list[Look] = []
        self.count = 0
        self.relation: tuple[str, str] | None = None
        self.place = self.into = self.negated = self.of_last = self.of_camera = False

    def take(self, at: int, piece: Piece) -> None:
        """Read the next piece."""
        if self.negated and piece.slot != "filler":
            self._rule_out(piece)
        elif not piece.senses:
            self.notes.unknown.append(piece.text)
        elif piece.has(NOUNS):
            self._name(at, piece)
        elif piece.has(DEEDS):
            self._do(at, piece)
        elif piece.slot in LOOKS:
            self._look(at, piece)
        else:
            self._say(piece)

    def end_clause(self) -> None:
        """Forget what was waiting, but for looks: "a cube, shiny and red"."""
        if self.notes.things:
            self.notes.things[-1].looks += self.looks
        else:
            self.notes.unknown += [text for _, text in self.looks]
        self.looks, self.place, self.negated = [], False, False
        self._settle()

    def _settle(self) -> None:
        self.count, self.relation, self.into = 0, None, False

    def _rule_out(self, piece: Piece) -> None:
        """Note what is not wanted; "no red ball" goes on until its noun."""
        self.notes.excluded |= {f"{each.slot} {each.value}" for each in piece.senses}
        self.negated = piece.has(LOOKS | {"count", "taste", "place"})

    # ------------------------------------------------------------------------------------------------- things

    def _name(self, at: int, piece: Piece) -> None:
        """Add a thing, or several of different colours, or come back to one."""
        (noun, *_), waiting = piece.of(NOUNS), self.looks
        looks = [*waiting, *((each, piece.text) for each in piece.of(LOOKS))]
        self.place, self.looks = False, []
        known = self._named_before(at, noun, looks)
        if known is not None:
            if self.relation is not None and self.notes.things[-1] is not known:
                self.notes.things[-1].relation = self.relation[0]
            self._settle()
            return

        colours = [look for look in looks if look[0].slot == "colour"]
        several = len(colours) > 1 and (noun.plural or articles_before(self.pieces, at) > 0)
        self.of_camera = False
        self.notes.unknown += [piece.text] if noun.weak else []
        for colour in colours if several else [None]:
            own = [look for look in looks if colour in (None, look) or look[0].slot != "colour"]
            count = self.count or (2 if noun.plural and not several else 1)
            self._add(Draft(noun=noun, text=piece.text, looks=own, count=count))
        self._settle()

    def _add(self, thing: Draft) -> None:
        notes, number = self.notes, len(self.notes.things)
        if self.relation is not None:
            value, text = self.relation
            thing.relation = OPPOSITE.get(value, value)
            if value == "?":
                notes.unknown.append(text)
                thing.relation = None
            notes.passes |= value == "behind" and bool(notes.deeds) and notes.deeds[-1].owner == number - 1
        if self.into and notes.deeds and not notes.hits:
            notes.hits = number
        notes.things.append(thing)

    def _named_before(self, at: int, noun: Sense, looks: list[Look]) -> Draft | None:
        """Return the thing that "the red ball" repeats, if any."""
        before = at - 1
        while before >= 0 and self.pieces[before].has(LOOKS):
            before -= 1
        if before < 0 or self.pieces[before].text != "the":
            return None
        colours = {sense.value for sense, _ in looks if sense.slot == "colour"}
        alike = (
            each
            for each in self.notes.things
            if each.noun.value == noun.value and colours <= set(each.values("colour"))
        )
        return next(alike, None)

    def _do(self, at: int, piece: Piece) -> None:
        ahead = noun_after(self.pieces, at + 1) if piece.is_participle else None
        before = ahead is not None and ahead.has(NOUNS) and self.pieces[at + 1].text != ","
        owner = len(self.notes.things) - (not before)
        deed = Deed(text=piece.text, senses=tuple(piece.of(DEEDS)), owner=owner, before=before)
        self.notes.deeds.append(deed)
        self.relation, self.of_camera = None, False

    def _look(self, at: int, piece: Piece) -> None:
        """Keep looks for the noun that follows, or give them to the thing before: "a cube made of glass"."""
        found = [(each, piece.text) for each in piece.of(LOOKS)]
        ahead = None if self.of_last else noun_after(self.pieces, at + 1)
        material = next((sense.value for sense, _ in found if sense.slot == "material"), "")
        is_floor = self.place or (piece.text == "mirror" and not self.of_last)
        if ahead is None and is_floor and material in FLOOR_OF_MATERIAL:
            self._once(Sense("floor", FLOOR_OF_MATERIAL[material]), piece.text)
            self.place = False
        elif ahead is None and self.notes.things:
            self.notes.things[-1].looks += found
        else:
            self.looks += found
        self.of_last = False

    # ----------------------------------------------------------------------------------------- the rest of it

    def _say(self, piece: Piece) -> None:
        sense, notes = piece.senses[0], self.notes
        match sense.slot:
            case "count":
                self.count = int(sense.value)
            case "to":
                self.relation = (sense.value, piece.text)
            case "at":
                self._relate(sense, piece.text)
            case "floor" | "ground":
                self._floor(piece)
            case "heaven":
                self._sky(piece.text)
            case "direction":
                is_sense = self.of_camera and sense.value in ("left", "right")
                notes.said.setdefault("sense" if is_sense else "direction", sense)
            case "camera":
                self._once(sense, piece.text)
                self.of_camera = sense.value in ("pan", "orbit")
            case "sky" | "light" | "manner":
                self._once(sense, piece.text)
            case "taste":
                notes.tastes.append(piece.text)
            case "objects":
                notes.unknown += [] if notes.things else [piece.text]
                self.count = 0
            case _:
                self._mark(sense.slot, piece.text)

    def _mark(self, slot: str, text: str) -> None:
        """Note how the next words are meant."""
        self.negated |= slot == "not"
        self.of_last = slot == "made" and text != "of"
        self.into |= slot == "into"
        self.place |= slot in ("into", "place")
        if text in (".", ";", "!", "?"):
            self.end_clause()
        elif text == ",":
            self.negated = False

    def _relate(self, sense: Sense, text: str) -> None:
        if len(self.notes.things) > 1:
            self.notes.things[-1].relation = sense.value
        elif " it" in text and self.notes.things:  # "to its left is a cube"
            self.relation = (OPPOSITE.get(sense.value, sense.value), text)
        elif sense.value:
            self.notes.unknown.append(text)

    def _floor(self, piece: Piece) -> None:
        """Note a floor and the looks said of it: plain and checkered ones have colours, others their own."""
        (sense, *more), looks = piece.senses, self.looks
        self.looks, self.place, self.count = [], False, 0
        colours = [look for look in looks if look[0].slot == "colour"]
        materials = [look.value for look, _ in looks if look.value in FLOOR_OF_MATERIAL]
        if sense.slot == "ground" and (materials or colours):
            sense = Sense("floor", FLOOR_OF_MATERIAL[materials[0]] if materials else "plain")
        if sense.value in ("plain", "checker"):
            self.notes.floor_looks += [*colours, *((Sense("colour", each.value), "") for each in more)]
        else:
            own = OWN_COLOURS.get(sense.value, ())
            self.notes.unknown += [text for look, text in colours if look.value not in own]
        if sense.slot == "floor":
            self._once(sense, piece.text)

    def _sky(self, text: str) -> None:
        """Read "a red sky"."""
        for look, said in self.looks:
            self._once(Sense("sky", SKY_OF_COLOUR.get(look.value, "day")), f"{said} {text}")
        self.looks = []

    def _once(self, sense: Sense, text: str) -> None:
        """Note the first value of a slot; a weak one gives way, a second one is not understood."""
        before = self.notes.said.get(sense.slot)
        if before is None or (before.weak and not sense.weak):
            self.notes.said[sense.slot] = sense
        elif before.value != sense.value and not sense.weak and sense.slot not in ("light", "manner"):
            self.notes.unknown.append(text)
