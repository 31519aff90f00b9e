"""Shimmer: what a decoder changes from frame to frame where nothing moves."""

import numpy as np
from jaxtyping import Float32, UInt8

LEAST = 0.1  # of a change always counts, so that slow ones arrive


class Damper:
    """Damp small changes from frame to frame, as frames come; larger ones pass, and motion with them.

    A recursive filter in time whose gain grows with the change (Dennis, Nonlinear temporal filter for
    television picture noise reduction, IEE Proc. G 127, 1980): of a change of d, in the channel that changes
    most, the share d / `levels` is shown, at least `LEAST` and at most all of it. So no pixel is ever further
    from what came in than a quarter of `levels` and the rounding. With `levels` 0 nothing changes.
    """

    def __init__(self, levels: float) -> None:
        self.levels = np.float32(levels)
        self.last: Float32[np.ndarray, "h w 3"] | None = None

    def next(self, frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
        """Return the next frames of a video with their small changes damped."""
        return np.stack([self._next(frame) for frame in frames]) if self.levels and len(frames) else frames

    def _next(self, frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        now = frame.astype(np.float32)
        if self.last is not None:
            change = now - self.last
            gain = np.abs(change).max(axis=-1, keepdims=True) / self.levels
            now = self.last + np.clip(gain, np.float32(LEAST), np.float32(1)) * change
        self.last = now
        return np.rint(now).astype(np.uint8)
