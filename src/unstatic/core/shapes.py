"""The axis alphabet and the arithmetic between frames, latent frames, chunks and pixels.

Every shape in the package is spelled with these letters, in signatures and in einops strings alike:

    b batch    c channels    t frames    h height    w width
    n video tokens    s text tokens    d width of the network    k heads

`t` counts frames and is never noise. The first latent frame stands for one frame (a still is exactly one
latent frame), every later one for `Compression.time` frames. That arithmetic exists here and nowhere else.
"""

import re
from dataclasses import dataclass

from unstatic.core.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Compression:
    """How many frames and how many pixels a side one latent cell stands for."""

    time: int
    space: int

    def latent_frames(self, frames: int) -> int:
        """Count the latent frames that `frames` frames encode to; a trailing partial group is dropped."""
        if frames < 1:
            raise InputError(f"a video needs at least 1 frame, got {frames}")
        return (frames - 1) // self.time + 1

    def latent_frames_covering(self, frames: int) -> int:
        """Count the fewest latent frames that decode to at least `frames` frames (64 frames need 17)."""
        return self.latent_frames(frames + self.time - 1)

    def frames(self, latent_frames: int) -> int:
        """Count the frames that `latent_frames` latent frames decode to."""
        if latent_frames < 1:
            raise InputError(f"a latent needs at least 1 latent frame, got {latent_frames}")
        return self.time * (latent_frames - 1) + 1

    def frames_covering(self, frames: int) -> int:
        """Count the frames of the fewest latent frames that decode to at least `frames` frames."""
        return self.frames(self.latent_frames_covering(frames))

    def latent_size(self, width: int, height: int) -> tuple[int, int]:
        """Return (latent width, latent height) of a width x height picture; both must divide exactly."""
        if width < 1 or height < 1 or width % self.space or height % self.space:
            raise InputError(f"size {width}x{height} must be multiples of {self.space} on both sides")
        return width // self.space, height // self.space


@dataclass(frozen=True, slots=True)
class Size:
    """A picture's width and height in pixels; written `WIDTHxHEIGHT`."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InputError(f"size {self} must be positive on both sides, for example 1280x720")

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Read `64x48` as width 64, height 48. Raises InputError for anything else."""
        match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text.strip().lower())
        if match is None:
            raise InputError(f"size {text!r} is not WIDTHxHEIGHT, for example 1280x720")
        return cls(int(match[1]), int(match[2]))


def chunk_lengths(latent_frames: int, chunk: int, first: int = 1) -> list[int]:
    """Cut `latent_frames` into the chunks denoised together: first, chunk, ..., perhaps a shorter last."""
    if min(latent_frames, chunk, first) < 1:
        raise InputError(
            f"{latent_frames} latent frames in chunks of {first} and {chunk}: all must be at least 1"
        )
    begin = min(first, latent_frames)
    return [begin, *(min(chunk, latent_frames - start) for start in range(begin, latent_frames, chunk))]
