"""What is drawn how often: a `Mix` is the recipe of a data set, a weight for each word of the vocabulary.

Weights need not sum to one; a word without a weight is never drawn.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

Weights = Mapping[str, float]
HeldOut = Literal["avoid", "only", "any"]

FILE = Path(__file__).with_name("mixes.toml")

# Colours that cannot be told apart reliably in 64 pixels under a coloured sky.
_NEAR_COLOURS: tuple[frozenset[str], ...] = (
    frozenset({"red", "orange"}),
    frozenset({"red", "pink"}),
    frozenset({"red", "brown"}),
    frozenset({"orange", "yellow"}),
    frozenset({"orange", "brown"}),
    frozenset({"cyan", "blue"}),
    frozenset({"blue", "purple"}),
    frozenset({"purple", "pink"}),
    frozenset({"cyan", "green"}),
    frozenset({"white", "grey"}),
    frozenset({"black", "grey"}),
    frozenset({"brown", "grey"}),
    frozenset({"black", "brown"}),
    frozenset({"white", "pink"}),
    frozenset({"white", "yellow"}),
    frozenset({"white", "cyan"}),
)

# The colours that a textured floor is taken for.
_FLOOR_COLOURS: dict[str, tuple[str, ...]] = {
    "wood": ("brown", "orange"),
    "grass": ("green",),
    "sand": ("yellow", "brown"),
    "snow": ("white",),
    "water": ("blue", "cyan"),
    "mirror": ("grey",),
}

# At night these tell nothing apart, neither as objects nor as floors.
_DARK_AT_NIGHT = frozenset({"black", "brown", "blue", "purple"})
_DARK_FLOORS_AT_NIGHT = frozenset({"water", "mirror", "wood"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """How often each thing is drawn; `num_objects` weighs 1, 2, 3 ... objects (an event of two gets two).

    `events` may name MOTIONS: their heroes are animals. `companions` is the share of them that have another
    animal at their side, `bystanders` the share of extras that are animals. With `cast_first` a seed has its
    number of objects, and its companion, as it has its event; without, crowded scenes are rarer than said,
    since they are oftener drawn again. With `legible` what a caption says can be read off the picture:
    floors have marks where only these show how the camera moves, no long thing or ring is seen end-on or
    edge-on, and nothing else is hidden at the beginning (`scenes.illegible`).

    `held_out`: "avoid" draws only scenes a model may train on, "only" the ones kept for evaluation, "any"
    both.
    """

    num_objects: tuple[float, ...]
    shapes: Weights
    colours: Weights
    materials: Weights
    floors: Weights
    floor_colours: Weights
    skies: Weights
    cameras: Weights
    events: Weights
    animals: Weights = field(default_factory=dict[str, float])
    companions: float = 0.0
    bystanders: float = 0.0
    cast_first: bool = False
    legible: bool = False
    held_out: HeldOut = "avoid"


def draw(rng: np.random.Generator, weights: Weights) -> str:
    """Draw one word with probability in proportion to its weight."""
    words = list(weights)
    shares = np.array([weights[word] for word in words], dtype=np.float64)
    return words[int(rng.choice(len(words), p=shares / shares.sum()))]


def contrast(colour: str, other: str) -> bool:
    """Return whether two colours are safely told apart in a small picture."""
    return colour != other and frozenset({colour, other}) not in _NEAR_COLOURS


def lost_at_night(colour: str, floor: str, shown: tuple[str, ...]) -> bool:
    """Return whether an object of this colour can hardly be seen by night on such a floor."""
    dark_floor = floor in _DARK_FLOORS_AT_NIGHT or not _DARK_AT_NIGHT.isdisjoint(shown)
    return colour in _DARK_AT_NIGHT and dark_floor


def floor_colours(floor: str, first: str, second: str) -> tuple[str, ...]:
    """Return the colours a floor shows: those of its texture, or its own one (plain) or two (checker)."""
    if floor == "plain":
        return (first,)
    return (first, second) if floor == "checker" else _FLOOR_COLOURS[floor]


def _read_mixes() -> dict[str, Mix]:
    """Read mixes.toml; a mix begins with what its base says."""
    said: dict[str, dict[str, Any]] = tomllib.loads(FILE.read_text(encoding="utf-8"))
    for fields in said.values():
        base = said[fields.pop("base")] if "base" in fields else {}
        for name, value in base.items():
            fields.setdefault(name, value)
        fields["num_objects"] = tuple(fields["num_objects"])
    return {name: Mix(**fields) for name, fields in said.items()}


MIXES = _read_mixes()
DEFAULT_MIX, FIRST_LIGHT_MIX, BALANCED_MIX = MIXES["default"], MIXES["first-light"], MIXES["balanced"]
WHOLE_MIX, LIVELY_MIX = MIXES["whole"], MIXES["lively"]
