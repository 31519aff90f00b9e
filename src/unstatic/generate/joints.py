"""Joints: where footage meets what is made, the first new frames are made once more, between both sides.

A model goes on from what it was given with a small jump, and arrives at what comes next with a larger one. An
interpolator spreads them over SPREAD frames, new ones alone: what was given stays as it is. Between frames
that have nothing in common there is no middle: a cut stays a cut.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from unstatic.core.shapes import Compression
from unstatic.generate.footage import Footage, covered

SPREAD = 3

Frame = UInt8[np.ndarray, "h w 3"]
Frames = UInt8[np.ndarray, "t h w 3"]
Middle = Callable[[Frame, Frame], Frame | None]


class Stretch(NamedTuple):
    """Frames that are made anew: those strictly between `left` and `right`, one of which was given."""

    left: int
    right: int


def stretches(footage: Sequence[Footage], frames: int, compression: Compression) -> list[Stretch]:
    """Return what is made anew of a video of `frames` frames, in order, at most half of what is new."""
    spans = (covered(each.first, each.stop, compression) for each in footage)
    known = sorted((_first(start, compression), _first(stop, compression)) for start, stop in spans)
    found: list[Stretch] = []
    edges = [(0, 0), *known, (frames, frames)]
    for (begin, stop), (start, end) in pairwise(edges):
        after, before = stop > begin, end > start  # whether there is footage on either side
        new = (start - stop - 1) // (2 if after and before else 1)
        spread = min(SPREAD, new)
        if after and spread > 0:
            found.append(Stretch(stop - 1, stop + spread))
        if before and spread > 0:
            found.append(Stretch(start - spread - 1, start))
    return found


def _first(latent_frame: int, compression: Compression) -> int:
    return compression.frames(latent_frame) if latent_frame else 0


class JointSmoother:
    """A video on its way: frames wait as long as one that they need is missing."""

    def __init__(self, anew: Sequence[Stretch], middle: Middle) -> None:
        self.anew, self.middle = list(anew), middle
        self.first = 0
        self.held: list[Frame] = []

    def next(self, frames: Frames) -> tuple[int, UInt8[np.ndarray, "ready h w 3"]]:
        """Take the next frames; return those that are final, and the number of their first."""
        self.held += list(frames)
        stop = self.first + len(self.held)
        while self.anew and self.anew[0].right < stop:
            stretch = self.anew.pop(0)
            self._between(stretch.left - self.first, stretch.right - self.first)
        ready = min(stop, self.anew[0].left) if self.anew else stop
        first, count = self.first, max(0, ready - self.first)
        final, self.held = self.held[:count], self.held[count:]
        self.first += count
        return first, np.stack(final) if final else frames[:0]

    def _between(self, left: int, right: int) -> None:
        """Fill what lies between two frames, by halves."""
        if right - left < 2:
            return
        half, middle = (left + right) // 2, self.middle(self.held[left], self.held[right])
        if middle is None:
            return
        self.held[half] = middle
        self._between(left, half)
        self._between(half, right)
