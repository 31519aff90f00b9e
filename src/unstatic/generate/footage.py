"""Videos that somebody hands over to be edited: read piece by piece, in the model's own size and rate."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, pairwise, repeat
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression, Size
from unstatic.generate.image import SHARE_CUT_UNSAID, size_of
from unstatic.media.frames import fit, nearest_shape, share_cut
from unstatic.media.read import Film, Stamped, open_container, read_frames, read_picture
from unstatic.models.manifest import Manifest

Frame = UInt8[np.ndarray, "h w 3"]
Pixels = UInt8[np.ndarray, "t h w 3"]

ROUNDED_S = Fraction(1, 1000)  # by files, mkv for one: a frame so near to its turn comes exactly then


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

    Only fitted frames are kept. Raises InputError if the file is no video, does not say its frame rate, is
    longer than the model's longest video, or cannot be decoded to its end.
    """
    longest = round(manifest.max_seconds * manifest.fps)
    with open_container(path) as opened:
        film = Film(path, opened)
        clock, stamped = Clock(film.fps), film.frames()
        if (first := next(stamped, None)) is None:
            raise InputError(f"{path} holds no frames: give a whole video")
        given = size_of(first.pixels)
        native = size or nearest_shape(given, manifest.sizes)
        shown = islice(clock.played(chain([first], stamped), manifest.fps), longest + 1)
        fitted = [fit(frame[None], native)[0] for frame in shown]
        if len(fitted) > longest:
            most = f"{manifest.max_seconds:g} seconds of {manifest.name}"
            raise InputError(f"{path} is longer than the {most}: cut it")

    # Say what was changed, or is not there
    said, rate = [lack] if (lack := film.lack()) else [], f"{manifest.name} {manifest.fps}"
    if not clock.is_steady:
        said.append(f"{path} shows its frames at uneven times, {rate} a second: it is retimed")
    elif film.fps != manifest.fps:
        said.append(f"{path} has {float(film.fps):g} frames a second, {rate}: it is retimed")
    if film.has_sound:
        said.append(f"{path} has sound: films made here are silent")
    if (cut := share_cut(given, native)) > SHARE_CUT_UNSAID:
        said.append(f"{path} is {given}: {cut:.0%} of it is cut away to fit the shape of {native}")
    return Source(frames=np.stack(fitted), fps=manifest.fps, warnings=tuple(said))


def fitted_frames(path: Path, manifest: Manifest) -> Iterator[Frame]:
    """Yield the frames of a video in a model's nearest size and rate. Raises InputError if it is none."""
    native: Size | None = None
    with open_container(path) as opened:
        film = Film(path, opened)
        for frame in Clock(film.fps).played(film.frames(), manifest.fps):
            native = native or nearest_shape(size_of(frame), manifest.sizes)
            yield fit(frame[None], native)[0]


@dataclass
class Clock:
    """Tells when frames of one film are shown: exactly at its rate, or else as the file says.

    What says no time, or goes back, follows the frame before. `is_steady` while each came at its turn.
    """

    fps: Fraction
    is_steady: bool = True

    def played(self, frames: Iterable[Stamped], wanted_fps: Fraction | int) -> Iterator[Frame]:
        """Yield what a player at `wanted_fps` shows: at each tick the last frame whose time has come."""
        pixels, shown = np.zeros((0, 0, 3), np.uint8), 0
        begin_s, end_s, next_s, origin_s = Fraction(0), Fraction(0), Fraction(0), None
        for number, frame in enumerate(frames):
            if frame.time_s is not None:
                origin_s = frame.time_s - next_s if origin_s is None else origin_s
                told_s = self._snapped(frame.time_s - origin_s)
                next_s = told_s if told_s > begin_s else next_s
            self.is_steady &= next_s * self.fps == number
            begin_s, next_s = next_s, next_s + 1 / self.fps
            told_s = self._snapped(begin_s + frame.lasts_s)
            end_s = told_s if frame.lasts_s and not self.is_steady else max(next_s, told_s)

            # Until then the one before is shown
            due = math.ceil(begin_s * wanted_fps)
            yield from repeat(pixels, due - shown)
            pixels, shown = frame.pixels, due
        yield from repeat(pixels, math.ceil(end_s * wanted_fps) - shown)

    def _snapped(self, time_s: Fraction) -> Fraction:
        """Return the time of the nearest turn, if that is as near as files round, or else the time itself."""
        turn_s = round(time_s * self.fps) / self.fps
        return turn_s if abs(time_s - turn_s) <= min(ROUNDED_S, 1 / self.fps / 4) else time_s


def retimed(frames: Iterable[Frame], fps: Fraction | int, wanted_fps: Fraction | int) -> Iterator[Frame]:
    """Yield what a player at `wanted_fps` shows of frames at `fps`; as `media.frames.retime`, one by one."""
    stamped = (Stamped(frame, None, Fraction(0)) for frame in frames)
    return Clock(Fraction(fps)).played(stamped, wanted_fps)


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


def kept_warnings(footage: Sequence[Footage], manifest: Manifest) -> tuple[str, ...]:
    """Say how many frames of placed footage are made anew: what fills no latent frame is not kept."""
    compression, said = manifest.compression, list[str]()
    for each in footage:
        start, stop = covered(each.first, each.stop, compression)
        begin = compression.frames(start) if start else 0
        for lost, where in ((begin - each.first, "first"), (each.stop - compression.frames(stop), "last")):
            if lost > 0:
                frames = "frame" if lost == 1 else f"{lost} frames"
                said.append(
                    f"the {where} {frames} of {len(each.frames)} that are kept will be made anew:"
                    f" {manifest.name} keeps {compression.time} at a time there"
                )
    return tuple(said)


def lasting(frames: Pixels, count: int, *, before: int = 0) -> UInt8[np.ndarray, "{count} h w 3"]:
    """Return the first `count` frames; the last stands still where there are fewer, the first `before` it."""
    return frames[np.clip(np.arange(-before, count - before), 0, len(frames) - 1)]


def fit_mask(mask: Bool[np.ndarray, "h w"], size: Size) -> Bool[np.ndarray, "fit_h fit_w"]:
    """Cut and scale a mask as pictures are; a pixel counts where more than half of it does."""
    grey = np.repeat(mask[None, :, :, None], 3, 3).astype(np.uint8) * 255
    return fit(grey, size)[0, :, :, 0] > 127


def read_mask(path: Path, video: Path, frames: Pixels) -> Bool[np.ndarray, "h w"]:
    """Read a picture of the size in which a video is shown as a mask of its fitted frames; light is true."""
    mask, first = read_picture(path)[0], next(read_frames(video), None)
    if first is None:
        raise InputError(f"{video} holds no frames: give a whole video")
    if size_of(mask) != (given := size_of(first)):
        raise InputError(f"the mask {path} is {size_of(mask)} and {video} is {given}: make them equal")
    return fit_mask(mask.mean(2) > 127, size_of(frames[0]))
