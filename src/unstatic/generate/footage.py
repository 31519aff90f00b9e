"""Videos that somebody hands over to be edited: read piece by piece, in the model's own size and rate."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, pairwise, repeat
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, UInt8

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression, Size
from unstatic.generate.image import SHARE_CUT_UNSAID, size_of
from unstatic.media.frames import fit, fit_mask, nearest_shape, share_cut
from unstatic.media.probe import probe
from unstatic.media.read import Film, Stamped, open_container, read_frames, read_picture
from unstatic.models.manifest import Manifest

Frame = UInt8[np.ndarray, "h w 3"]
Pixels = UInt8[np.ndarray, "t h w 3"]
Shown = TypeVar("Shown")

ROUNDED_S = Fraction(1, 1000)  # by files, mkv for one: a frame so near to its turn comes exactly then


class Span(NamedTuple):
    """A part of a film, in seconds from its beginning; to its end without `end_s`."""

    start_s: float
    end_s: float | None

    def __str__(self) -> str:
        return f"{self.start_s:g}:" + ("" if self.end_s is None else f"{self.end_s:g}")

    def frames(self, fps: int, most: int) -> tuple[int, int]:
        """Return the number of its first frame and how many it has, `most` if it is open.

        Raises InputError if it has none.
        """
        finite = math.isfinite(self.start_s) and (self.end_s is None or math.isfinite(self.end_s))
        first = round(self.start_s * fps) if finite else -1
        count = most if self.end_s is None or not finite else round(self.end_s * fps) - first
        if first < 0 or count < 1:
            raise InputError(f"keep {self} is no span: it must end after it begins, for example 0.5:3")
        return first, count


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


def read_source(
    path: Path,
    manifest: Manifest,
    *,
    size: Size | None = None,
    keep: Span | None = None,
    on_frame: Callable[[], object] | None = None,
) -> Source:
    """Read a video at the model's rate, cut and scaled to `size` or to the nearest that the model makes.

    With `keep` the frames of that span are read, of a film of any length; what lies before is not decoded
    where the file can be searched. Only fitted frames are kept, and `on_frame` is called for each. Raises
    InputError if the file is no video, does not say its frame rate, is longer than the model's longest video
    (or the span is), ends before the span does, or cannot be decoded so far.
    """
    longest = round(manifest.max_seconds * manifest.fps)
    first, count = (0, longest) if keep is None else keep.frames(manifest.fps, longest)
    most = f"{manifest.max_seconds:g} seconds of {manifest.name}"
    if count > longest:
        raise InputError(f"keep {keep} is longer than the {most}: keep less")
    read = _read_stretch(path, manifest, first=first, count=count, size=size, on_frame=on_frame)

    # Too much of it, or too little
    is_open = keep is None or keep.end_s is None
    if is_open and read.goes_on:
        rest, fix = (path, "cut it") if keep is None else (f"keep {keep} of {path}", "keep less")
        raise InputError(f"{rest} is longer than the {most}: {fix}")
    if not read.frames or (not is_open and len(read.frames) < count):
        seconds = round(read.stop / manifest.fps, 2)
        raise InputError(f"keep {keep} is no span of a video of {seconds:g} seconds: give two times in it")
    return Source(frames=np.stack(read.frames), fps=manifest.fps, warnings=read.warnings)


def expected_frames(path: Path, manifest: Manifest, keep: Span | None = None) -> int:
    """Return how many frames `read_source` will read, as far as the file says; InputError if it is none."""
    longest, said_s = round(manifest.max_seconds * manifest.fps), probe(path).duration_s
    first, count = (0, longest) if keep is None else keep.frames(manifest.fps, longest)
    return count if said_s is None else max(0, min(count, round(said_s * manifest.fps) - first))


def read_beginning(
    path: Path, manifest: Manifest, count: int, *, on_frame: Callable[[], object] | None = None
) -> tuple[Source, bool]:
    """Read the first `count` frames of a video, or all, as `read_source`; tell too whether it goes on."""
    read = _read_stretch(path, manifest, first=0, count=count, on_frame=on_frame)
    return Source(frames=np.stack(read.frames), fps=manifest.fps, warnings=read.warnings), read.goes_on


class _Stretch(NamedTuple):
    """Fitted frames of a film, and whether it goes on; if not, `stop` is the number of frames that it has."""

    frames: list[Frame]
    goes_on: bool
    stop: int
    warnings: tuple[str, ...]


def _read_stretch(
    path: Path,
    manifest: Manifest,
    *,
    first: int,
    count: int,
    size: Size | None = None,
    on_frame: Callable[[], object] | None = None,
) -> _Stretch:
    """Read `count` frames at the model's rate from number `first` on, or as many as there are."""
    fitted: list[Frame] = []
    with open_container(path) as opened:
        film = Film(path, opened)
        clock, stamped = Clock(film.fps), film.frames(Fraction(first, manifest.fps))
        if (begun := next(stamped, None)) is None:
            raise InputError(f"{path} holds no frames: give a whole video")
        clock.origin_s = film.begun_s
        given = size_of(begun.shown.pixels)
        native = size or nearest_shape(given, manifest.sizes)
        played = clock.played(chain([begun], stamped), manifest.fps, first=first)
        for picture in islice(played, count):
            fitted.append(fit(picture.pixels[None], native)[0])
            if on_frame is not None:
                on_frame()
        goes_on = next(played, None) is not None

    # Say what was changed, or is not there
    said = [lack] if not goes_on and (lack := film.lack()) else []
    said += _changes(path, film, clock, given, native, manifest)
    return _Stretch(fitted, goes_on, math.ceil(clock.end_s * manifest.fps), tuple(said))


