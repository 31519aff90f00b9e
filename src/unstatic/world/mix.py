"""What is drawn how often: a `Mix` is the recipe of a data set, a weight for each word of the vocabulary.

Weights need not sum to one; a word without a weight is never drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from unstatic.world.spec import ANIMALS, CAMERAS, COLOURS, EVENTS, FLOORS, MATERIALS, MOTIONS, SHAPES, SKIES

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

    `events` may name MOTIONS: their heroes are animals. `companions` is the share of them that have another
    animal at their side, `bystanders` the share of extras that are animals.

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
    num_objects=(0.45, 0.25, 0.15, 0.1, 0.05),
    shapes=_even(SHAPES),
    colours=_even(COLOURS),
    materials={**_even(MATERIALS), "matte": 3.0},
    floors={**_even(FLOORS), "plain": 3.0, "checker": 0.7},
    floor_colours=_even(COLOURS),
    skies=_even(SKIES),
    cameras={**_even(CAMERAS), "still": 3.0},
    events={**_even(EVENTS), **_even(MOTIONS)},
    animals=_even(ANIMALS),
    companions=0.2,
    bystanders=0.15,
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

# The whole world in the proportions that the embedded model learns it in: two clips in five are of animals.
WHOLE_MIX = replace(
    BALANCED_MIX,
    num_objects=(0.62, 0.22, 0.09, 0.05, 0.02),
    materials={
        "matte": 52.0,
        "metal": 12.0,
        "mirror": 8.0,
        "glass": 8.0,
        "checkered": 10.0,
        "wood": 10.0,
    },
    cameras={
        "still": 50.0,
        "orbit": 14.0,
        "pan": 8.0,
        "dolly": 8.0,
        "zoom": 8.0,
        "rise": 8.0,
        "follow": 10.0,
    },
    events={
        "roll": 8.0,
        "bounce": 7.0,
        "spin": 6.0,
        "slide": 6.0,
        "rest": 5.0,
        "fall": 6.0,
        "jump": 5.0,
        "topple": 5.0,
        "pendulum": 4.0,
        "ramp": 4.0,
        "collide": 3.0,
        "pass-behind": 1.0,
        "ricochet": 1.0,
        "shower": 1.0,
        "walk": 11.0,
        "gallop": 10.0,
        "leap": 6.0,
        "eat": 6.0,
        "stand": 3.0,
        "attack": 3.0,
        "kick": 1.5,
    },
    animals=_even(ANIMALS),
    companions=0.15,
    bystanders=0.1,
)

# Scenes in which something still happens after a minute.
LIVELY_MIX = replace(
    WHOLE_MIX,
    cameras={"still": 40.0, "orbit": 30.0, "dolly": 5.0, "zoom": 5.0, "follow": 20.0},
    events={
        "roll": 10.0,
        "spin": 6.0,
        "pendulum": 10.0,
        "ricochet": 12.0,
        "shower": 14.0,
        "walk": 15.0,
        "gallop": 15.0,
        "leap": 8.0,
        "eat": 6.0,
        "stand": 4.0,
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
    "whole": WHOLE_MIX,
    "lively": LIVELY_MIX,
    "toybox": TOYBOX_MIX,
}
