"""What every engine does: turn a `Plan` into a stream of frames, telling how far it is."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8

from unstatic.core.errors import InputError
from unstatic.generate.request import Plan
from unstatic.models.manifest import Manifest


class UnknownArgumentError(InputError):
    """A model does not know something that was asked of it; the message names no place of this machine."""


class Progress(NamedTuple):
    """`done` of `total` denoising steps are taken."""

    done: int
    total: int


class Frames(NamedTuple):
    """The next frames of the video, which are final; number `first` comes first."""

    first: int
    frames: UInt8[np.ndarray, "t h w 3"]


class Preview(NamedTuple):
    """What the next frames look like so far; number `first` comes first.

    They are at the model's own size and rate, also where `Frames` are not.
    """

    first: int
    frames: UInt8[np.ndarray, "t h w 3"]


class Warned(NamedTuple):
    """Something the user should know, that does not stop the work."""

    message: str


Event = Progress | Preview | Frames | Warned


class Pace:
    """Something is due at most `per_s` times a second of `clock`: first at once, never if it is 0."""

    def __init__(self, per_s: float | int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s, self.clock = per_s, clock
        self.due_s = clock()

    def is_due(self) -> bool:
        """Return whether it is due now; then it is done, and due again later."""
        now_s = self.clock()
        if self.per_s <= 0 or now_s < self.due_s:
            return False
        self.due_s = now_s + 1 / self.per_s
        return True


@runtime_checkable
class Engine(Protocol):
    """Makes videos with one model."""

    @property
    def manifest(self) -> Manifest:
        """What the model can make."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        ...

    def stream(self, plan: Plan, *, previews_per_s: float | int = 0) -> Iterator[Event]:
        """Do it, yielding frames at the model's own size and rate as soon as they are final.

        Previews come after steps, at most so many a second; they cost time and change nothing. Closing the
        iterator stops between two steps.
        """
        ...


def whole_film(engine: Engine, plan: Plan) -> UInt8[np.ndarray, "t h w 3"]:
    """Return all frames of a film at once, at the model's own size and rate."""
    return np.concatenate([event.frames for event in engine.stream(plan) if isinstance(event, Frames)])
