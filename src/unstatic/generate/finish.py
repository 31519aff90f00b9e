"""Finishing: frames as a model makes them become those of the file, more a second and larger, as they come.

More frames a second are made by an interpolator, which doubles the rate until what is wanted can be picked
evenly; larger ones by an upscaler, twice at most, and what is left by Lanczos. Both stream: memory depends on
the size of a picture, not on the length of the video.
"""

from dataclasses import dataclass
from functools import partial
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
from unstatic.media.frames import enlarge, fit, retime, to_frames, to_tensor
from unstatic.models.compact_upscaler import CompactUpscaler, CompactUpscalerConfig
from unstatic.models.interpolator import DoublingStream, Interpolator, InterpolatorConfig
from unstatic.models.upscaler import Enlarger, Upscaler, UpscalerConfig, UpscalingStream
from unstatic.models.weights import load_model

FOLDER = Path(__file__).parent.parent / "weights" / "finish"
BICUBIC, REPEAT = "bicubic", "repeat"
# By name, the factors of its networks
UPSCALERS: dict[str, tuple[int, ...]] = {"realesr": (4,), BICUBIC: ()}
INTERPOLATORS = ("rife", REPEAT)
SECOND, MOST_DOUBLINGS = 2, 3
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
    def stages(self) -> tuple[int, ...]:
        """By which factors pictures are enlarged, one after the other, before Lanczos fits them.

        The second time only twofold, where there is a network for it: details are made up by then.
        """
        factors = UPSCALERS[self.upscaler]
        rest = max(self.size.width / self.native.width, self.size.height / self.native.height)
        if not factors or rest <= 1:
            return ()
        first = next((each for each in factors if each >= rest), factors[-1])
        return (first, SECOND) if rest > first and SECOND in factors else (first,)


def check_finish(upscaler: str, interpolator: str) -> None:
    """Raise InputError for a name that there is not."""
    for what, name, known in (
        ("upscaler", upscaler, UPSCALERS),
        ("interpolator", interpolator, INTERPOLATORS),
    ):
        if name not in known:
            raise InputError(f"{what} {name!r} is unknown: take one of {', '.join(known)}")


class Finisher:
    """One video on its way to the file; networks are loaded when the first frames come."""

    def __init__(self, finish: Finish, frames: int, *, device: torch.device) -> None:
        self.finish, self.frames, self.device = finish, frames, device
        self.doubling: list[DoublingStream] | None = None
        self.enlarging: list[UpscalingStream] | None = None

    def next(self, frames: Frames, first: int) -> Finished:
        """Return what the file shows next, maybe nothing, when frames from number `first` on are final."""
        finish = self.finish
        if not len(frames):
            return np.zeros((0, finish.size.height, finish.size.width, 3), np.uint8)
        ended = first + len(frames) == self.frames
        times = 1 if self.frames == 1 else 2**finish.doublings  # a still is a still
        frames = self._doubled(frames)
        if ended:  # after the last frame there is nothing to go to
            frames = np.concatenate([frames, np.repeat(frames[-1:], times - 1, axis=0)])
        shown = retime(frames, max(0, times * first - times + 1), finish.native_fps * times, finish.fps)
        pieces = [
            self._enlarged(shown[start : start + FRAMES_AT_ONCE])
            for start in range(0, len(shown), FRAMES_AT_ONCE)
        ]
        if not pieces:
            return np.zeros((0, finish.size.height, finish.size.width, 3), np.uint8)
        return np.concatenate(pieces)

    def _doubled(self, frames: Frames) -> UInt8[np.ndarray, "doubled h w 3"]:
        if self.doubling is None:
            make = partial(load_interpolator, self.device)
            count = 0 if self.frames == 1 else self.finish.doublings
            self.doubling = [DoublingStream(make()) for _ in range(count)]
        for stream in self.doubling:
            frames = to_frames(stream.double(to_tensor(frames)[None].to(self.device)))[0]
        return frames

    def _enlarged(self, frames: Frames) -> UInt8[np.ndarray, "t high wide 3"]:
        finish = self.finish
        if self.enlarging is None:
            make = partial(load_upscaler, finish.upscaler, self.device)
            self.enlarging = [UpscalingStream(make(factor)) for factor in finish.stages]
        if self.enlarging:
            video = to_tensor(frames)[None].to(self.device)
            for stream in self.enlarging:
                video = in_its_colours(stream.enlarge(video), video)
            frames = to_frames(video)[0]
        return fitted(frames, finish.size)


def load_upscaler(name: str, device: torch.device, factor: int) -> Enlarger:
    """Load a network of the package."""
    if name == "realesr":
        path = FOLDER / "realesr.safetensors"
        network = load_model(path, "compact-upscaler", CompactUpscalerConfig, CompactUpscaler)
    else:
        path = FOLDER / f"{name}-{factor}.safetensors"
        network = load_model(path, "upscaler", UpscalerConfig, Upscaler)
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
