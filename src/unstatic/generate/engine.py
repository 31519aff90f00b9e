"""What every engine does: turn a `Plan` into a stream of frames, telling how far it is."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from unstatic.generate.request import Plan
from unstatic.models.manifest import Manifest


class Progress(NamedTuple):
    """`done` of `total` denoising steps are taken."""

    done: int
    total: int


class Frames(NamedTuple):
    """The next frames of the video, which are final; number `first` comes first."""

    first: int
    frames: UInt8[np.ndarray, "t h w 3"]


class Warned(NamedTuple):
    """Something the user should know, that does not stop the work."""

    message: str


Event = Progress | Frames | Warned


@runtime_checkable
class Engine(Protocol):
    """Makes videos with one model."""

    @property
    def manifest(self) -> Manifest:
        """What the model can make."""
        ...

    def stream(self, plan: Plan) -> Iterator[Event]:
        """Do it, yielding frames at the model's own size and rate as soon as they are final.

        Closing the iterator stops between two steps.
        """
        ...
