"""What a parser may say about a clip, and what a perfect one would say about a scene of the world.

A reading never knows the prompt. Its words are those of the world (`world.spec`), but for the camera: dolly
and zoom look alike in four seconds of a small picture, so that both are "in" or "out".
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from unstatic.world.relations import hero
from unstatic.world.spec import EVENTS, MOTIONS, CameraSpec, SceneSpec

DIRECTIONS = ("left", "right", "towards", "away")
# What a direction becomes in a mirror
MIRRORED = {"left": "right", "right": "left", "towards": "towards", "away": "away"}
CAMERA_MOVES = ("still", "orbit", "pan", "in", "out", "up", "down", "follow")
ACTIONS = EVENTS + MOTIONS

Frames = UInt8[np.ndarray, "t h w 3"]


class Thing(NamedTuple):
    """An object as it looks."""

    colour: str
    shape: str


class Reading(NamedTuple):
    """What a clip shows, and how sure that is (from 0 to 1).

    `objects` are up to two, the one that acts or strikes the eye first; `animals` up to two kinds, likewise.
    `event` is one of the EVENTS or, when an animal acts, of the MOTIONS. A direction is always named, whether
    or not anything moves: it is judged only where a prompt names one.
    """

    objects: tuple[Thing, ...]
    animals: tuple[str, ...]
    event: str
    direction: str
    camera: str
    confidences: dict[str, float]

    @property
    def colour(self) -> str:
        """The first object's colour, "" without any."""
        return self.objects[0].colour if self.objects else ""

    @property
    def shape(self) -> str:
        """The first object's shape, "" without any."""
        return self.objects[0].shape if self.objects else ""

    @property
    def animal(self) -> str:
        """The first animal's kind, "" without any."""
        return self.animals[0] if self.animals else ""


@runtime_checkable
class Reader(Protocol):
    """Anything that says what it sees in a clip of 16 frames a second, whatever that shows."""

    def read(self, frames: Frames) -> Reading:
        """Read a clip of any size and of at least one frame."""
        ...


def truth(spec: SceneSpec) -> Reading:
    """Return what a perfect parser reads in a scene; the direction is "" for a hero that goes nowhere."""
    first = hero(spec)
    cast = [first, *(each for each in spec.objects if each is not first)]
    things = tuple(Thing(each.colour, each.shape) for each in cast if not each.is_animal)
    kinds = tuple(dict.fromkeys(each.shape for each in cast if each.is_animal))
    return Reading(things, kinds, spec.event, first.direction, camera_move(spec.camera), {})


def camera_move(camera: CameraSpec) -> str:
    """Return the class of a camera's move: one of CAMERA_MOVES."""
    return camera.sense if camera.kind in ("dolly", "zoom", "rise") else camera.kind
