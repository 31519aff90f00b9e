"""Films that benchmarks compare with each other: of prompts that were not trained on, whole."""

import numpy as np
from jaxtyping import UInt8

from unstatic.generate.engine import Engine, Frames
from unstatic.generate.request import Request, plan

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
    events = engine.stream(plan(request, engine.manifest))
    return np.concatenate([event.frames for event in events if isinstance(event, Frames)])
