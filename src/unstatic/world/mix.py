"""What is drawn how often: a `Mix` is the recipe of a data set, a weight for each word of the vocabulary.

Weights need not sum to one; a word without a weight is never drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from unstatic.world.spec import CAMERAS, COLOURS, EVENTS, FLOORS, MATERIALS, SHAPES, SKIES

Weights = Mapping[str, float]
HeldOut = Literal["avoid", "only", "any"]

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


def _even(words: tuple[str, ...]) -> Weights:
    return dict.fromkeys(words, 1.0)


DEFAULT_MIX = Mix(
    num_objects=(0.5, 0.3, 0.2),
    shapes=_even(SHAPES),
    colours=_even(COLOURS),
    materials={**_even(MATERIALS), "matte": 3.0},
    floors={**_even(FLOORS), "plain": 3.0, "checker": 0.7},
    floor_colours=_even(COLOURS),
    skies=_even(SKIES),
    cameras={**_even(CAMERAS), "still": 3.0},
    events=_even(EVENTS),
)

FIRST_LIGHT_MIX = Mix(
    num_objects=(0.75, 0.17, 0.08),
    shapes=_even(SHAPES),
    colours=_even(COLOURS),
    materials={"matte": 65.0, "metal": 10.0, "mirror": 5.0, "glass": 5.0, "checkered": 15.0},
    floors={
        "plain": 40.0,
        "wood": 12.0,
        "grass": 12.0,
        "sand": 10.0,
        "snow": 8.0,
        "water": 6.0,
        "checker": 6.0,
        "mirror": 6.0,
    },
    floor_colours={
        "grey": 4.0,
        "white": 3.0,
        "brown": 1.0,
        "green": 1.0,
        "blue": 1.0,
        "yellow": 1.0,
        "pink": 1.0,
        "cyan": 1.0,
        "purple": 1.0,
        "black": 0.5,
    },
    skies=_even(SKIES),
    cameras={"still": 60.0, "orbit": 15.0, "pan": 5.0, "dolly": 5.0, "zoom": 5.0, "rise": 5.0, "follow": 8.0},
    events={
        "roll": 22.0,
        "bounce": 18.0,
        "spin": 12.0,
        "slide": 10.0,
        "rest": 10.0,
        "fall": 8.0,
        "jump": 6.0,
        "topple": 4.0,
        "pendulum": 4.0,
        "collide": 3.0,
        "ramp": 2.0,
        "pass-behind": 1.0,
    },
)

# The same world with the rare events of one object shown oftener: topple, pendulum and ramp were 4, 4 and 2%
# of the clips, and evaluation asks for all events alike.
BALANCED_MIX = replace(
    FIRST_LIGHT_MIX,
    events={
        "roll": 13.0,
        "bounce": 13.0,
        "spin": 10.0,
        "slide": 10.0,
        "rest": 6.0,
        "fall": 10.0,
        "jump": 10.0,
        "topple": 10.0,
        "pendulum": 8.0,
        "ramp": 8.0,
        "collide": 3.0,
        "pass-behind": 1.0,
    },
)

# So little of the world that half an hour of a laptop's time is enough to learn it.
TOYBOX_MIX = Mix(
    num_objects=(1.0,),
    shapes=_even(("ball", "cube")),
    colours=_even(("red", "green", "blue", "yellow")),
    materials={"matte": 1.0},
    floors={"plain": 2.0, "wood": 1.0},
    floor_colours=_even(("grey", "white")),
    skies={"day": 1.0},
    cameras={"still": 1.0},
    events={"bounce": 1.0, "roll": 1.0, "slide": 1.0, "jump": 1.0},
)

MIXES = {
    "default": DEFAULT_MIX,
    "first-light": FIRST_LIGHT_MIX,
    "balanced": BALANCED_MIX,
    "toybox": TOYBOX_MIX,
}
