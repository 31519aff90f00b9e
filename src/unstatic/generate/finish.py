"""Finishing: frames as a model makes them become those of the file, more a second and larger, as they come.

More frames a second are made by an interpolator, which doubles the rate until what is wanted can be picked
evenly; larger ones by an upscaler, once, and what is left by Lanczos. Both stream: memory depends on
the size of a picture, not on the length of the video.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from unstatic.core.device import compute_dtype
from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.generate.defaults import INTERPOLATOR, UPSCALER
from unstatic.media.enlarge import enlarge
from unstatic.media.frames import fit, retime, to_frames, to_tensor
from unstatic.models.compact_upscaler import CompactUpscaler, CompactUpscalerConfig
from unstatic.models.interpolator import DoublingStream, Interpolator, InterpolatorConfig
from unstatic.models.upscaler import enlarge as enlarge_by_tiles
from unstatic.models.weights import load_model

FOLDER = Path(__file__).parent.parent / "weights" / "finish"
BICUBIC, REPEAT = "bicubic", "repeat"
UPSCALERS = ("realesr", "nano", BICUBIC)
INTERPOLATORS = ("rife", REPEAT)
MOST_DOUBLINGS = 3
FRAMES_AT_ONCE = 4
AREA = 9  # pixels of the small picture a side, over which colours are compared

Frames = UInt8[np.ndarray, "t h w 3"]
Finished = UInt8[np.ndarray, "shown high wide 3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """What becomes of frames of `native` size at `native_fps`: frames of `size` at `fps`."""

    native: Size
    native_fps: int
    size: Size
    fps: int
    upscaler: str = UPSCALER
    interpolator: str = INTERPOLATOR

    @property
    def doublings(self) -> int:
        """How often the frame rate is doubled: until the wanted one divides it, or is half of it."""
        if self.interpolator == REPEAT or self.fps <= self.native_fps:
            return 0
        rates = [self.native_fps * 2**count for count in range(1, MOST_DOUBLINGS + 1)]
        return next(
            (count for count, rate in enumerate(rates, 1) if rate % self.fps == 0 or rate >= 2 * self.fps),
            MOST_DOUBLINGS,
        )

    @property
    def enlarges(self) -> bool:
        """Whether a network makes the pictures larger, before Lanczos fits them."""
        larger = self.size.width > self.native.width or self.size.height > self.native.height
        return larger and self.upscaler != BICUBIC


def check_finish(upscaler: str, interpolator: str) -> None:
    """Raise InputError for a name that there is not."""
    for what, name, known in (
        ("upscaler", upscaler, UPSCALERS),
        ("interpolator", interpolator, INTERPOLATORS),
    ):
        if name not in known:
            raise InputError(f"{what} {name!r} is unknown: take one of {', '.join(known)}")


class Finisher:
    """One video on its way to the file; networks are loaded when they are needed first.

    It has `frames` frames; new scenes begin with those of the numbers `cuts`. After the last frame of one
    that `loops` comes its first.
    """

    def __init__(
        self,
        finish: Finish,
        frames: int,
        *,
        device: torch.device,
        cuts: frozenset[int] = frozenset(),
        loops: bool = False,
    ) -> None:
        self.finish, self.frames, self.device, self.cuts, self.loops = finish, frames, device, cuts, loops
        self.begin: UInt8[np.ndarray, "1 h w 3"] | None = None
        # A still has no rate
        self.fps, self.doublings = (finish.fps, finish.doublings) if frames > 1 else (finish.native_fps, 0)
        self.doubling: list[DoublingStream] | None = None
        self.upscaler: CompactUpscaler | None = None

    def next(self, frames: Frames, first: int) -> Finished:
        """Return what the file shows next, maybe nothing, when frames from number `first` on are final."""
        size, times = self.finish.size, 2**self.doublings
        pieces = [np.zeros((0, size.height, size.width, 3), np.uint8)]
        if len(frames):
            self.begin = frames[:1] if self.begin is None else self.begin
            doubled = self._doubled(frames)
            if times > 1 and first + len(frames) == self.frames:
                # Where there is nothing to go to the last frame stays
                after = self._doubled(self.begin)[:-1] if self.loops else doubled[-1:].repeat(times - 1, 0)
                doubled = np.concatenate([doubled, after])
            begin = max(0, times * (first - 1) + 1)
            shown = retime(doubled, begin, self.finish.native_fps * times, self.fps)
            starts = range(0, len(shown), FRAMES_AT_ONCE)
            pieces += [self._enlarged(shown[start : start + FRAMES_AT_ONCE]) for start in starts]
        return np.concatenate(pieces)

    def _doubled(self, frames: Frames) -> UInt8[np.ndarray, "doubled h w 3"]:
        if not self.doublings:
            return frames
        if self.doubling is None:
            network = load_interpolator(self.device)
            self.doubling = [
                DoublingStream(network, frozenset(cut << doubled for cut in self.cuts))
                for doubled in range(self.doublings)
            ]
        for stream in self.doubling:
            frames = to_frames(stream.double(to_tensor(frames)[None].to(self.device)))[0]
        return frames

    def _enlarged(self, frames: Frames) -> UInt8[np.ndarray, "t high wide 3"]:
        if self.finish.enlarges:
            if self.upscaler is None:
                self.upscaler = load_upscaler(self.finish.upscaler, self.device)
            video = to_tensor(frames)[None].to(self.device)
            frames = to_frames(in_its_colours(enlarge_by_tiles(self.upscaler, video), video))[0]
        return fitted(frames, self.finish.size)


def load_upscaler(name: str, device: torch.device) -> CompactUpscaler:
    """Load a network of the package, which enlarges fourfold."""
    network = load_model(
        FOLDER / f"{name}.safetensors", "compact-upscaler", CompactUpscalerConfig, CompactUpscaler
    )
    return network.eval().requires_grad_(False).to(device, compute_dtype(device))


def load_interpolator(device: torch.device) -> Interpolator:
    """Load the network of the package; it computes in float32, since places in a picture are fine numbers."""
    network = load_model(FOLDER / "rife.safetensors", "interpolator", InterpolatorConfig, Interpolator)
    return network.eval().requires_grad_(False).to(device, torch.float32)


def in_its_colours(
    large: Float[Tensor, "b 3 t high wide"], small: Float[Tensor, "b 3 t h w"]
) -> Float[Tensor, "b 3 t high wide"]:
    """Give an enlarged video the colours of the small one, area by area: networks change them by some levels.

    A step of back-projection (Irani and Peleg, 1991), blurred so that no edge is touched.
    """
    batch, factor = len(small), large.shape[-1] // small.shape[-1]
    pictures, wanted = (rearrange(each, "b c t h w -> (b t) c h w") for each in (large, small))
    missed = wanted - F.avg_pool2d(pictures, factor)
    missed = F.avg_pool2d(missed, AREA, 1, AREA // 2, count_include_pad=False)
    missed = F.interpolate(missed, size=pictures.shape[-2:], mode="bilinear", align_corners=False)
    return rearrange((pictures + missed).clamp(-1, 1), "(b t) c h w -> b c t h w", b=batch)


def fitted(frames: Frames, size: Size) -> UInt8[np.ndarray, "t {size.height} {size.width} 3"]:
    """Cut and scale frames to the size of the file; whole multiples are bicubic interpolation."""
    factor = max(1, size.width // frames.shape[2])
    if (size.height, size.width) == (factor * frames.shape[1], factor * frames.shape[2]):
        return enlarge(frames, factor, "bicubic")
    return fit(frames, size)
