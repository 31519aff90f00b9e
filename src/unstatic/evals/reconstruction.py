"""How well an autoencoder gives back what it was shown: PSNR, sharpness of edges, and LPIPS if asked for.

PSNR is over whole pictures and inside the objects. Two averages of it are told apart, because they differ:
"pooled" takes the mean squared error over all pixels of all clips and then decibels, "per clip" takes
decibels of every clip and then their mean, which clips of little detail raise.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from unstatic.evals.sharpness import edge_width_ratio
from unstatic.world.clip import Clip, make_clip
from unstatic.world.mix import MIXES
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
Distance = Callable[[Frames, Frames], float]
"""How different the frames of two clips look, LPIPS say: the real ones come first."""


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
    """The error of one clip: over its whole pictures and inside its objects, at its edges, and to the eye.

    `edge_width` is how many times as wide as in the render its strong edges are, NaN without any; `lpips` is
    None if it was not computed.
    """

    seed: int
    whole: SquaredError
    inside: SquaredError
    edge_width: float
    lpips: float | None = None


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

    @property
    def edge_width(self) -> float:
        """How many times as wide as in the renders strong edges are: the mean of clips, NaN without any."""
        return _mean([clip.edge_width for clip in self.clips if not math.isnan(clip.edge_width)])

    @property
    def lpips(self) -> float | None:
        """The mean of clips; None if it was not computed."""
        found = [clip.lpips for clip in self.clips if clip.lpips is not None]
        return _mean(found) if found else None

    def to_markdown(self) -> str:
        """Return a table of both PSNRs, averaged in both ways, and one of what the eye sees."""
        rows = [("whole picture", self.whole), ("inside objects", self.inside)]
        lines = [f"| PSNR, {len(self.clips)} held-out clips | pooled | mean of clips |", "|---|---|---|"]
        lines += [f"| {name} | {psnr.pooled:.2f} dB | {psnr.per_clip:.2f} dB |" for name, psnr in rows]
        lpips = "not computed" if self.lpips is None else f"{self.lpips:.4f}"
        return "\n".join(
            [
                *lines,
                "",
                "| to the eye | mean of clips |",
                "|---|---|",
                f"| width of edges, that of the render = 1 | {self.edge_width:.2f} |",
                f"| LPIPS (AlexNet), 0 = equal | {lpips} |",
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything that was measured: PSNR in decibels, null where there is no figure."""
        return {
            "whole": asdict(self.whole),
            "inside": asdict(self.inside),
            "edge_width": _finite(self.edge_width),
            "lpips": self.lpips,
            "clips": [
                {
                    "seed": each.seed,
                    "whole": each.whole.psnr,
                    "inside": each.inside.psnr,
                    "edge_width": _finite(each.edge_width),
                    "lpips": each.lpips,
                }
                for each in self.clips
            ],
        }


def held_out_clips(count: int, *, mix: str = "first-light", enlarge: int = 1) -> Iterator[Clip]:
    """Render clips of a mix that no training has seen, in its three sizes, `enlarge` times as large."""
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        seed = FIRST_SEED + number
        spec = sample_scene(seed, frames=FRAMES, fps=FPS, width=width, height=height, mix=MIXES[mix])
        yield make_clip(spec, enlarge=enlarge)


def measure_reconstruction(
    clips: Iterable[Clip],
    reconstruct: Reconstruct,
    *,
    lpips: Distance | None = None,
    advance: Callable[[], object] = lambda: None,
) -> ReconstructionResult:
    """Send clips through an autoencoder and compare; `advance` is called after each.

    `lpips` is `load_lpips().between`; without it that row says "not computed".
    """
    errors: list[ClipError] = []
    for clip in clips:
        errors.append(_clip_error(clip, reconstruct(clip.frames), lpips))
        advance()
    return ReconstructionResult(tuple(errors))


def _clip_error(clip: Clip, given_back: Frames, lpips: Distance | None) -> ClipError:
    real, ids = clip.frames[: len(given_back)], clip.ids[: len(given_back)]
    squares = (real.astype(np.float64) - given_back) ** 2
    is_object = (ids > 0) & (ids != PROP_ID)
    return ClipError(
        seed=clip.spec.seed,
        whole=_added(squares),
        inside=_added(squares[is_object]),
        edge_width=edge_width_ratio(real, given_back),
        lpips=None if lpips is None else lpips(real, given_back),
    )


def _added(squares: Float[np.ndarray, "..."]) -> SquaredError:
    return SquaredError(float(squares.sum()), squares.size)


def _averaged(errors: list[SquaredError]) -> Psnr:
    seen = [error for error in errors if error.count]
    pooled = SquaredError(sum(error.total for error in seen), sum(error.count for error in seen))
    return Psnr(pooled=pooled.psnr, per_clip=_mean([error.psnr for error in seen]))


def _mean(figures: list[float]) -> float:
    return sum(figures) / len(figures) if figures else math.nan


def _finite(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None
