"""Films that benchmarks compare with each other: of prompts that were not trained on, whole."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from memory import seconds_of_work

from unstatic.generate.engine import Engine, whole_film
from unstatic.generate.native import NativeEngine
from unstatic.generate.request import Request, plan

Way = TypeVar("Way")

PROMPTS = (
    "a red ball bounces on a wooden floor",
    "a horse walks on grass on a sunny day",
    "a blue cube slides down a ramp",
    "a cat turns around slowly, the camera zooms in",
    "a green cylinder rolls to the left on sand",
    "an elephant runs across snow",
    "a yellow cone falls onto a stone floor, the camera circles around it",
    "two balls collide on a marble floor at night",
)


def film(engine: Engine, request: Request) -> UInt8[np.ndarray, "t h w 3"]:
    """Return the frames of a film at the model's own size and rate."""
    return whole_film(engine, plan(request, engine.manifest))


def in_turn(
    engine: NativeEngine, asked: Mapping[Way, Sequence[Request]], repeats: int
) -> tuple[dict[Way, list[float]], dict[tuple[Way, int], UInt8[np.ndarray, "t h w 3"]]]:
    """Make every film in all ways in turn, several times over.

    Returns for every way as many times as repeats, each of all films together (computing time on a CPU, on
    the clock elsewhere), and the films by way and number.
    """
    first = next(iter(asked.values()))
    film(engine, first[0])  # what is done once
    times = {way: [0.0] * repeats for way in asked}
    films = {}
    for repeat in range(repeats):
        for number in range(len(first)):
            for way, requests in asked.items():
                started = seconds_of_work(engine.device)
                films[way, number] = film(engine, requests[number])
                times[way][repeat] += seconds_of_work(engine.device) - started
    return times, films
