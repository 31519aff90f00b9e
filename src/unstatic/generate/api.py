"""The public Python API: `unstatic.generate("...")` makes a video, `unstatic.load()` a model for many."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from jaxtyping import UInt8

from unstatic.core.shapes import Size
from unstatic.diffusion.condition import Condition
from unstatic.generate.defaults import DEFAULT_MODEL
from unstatic.generate.engine import Engine, Event, Frames, Warned
from unstatic.generate.image import open_image
from unstatic.generate.native import load_native
from unstatic.generate.request import Plan, Request, plan
from unstatic.media.frames import enlarge, retime
from unstatic.media.read import Video
from unstatic.models.manifest import Manifest, find_model


class Options(TypedDict, total=False):
    """What can be asked for besides the prompt; what is not given is the model's own choice, the seed is 0.

    `seconds` 0 is a still, `size` is "WIDTHxHEIGHT", `guidance` 1 is none. The video begins with `image` and
    ends with `last_image`, files or arrays; without a size it takes the shape nearest to theirs. `conditions`
    say what else is known beforehand (`unstatic.diffusion.condition`). `expand` (True) rewrites the prompt in
    words that the model was trained on, where it has an expander: `Model.plan` shows them as `text`.
    """

    seconds: float | int
    size: str
    fps: int
    seed: int
    steps: int
    guidance: float | int
    solver: str
    image: Path | str | UInt8[np.ndarray, "h w 3"]
    last_image: Path | str | UInt8[np.ndarray, "h w 3"]
    conditions: tuple[Condition, ...]
    expand: bool


class Model:
    """A loaded model.

    model = unstatic.load("nano")
    for event in model.stream("a red ball bounces", seconds=4):
        match event:
            case Progress(done, total): ...
            case Frames(first, frames): ...     # uint8 [t h w 3], as soon as they are final
            case Preview(first, frames): ...    # what the next ones look like so far, if asked for
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
        stretches: list[UInt8[np.ndarray, "_ h w 3"]] = []
        for event in self.stream_plan(made):
            match event:
                case Frames():
                    stretches.append(event.frames)
                case Warned():
                    warnings.warn(event.message, stacklevel=2)
                case _:
                    pass
        return Video(frames=np.concatenate(stretches), fps=made.fps)

    def stream(
        self, prompt: str, *, previews_per_s: float | int = 0, **options: Unpack[Options]
    ) -> Iterator[Event]:
        """Make a video, yielding `Progress` after each step and `Frames` as soon as they are final.

        The same seed gives the same frames, with or without previews. Closing the iterator stops the work
        between two steps. Raises InputError naming value and fix, before any work is done.
        """
        return self.stream_plan(self.plan(prompt, **options), previews_per_s=previews_per_s)

    def stream_plan(self, plan: Plan, *, previews_per_s: float | int = 0) -> Iterator[Event]:
        """Do what was planned, with frames at the size and the frame rate of the plan."""
        yield from map(Warned, plan.warnings)
        shown = 0
        for event in self.engine.stream(plan, previews_per_s=previews_per_s):
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
    unstatic.generate("the ball rolls away", image="ball.png").save("away.mp4")
    """
    return load(model).generate(prompt, **options)


def _request(prompt: str, options: Options) -> Request:
    fields: dict[str, Any] = {**options}
    if "size" in options:
        fields["size"] = Size.parse(options["size"])
    for name in ("image", "last_image"):
        if fields.get(name) is not None:
            fields[name] = open_image(fields[name])
    return Request(prompt=prompt, **{"expand": True, **fields})
