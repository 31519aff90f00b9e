"""Prompts with known answers: scenes drawn by fixed seeds, each with the caption that asks for it.

A suite belongs to the project's history: the same name gives the same prompts for ever, so that two models,
or one model at two times, answer the same questions. A test pins its fingerprint.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unstatic.core.seeds import numpy_generator
from unstatic.world.captions import caption
from unstatic.world.casting import ACTORS
from unstatic.world.held_out import held_out_look
from unstatic.world.mix import FIRST_LIGHT_MIX
from unstatic.world.relations import hero
from unstatic.world.scenes import sample_scene
from unstatic.world.spec import COLOURS, EVENTS, SceneSpec

# Training draws its scenes with seeds below 100 million.
FIRST_SEED = 900_000_000
FRAMES, FPS, SIDE = 65, 16, 64

# What needs a second object cannot be asked for with one.
SOLO_EVENTS = tuple(event for event in EVENTS if event not in ("collide", "pass-behind"))
# What stays in its place is never said to go anywhere.
IN_PLACE = ("rest", "spin", "pendulum")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A sentence and the scene that it describes."""

    text: str
    spec: SceneSpec

    @property
    def shape(self) -> str:
        """The hero's shape."""
        return hero(self.spec).shape

    @property
    def colour(self) -> str:
        """The hero's colour."""
        return hero(self.spec).colour

    @property
    def event(self) -> str:
        """What happens."""
        return self.spec.event

    @property
    def direction(self) -> str:
        """Where the prompt says the hero goes: "left", "right", "towards" or "away", or "" if it does not."""
        return "" if self.event in IN_PLACE else hero(self.spec).direction


@dataclass(frozen=True, slots=True)
class Suite:
    """A named list of prompts."""

    name: str
    prompts: tuple[Prompt, ...]

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any word of the suite, and any number of it by a thousandth."""
        scenes = [(prompt.text, _rounded(dataclasses.asdict(prompt.spec))) for prompt in self.prompts]
        return hashlib.sha256(json.dumps(scenes).encode()).hexdigest()[:16]


def first_light(count: int = 200) -> Suite:
    """Ask for one object before a still camera, in the words and scenes of training, 64x64, four seconds.

    Events come up equally often, shapes and colours as evenly as the events allow. A shorter suite is the
    beginning of a longer one.
    """
    shapes, colours = Counter[str](), Counter[str]()
    prompts: list[Prompt] = []
    for number in range(count):
        rng = numpy_generator("first-light", number)
        event = SOLO_EVENTS[number % len(SOLO_EVENTS)]
        shape = _rarest(tuple(ACTORS[event]), shapes, rng)
        colour = _rarest(tuple(each for each in COLOURS if not held_out_look(shape, each)), colours, rng)
        shapes[shape] += 1
        colours[colour] += 1
        prompts.append(_prompt(FIRST_SEED + number, event, shape, colour))
    return Suite("first-light", tuple(prompts))


SUITES: dict[str, Callable[[int], Suite]] = {"first-light": first_light}


def _prompt(seed: int, event: str, shape: str, colour: str) -> Prompt:
    mix = replace(
        FIRST_LIGHT_MIX,
        num_objects=(1.0,),
        shapes={shape: 1.0},
        colours={colour: 1.0},
        events={event: 1.0},
        cameras={"still": 1.0},
    )
    spec = sample_scene(seed, frames=FRAMES, fps=FPS, width=SIDE, height=SIDE, mix=mix)
    return Prompt(caption(spec, numpy_generator("prompt", seed), style="medium"), spec)


def _rounded(value: Any) -> Any:
    """Round all numbers in nested containers: processors differ in the last digits of what they simulate."""
    match value:
        case dict():
            return {name: _rounded(each) for name, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
        case float():
            return round(value, 3) + 0.0  # no minus zero
        case _:
            return value


def _rarest(words: tuple[str, ...], used: Counter[str], rng: np.random.Generator) -> str:
    """Draw one of the words that were used least so far."""
    least = min(used[word] for word in words)
    rare = [word for word in words if used[word] == least]
    return rare[int(rng.integers(len(rare)))]
