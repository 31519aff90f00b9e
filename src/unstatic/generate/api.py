"""The public Python API: `unstatic.generate("...")` makes a video, `unstatic.load()` a model for many."""

from collections.abc import Iterator
from typing import Any, TypedDict, Unpack

import numpy as np

from unstatic.core.shapes import Size
from unstatic.diffusion.condition import Condition
from unstatic.generate.defaults import DEFAULT_MODEL
from unstatic.generate.engine import Engine, Event, Frames
from unstatic.generate.native import load_native
from unstatic.generate.request import Plan, Request, plan
from unstatic.media.frames import enlarge, retime
from unstatic.media.read import Video
from unstatic.models.manifest import Manifest, find_model


class Options(TypedDict, total=False):
    """What can be asked for besides the prompt; what is not given is the model's own choice, the seed is 0.

    `seconds` 0 is a still, `size` is "WIDTHxHEIGHT", `guidance` 1 is none, `conditions` say what is known
    beforehand (`unstatic.diffusion.condition`).
    """

    seconds: float | int
    size: str
    fps: int
    seed: int
    steps: int
    guidance: float | int
    solver: str
    conditions: tuple[Condition, ...]


class Model:
    """A loaded model.

    model = unstatic.load("nano")
    for event in model.stream("a red ball bounces", seconds=4):
        match event:
            case Progress(done, total): ...
            case Frames(first, frames): ...     # uint8 [t h w 3], as soon as they are final
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def manifest(self) -> Manifest:
        """What the model can make: sizes, frame rate, longest video, defaults."""
        return self.engine.manifest

    def plan(self, prompt: str, **options: Unpack[Options]) -> Plan:
        """Return what would be done. Raises InputError naming value and fix."""
        return plan(_request(prompt, options), self.manifest)

    def generate(self, prompt: str, **options: Unpack[Options]) -> Video:
        """Make a video and return it whole. Raises InputError naming value and fix."""
        made = self.plan(prompt, **options)
        frames = [event.frames for event in self.stream_plan(made) if isinstance(event, Frames)]
        return Video(frames=np.concatenate(frames), fps=made.fps)

    def stream(self, prompt: str, **options: Unpack[Options]) -> Iterator[Event]:
        """Make a video, yielding `Progress` after each step and `Frames` as soon as they are final.

        The same seed gives the same frames. Closing the iterator stops the work between two steps. Raises
        InputError naming value and fix, before any work is done.
        """
        return self.stream_plan(self.plan(prompt, **options))

    def stream_plan(self, plan: Plan) -> Iterator[Event]:
        """Do what was planned, with frames at the size and the frame rate of the plan."""
        shown = 0
        for event in self.engine.stream(plan):
            if not isinstance(event, Frames):
                yield event
                continue
            frames = retime(event.frames, event.first, self.manifest.fps, plan.fps)
            if len(frames):
                yield Frames(shown, enlarge(frames, plan.enlarge, "bicubic"))
                shown += len(frames)


def load(name: str = DEFAULT_MODEL, *, device: str | None = None) -> Model:
    """Load an installed model by name, or one from its folder.

    `device` is "cpu", "cuda", "cuda:1" or "mps"; None takes the best one. Raises InputError naming value and
    fix.
    """
    return Model(load_native(find_model(name), device=device))


def generate(prompt: str, *, model: str = DEFAULT_MODEL, **options: Unpack[Options]) -> Video:
    """Make one video; who makes many calls `load` once.

    unstatic.generate("a red ball bounces", seconds=2).save("ball.mp4")
    """
    return load(model).generate(prompt, **options)


def _request(prompt: str, options: Options) -> Request:
    fields: dict[str, Any] = {**options}
    if "size" in options:
        fields["size"] = Size.parse(options["size"])
    return Request(prompt=prompt, **fields)
