"""Videos that somebody hands over to be edited: read piece by piece, in the model's own size and rate."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression, Size
from unstatic.generate.image import SHARE_CUT_UNSAID, size_of
from unstatic.media.frames import fit, nearest_shape, share_cut
from unstatic.media.probe import probe
from unstatic.media.read import read_frames, read_picture
from unstatic.models.manifest import Manifest

Frame = UInt8[np.ndarray, "h w 3"]
Pixels = UInt8[np.ndarray, "t h w 3"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Footage:
    """Frames that the finished video has from frame number `first` on; at the model's rate, of any size."""

    first: int
    frames: UInt8[np.ndarray, "t h w 3"]

    @property
    def stop(self) -> int:
        """The number of the frame after the last."""
        return self.first + len(self.frames)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """A video file in the model's size and rate; `warnings` say what was changed for that."""

    frames: UInt8[np.ndarray, "t h w 3"]
    fps: int
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.frames) / self.fps


def read_source(path: Path, manifest: Manifest, *, size: Size | None = None) -> Source:
    """Read a video at the model's rate, cut and scaled to `size` or to the nearest that the model makes.

    Only fitted frames are kept. Raises InputError if the file is no video, does not say its frame rate, or is
    longer than the model's longest video.
    """
    fps = rate_of(path)
    pictures = read_frames(path)
    first = next(pictures, None)
    if first is None:
        raise InputError(f"{path} holds no frames: give a whole video")
    given = size_of(first)
    native = size or nearest_shape(given, manifest.sizes)
    longest = round(manifest.max_seconds * manifest.fps)
    shown = retimed(_with(first, pictures), fps, manifest.fps)
    fitted = [fit(frame[None], native)[0] for frame in islice(shown, longest + 1)]
    if len(fitted) > longest:
        raise InputError(
            f"{path} is longer than the {manifest.max_seconds:g} seconds of {manifest.name}: cut it"
        )

    said: list[str] = []
    if fps != manifest.fps:
        said.append(
            f"{path} has {float(fps):g} frames a second, {manifest.name} {manifest.fps}: it is retimed"
        )
    if (cut := share_cut(given, native)) > SHARE_CUT_UNSAID:
        said.append(f"{path} is {given}: {cut:.0%} of it is cut away to fit the shape of {native}")
    return Source(frames=np.stack(fitted), fps=manifest.fps, warnings=tuple(said))


def fitted_frames(path: Path, manifest: Manifest) -> Iterator[Frame]:
    """Yield the frames of a video in a model's nearest size and rate. Raises InputError if it is none."""
    native: Size | None = None
    for frame in retimed(read_frames(path), rate_of(path), manifest.fps):
        native = native or nearest_shape(size_of(frame), manifest.sizes)
        yield fit(frame[None], native)[0]


def rate_of(path: Path) -> Fraction:
    """Return how many frames of a video make a second. Raises InputError if the file does not say."""
    fps = probe(path).fps
    if fps is None:
        raise InputError(f"{path} does not say how many frames make a second: convert it to mp4")
    return fps


def retimed(frames: Iterable[Frame], fps: Fraction | int, wanted_fps: Fraction | int) -> Iterator[Frame]:
    """Yield what a player at `wanted_fps` shows of frames at `fps`; as `media.frames.retime`, one by one."""
    ratio, shown = Fraction(fps) / Fraction(wanted_fps), 0
    for number, frame in enumerate(frames):
        while math.floor(shown * ratio) == number:
            yield frame
            shown += 1


def _with(first: Frame, rest: Iterable[Frame]) -> Iterator[Frame]:
    yield first
    yield from rest


def check_footage(footage: Sequence[Footage], frames: int) -> None:
    """Raise InputError for footage outside a video of `frames` frames, or over other footage."""
    for each in footage:
        if each.first < 0 or each.stop > frames:
            raise InputError(
                f"footage of {len(each.frames)} frames at frame {each.first} does not fit in {frames}:"
                " make the video longer"
            )
    ordered = sorted(footage, key=lambda each: each.first)
    for one, other in pairwise(ordered):
        if one.stop > other.first:
            raise InputError(f"footage overlaps at frame {other.first}: move or cut one of them")


def skipped(footage: Sequence[Footage], compression: Compression, *, first: int = 1, chunk: int = 1) -> int:
    """Return how many frames are made before the first that is shown, so that the footage's joint is exact.

    Latent frames stand for several frames each: footage at the beginning shall end with one, and other
    footage begin with one; or with a chunk of them, where these are `first`, then `chunk`.
    """
    if not footage:
        return 0
    begun = min(footage, key=lambda each: each.first)
    joint = begun.stop if begun.first == 0 else begun.first
    return (compression.frames(first) - joint) % (compression.time * chunk)


def covered(first: int, stop: int, compression: Compression) -> tuple[int, int]:
    """Return the latent frames [start, end) that the frames [first, stop) cover whole."""
    start = 0 if first == 0 else -(-(first - 1) // compression.time) + 1
    return start, (stop - 1) // compression.time + 1 if stop > 0 else 0


def placed(footage: Footage, skip: int, size: Size, *, end: int, compression: Compression) -> Footage:
    """Scale footage to a size, `skip` frames later; at the beginning it stands still until then.

    In a video of `end` frames it stands still after its end, so that its last frames fill a latent frame.
    Raises InputError for footage that fills none.
    """
    frames, first = fit(footage.frames, size), footage.first + skip
    if footage.first == 0:
        frames, first = np.concatenate([frames[:1].repeat(skip, 0), frames]), 0
    if first + len(frames) >= end:
        frames = lasting(frames, len(frames) + (1 - first - len(frames)) % compression.time)
    start, stop = covered(first, first + len(frames), compression)
    if start >= stop:
        raise InputError(
            f"footage of {len(footage.frames)} frames at frame {footage.first} is too short to be kept there:"
            f" give {2 * compression.time} frames or more"
        )
    return Footage(first=first, frames=frames)


def lasting(frames: Pixels, count: int, *, before: int = 0) -> UInt8[np.ndarray, "{count} h w 3"]:
    """Return the first `count` frames; the last stands still where there are fewer, the first `before` it."""
    return frames[np.clip(np.arange(-before, count - before), 0, len(frames) - 1)]


def fit_mask(mask: Bool[np.ndarray, "h w"], size: Size) -> Bool[np.ndarray, "fit_h fit_w"]:
    """Cut and scale a mask as pictures are; a pixel counts where more than half of it does."""
    grey = np.repeat(mask[None, :, :, None], 3, 3).astype(np.uint8) * 255
    return fit(grey, size)[0, :, :, 0] > 127


def read_mask(path: Path, video: Path, frames: Pixels) -> Bool[np.ndarray, "h w"]:
    """Read a picture of the size of a video file as a mask of its fitted frames; what is light is true."""
    mask, given = read_picture(path)[0], probe(video).size
    if size_of(mask) != given:
        raise InputError(f"the mask {path} is {size_of(mask)} and {video} is {given}: make them equal")
    return fit_mask(mask.mean(2) > 127, size_of(frames[0]))
