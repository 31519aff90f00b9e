"""Renders of scenes that no training and no suite of prompts has."""

import dataclasses
from collections.abc import Callable

import pytest

from unstatic.evals.prompts import answer_of
from unstatic.evals.readings import Frames, Reader, truth
from unstatic.world.clip import make_clip
from unstatic.world.mix import WHOLE_MIX
from unstatic.world.scenes import sample_scene
from unstatic.world.spec import MOTIONS, SceneSpec

FIRST_SEED = 890_000_000
EVENTS = (
    "roll",
    "bounce",
    "spin",
    "fall",
    "jump",
    "topple",
    "pendulum",
    "slide",
    "walk",
    "gallop",
    "eat",
    "leap",
)


@pytest.fixture(scope="session")
def development_clips() -> list[tuple[SceneSpec, Frames]]:
    """Two dozen clips of objects or an animal, before a camera that is still or goes with it."""
    clips: list[tuple[SceneSpec, Frames]] = []
    for number in range(2 * len(EVENTS)):
        mix = dataclasses.replace(
            WHOLE_MIX,
            num_objects=(0.6, 0.4),
            events={EVENTS[number % len(EVENTS)]: 1.0},
            cameras={"still": 1.0},
            companions=0.0,
        )
        spec = sample_scene(FIRST_SEED + number, frames=65, width=64, height=64, mix=mix)
        clips.append((spec, make_clip(spec).frames))
    return clips


@pytest.fixture(scope="session")
def agreed() -> Callable[[Reader, list[tuple[SceneSpec, Frames]]], float]:
    """Return a function: the share of right answers of a parser, over colours, shapes, animals and events."""

    def share(reader: Reader, clips: list[tuple[SceneSpec, Frames]]) -> float:
        right: list[bool] = []
        for spec, frames in clips:
            reading, perfect = reader.read(frames), truth(spec)
            atoms = ("animal", "motion") if spec.event in MOTIONS else ("event", "colour", "shape")
            for atom in atoms if len(spec.objects) == 1 else atoms[:1]:
                right.append(answer_of(reading, atom) == answer_of(perfect, atom))
        return sum(right) / len(right)

    return share
