"""How well an autoencoder gives back what it was shown: PSNR over whole pictures and inside the objects.

Two averages are told apart, because they differ: "pooled" takes the mean squared error over all pixels of all
clips and then decibels, "per clip" takes decibels of every clip and then their mean, which clips of little
detail raise.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from unstatic.world.clip import Clip, make_clip
from unstatic.world.mix import FIRST_LIGHT_MIX
from unstatic.world.render import PROP_ID
from unstatic.world.scenes import sample_scene

# Apart from the seeds of training (below 100 million) and those of the prompts.
FIRST_SEED = 910_000_000
FRAMES, FPS = 65, 16
SIZES = ((64, 64), (80, 48), (48, 80))
PEAK = 255.0

Frames = UInt8[np.ndarray, "t h w 3"]
Reconstruct = Callable[[Frames], Frames]
"""An autoencoder, there and back; it may leave out frames at the end."""


@dataclass(frozen=True, slots=True)
class SquaredError:
    """Squared differences of pixel values in 0..255, added up over `count` values."""

    total: float
    count: int

    @property
    def psnr(self) -> float:
        """Decibels: 10 log10(255^2 / mean squared error); infinite without an error, NaN without pixels."""
        if not self.count:
            return math.nan
        return math.inf if self.total == 0 else 10 * math.log10(PEAK**2 * self.count / self.total)


@dataclass(frozen=True, slots=True)
class ClipError:
    """The error of one clip: over its whole pictures and inside its objects."""

    seed: int
    whole: SquaredError
    inside: SquaredError


@dataclass(frozen=True, kw_only=True, slots=True)
class Psnr:
    """Decibels of many clips, averaged in two ways; see the module."""

    pooled: float
    per_clip: float


@dataclass(frozen=True, slots=True)
class ReconstructionResult:
    """The errors of many clips."""

    clips: tuple[ClipError, ...]

    @property
    def whole(self) -> Psnr:
        """Over all pixels."""
        return _averaged([clip.whole for clip in self.clips])

    @property
    def inside(self) -> Psnr:
        """Over the pixels of objects alone, scenery and floor left out."""
        return _averaged([clip.inside for clip in self.clips])

    def to_markdown(self) -> str:
        """Return a table of both PSNRs, averaged in both ways."""
        rows = [("whole picture", self.whole), ("inside objects", self.inside)]
        lines = [f"| PSNR, {len(self.clips)} held-out clips | pooled | mean of clips |", "|---|---|---|"]
        return "\n".join(
            [*lines, *(f"| {name} | {psnr.pooled:.2f} dB | {psnr.per_clip:.2f} dB |" for name, psnr in rows)]
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything that was measured, in decibels."""
        return {
            "whole": asdict(self.whole),
            "inside": asdict(self.inside),
            "clips": [
                {"seed": each.seed, "whole": each.whole.psnr, "inside": each.inside.psnr}
                for each in self.clips
            ],
        }


def held_out_clips(count: int) -> Iterator[Clip]:
    """Render clips from the world of training that no training has seen, in its three sizes."""
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        seed = FIRST_SEED + number
        spec = sample_scene(seed, frames=FRAMES, fps=FPS, width=width, height=height, mix=FIRST_LIGHT_MIX)
        yield make_clip(spec)


def measure_reconstruction(
    clips: Iterable[Clip], reconstruct: Reconstruct, *, advance: Callable[[], object] = lambda: None
) -> ReconstructionResult:
    """Send clips through an autoencoder and compare; `advance` is called after each."""
    errors: list[ClipError] = []
    for clip in clips:
        errors.append(_clip_error(clip, reconstruct(clip.frames)))
        advance()
    return ReconstructionResult(tuple(errors))


def _clip_error(clip: Clip, given_back: Frames) -> ClipError:
    length = len(given_back)
    squares = (clip.frames[:length].astype(np.float64) - given_back) ** 2
    is_object = (clip.ids[:length] > 0) & (clip.ids[:length] != PROP_ID)
    return ClipError(clip.spec.seed, _added(squares), _added(squares[is_object]))


def _added(squares: Float[np.ndarray, "..."]) -> SquaredError:
    return SquaredError(float(squares.sum()), squares.size)


def _averaged(errors: list[SquaredError]) -> Psnr:
    seen = [error for error in errors if error.count]
    pooled = SquaredError(sum(error.total for error in seen), sum(error.count for error in seen))
    return Psnr(
        pooled=pooled.psnr, per_clip=sum(error.psnr for error in seen) / len(seen) if seen else math.nan
    )
