"""Pictures that stand for a film: a thumbnail, and a sheet of small ones to look through it."""

import io
from math import isqrt

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from unstatic.core.shapes import Size
from unstatic.media.frames import fit

THUMBNAIL_SIDE = 512
TILE_WIDTH = 160
MAX_SIDE = 10


def thumbnail(frame: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Return a frame as a WebP file whose longer side has at most 512 pixels."""
    height, width = frame.shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    return _encoded(_shrunk(frame, scale), "WEBP", quality=85)


class SheetMaker:
    """A thumbnail and a sheet from the frames of a film while they are made, in constant memory.

        maker = SheetMaker(num_frames)
        for frames in stream:
            maker.add(frames)
        maker.thumbnail(), maker.sheet()

    The sheet is a square of `side` x `side` tiles that read like text, at most 10 x 10; none is empty, so
    that the sheet has the shape of the film. Of n tiles, tile i shows the film at i / n of its length. The
    thumbnail is the tile in the middle. If fewer frames come than were promised, the last one stays on.
    """

    def __init__(self, num_frames: int) -> None:
        assert num_frames > 0, "a film has frames"
        self.side = min(MAX_SIDE, isqrt(num_frames))
        self._num_tiles = self.side**2
        self._wanted = [tile * num_frames // self._num_tiles for tile in range(self._num_tiles)]
        self._frames, self._tiles = 0, 0
        self._sheet: UInt8[np.ndarray, "y x 3"] | None = None
        self._shown: UInt8[np.ndarray, "h w 3"] | None = None

    def add(self, frames: UInt8[np.ndarray, "t h w 3"]) -> None:
        """Take the next frames; all of them must have the size of the first."""
        before, self._frames = self._frames, self._frames + len(frames)
        while self._tiles < self._num_tiles and self._wanted[self._tiles] < self._frames:
            self._show(frames[self._wanted[self._tiles] - before])

    def thumbnail(self) -> bytes:
        """Return a WebP file."""
        assert self._shown is not None, "no frame was added"
        return thumbnail(self._shown)

    def sheet(self) -> bytes:
        """Return a JPEG file."""
        assert self._sheet is not None, "no frame was added"
        for number in range(self._tiles, self._num_tiles):
            self._place(number, self._tile)
        return _encoded(self._sheet, "JPEG", quality=85)

    def _show(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Add the next tile."""
        self._tile = _shrunk(frame, min(1.0, TILE_WIDTH / frame.shape[1]))
        self._place(self._tiles, self._tile)
        if self._tiles <= self._num_tiles // 2:
            self._shown = frame.copy()
        self._tiles += 1

    def _place(self, number: int, tile: UInt8[np.ndarray, "h w 3"]) -> None:
        height, width = tile.shape[:2]
        if self._sheet is None:
            self._sheet = np.zeros((self.side * height, self.side * width, 3), np.uint8)
        top, left = height * (number // self.side), width * (number % self.side)
        self._sheet[top : top + height, left : left + width] = tile


def _shrunk(frame: UInt8[np.ndarray, "h w 3"], scale: float) -> UInt8[np.ndarray, "scaled_h scaled_w 3"]:
    height, width = frame.shape[:2]
    return fit(frame[None], Size(max(1, round(width * scale)), max(1, round(height * scale))))[0]


def _encoded(picture: UInt8[np.ndarray, "h w 3"], kind: str, *, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, quality=quality)
    return buffer.getvalue()