def _changes(
    path: Path, film: Film, clock: "Clock", given: Size, native: Size, manifest: Manifest
) -> Iterator[str]:
    """Say what was done to a film to make it fit a model."""
    rate = f"{manifest.name} {manifest.fps}"
    if not clock.is_steady:
        yield f"{path} shows its frames at uneven times, {rate} a second: it is retimed"
    elif film.fps != manifest.fps:
        yield f"{path} has {float(film.fps):g} frames a second, {rate}: it is retimed"
    if film.has_sound:
        yield f"{path} has sound: films made here are silent"
    if (cut := share_cut(given, native)) > SHARE_CUT_UNSAID:
        yield f"{path} is {given}: {cut:.0%} of it is cut away to fit the shape of {native}"
    most = Size(native.width * manifest.enlarge, native.height * manifest.enlarge)
    if given.width > most.width and given.height > most.height:  # larger than the films it makes
        yield f"{path} is {given}: what is kept of it is {native} here, enlarged"


@dataclass
class Clock:
    """Tells when frames of one film are shown: exactly at its rate, or else as the file says.

    What says no time, or goes back, follows the frame before. `origin_s` is the time of the film's first
    frame, by default of the first that says one. `is_steady` while each came at its turn; `end_s` is when
    the last is over.
    """

    fps: Fraction
    origin_s: Fraction | None = None
    is_steady: bool = True
    end_s: Fraction = Fraction(0)

    def played(
        self, frames: Iterable[Stamped[Shown]], wanted_fps: Fraction | int, *, first: int = 0
    ) -> Iterator[Shown]:
        """Yield what a player at `wanted_fps` shows: at each tick the last frame whose time has come.

        The first tick is number `first`, when one of the frames must be shown.
        """
        held: list[Shown] = []
        begin_s, next_s, tick, turn = Fraction(0), Fraction(0), first, None
        for frame in frames:
            if frame.time_s is not None:
                self.origin_s = frame.time_s - next_s if self.origin_s is None else self.origin_s
                told_s = self._snapped(frame.time_s - self.origin_s)
                next_s = told_s if told_s > begin_s else next_s
            turn = round(next_s * self.fps) if turn is None else turn + 1
            self.is_steady &= next_s * self.fps == turn
            begin_s, next_s = next_s, next_s + 1 / self.fps
            told_s = self._snapped(begin_s + frame.lasts_s)
            self.end_s = told_s if frame.lasts_s and not self.is_steady else max(next_s, told_s)

            # Until then the one before is shown
            due = max(tick, math.ceil(begin_s * wanted_fps))
            for shown in held:
                yield from repeat(shown, due - tick)
            held, tick = [frame.shown], due
        for shown in held:
            yield from repeat(shown, math.ceil(self.end_s * wanted_fps) - tick)

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


def read_mask(path: Path, video: Path, frames: Pixels) -> Bool[np.ndarray, "h w"]:
    """Read a picture of the size in which a video is shown as a mask of its fitted frames; light is true."""
    mask, first = read_picture(path)[0], next(read_frames(video), None)
    if first is None:
        raise InputError(f"{video} holds no frames: give a whole video")
    if size_of(mask) != (given := size_of(first)):
        raise InputError(f"the mask {path} is {size_of(mask)} and {video} is {given}: make them equal")
    return fit_mask(mask.mean(2) > 127, size_of(frames[0]))
