"""Files to frames: videos, whole or frame by frame, and pictures."""

import math
import os
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Generic, TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.video.stream import VideoStream
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from unstatic.core.errors import InputError
from unstatic.media.colour import in_srgb, to_rgb
from unstatic.media.containers import HEAD_BYTES, KINDS, PACKET_BYTES, STAMP_BYTES, container_of
from unstatic.media.decode import decoder_of, deinterlaced, picture_streams, shown_size
from unstatic.media.write import write_video

# A picture file of a few kilobytes may unfold to more than the memory holds
MAX_PICTURE_PIXELS = 89_478_485  # where Pillow begins to warn
# Tracks of QuickTime may lie in other files; and no protocol reaches any, nor the network
NOTHING_ELSE = {"enable_drefs": "0", "use_absolute_path": "0", "protocol_whitelist": "none"}

# What a stranger's video may need: the fewer decoders it can choose from, the fewer faults it can use
MAX_FRAME_SIDE = 4096
_DECODERS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "libdav1d", "av1", "mjpeg", "prores", "gif")
_WARY = {"codec_whitelist": ",".join(_DECODERS)}

# What a whole file may hold less than it says: some count the last frame and some do not
_LESS_S, _LESS_SHARE, _LESS_FRAMES = 0.5, 0.1, 2
_SEGMENT = b"\x18\x53\x80\x67"  # begins what a matroska file holds
_ANY_CLOCK = ("mpegts", "mpeg")  # begin at any time; what other containers say counts from 0

# Where frames are searched by their time, how long before it a keyframe is looked for, at last before all of
# them, and how many more frames are read, which the filter of fields needs
_SEARCHED = ("mov", "matroska", "mpegts")
_LEADS_S = (0, 1, 5, 30, math.inf)
_BEFORE_ALL_S = 10
_FRAMES_BEFORE = 3

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """Frames in RGB and how many of them make a second."""

    frames: UInt8[np.ndarray, "t h w 3"]
    fps: Fraction | int

    def save(self, path: Path | str, *, scale: int = 1) -> Path:
        """Write it as mp4, every side `scale` times as long; return the path."""
        write_video(Path(path), self.frames, fps=self.fps, scale=scale)
        return Path(path)


def read_video(path: Path, *, max_frames: int | None = None) -> Video:
    """Read a video from its beginning, at most `max_frames` frames.

    Raises InputError if the file is missing, is no video, or is damaged in the part that is read.
    """
    with open_container(path) as container:
        fps = picture_streams(container)[0].average_rate
    frames = list(islice(read_frames(path), max_frames))
    if not frames or fps is None:
        raise InputError(f"{path} holds no video frames, give a file with at least one")
    return Video(frames=np.stack(frames), fps=fps)


def read_frames(path: Path, *, container: str | None = None) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Read a video frame by frame in constant memory, each as a player would show it; errors as above."""
    with open_container(path, container=container) as opened:
        stream = picture_streams(opened)[0]
        decode = decoder_of(stream) if container is None else stream.decode
        frames = (frame for packet in opened.demux(stream) for frame in decode(packet))
        for frame in deinterlaced(frames):
            yield Picture(frame, stream).pixels


class Picture:
    """A decoded frame, which becomes pixels when somebody looks at it."""

    def __init__(self, frame: av.VideoFrame, stream: VideoStream) -> None:
        self._frame, self._size = frame, shown_size(frame, stream)

    @cached_property
    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """The frame in RGB, with square pixels, turned as a player would turn it."""
        return upright(to_rgb(self._frame, self._size), self._frame)


@dataclass(frozen=True, slots=True)
class Stamped(Generic[T_co]):
    """A frame, and what its file says of the time when it is shown and how long; 0 is unsaid."""

    shown: T_co
    time_s: Fraction | None
    lasts_s: Fraction


class Film:
    """An opened video that is read once, frame by frame, and then tells whether all of it came.

    `begun_s` is the time of its first frame, once that is read, if the file tells it.
    """

    def __init__(self, path: Path, opened: InputContainer) -> None:
        self.path, self._opened, self._stream = path, opened, picture_streams(opened)[0]
        self._decode = decoder_of(self._stream)
        fps, kind = self._stream.average_rate or self._stream.guessed_rate, opened.format.name
        if not fps:
            raise InputError(f"{path} does not say how many frames make a second: convert it to mp4")
        self.fps: Fraction = fps
        self.has_sound = bool(opened.streams.audio)
        self.begun_s: Fraction | None = None

        # What shall be there: of an AVI libav tells the length of what is; the frames of mp4 may be hidden
        counted_s = float(self._stream.frames / fps) if kind == "avi" else 0.0
        self._stated_s = max((opened.duration or 0) / 1e6, counted_s)
        self._clock_s = (opened.start_time or 0) / 1e6 if kind in _ANY_CLOCK else 0.0
        self._reached_s = self._seen_s = self._clock_s  # by all streams, and by the pictures
        packets = PACKET_BYTES, PACKET_BYTES + STAMP_BYTES
        self._is_cut = kind == "mpegts" and all(opened.size % packet for packet in packets)
        self._is_torn = self._is_whole = False

    def frames(self, begin_s: Fraction = Fraction(0)) -> Iterator[Stamped[Picture]]:
        """Yield the frames in constant memory, from one that is shown `begin_s` after the first, or before.

        Which one that is depends on the keyframes, and on whether such a file can be searched. Raises
        InputError where decoding breaks: how far it came, and what to do.
        """
        frames = self._decoded(self._opened.demux())  # subtitles too: what the file says counts them
        if (first := next(frames, None)) is None:
            return
        self.begun_s = self._time_s(first)
        frames = chain([first], frames)
        if begin_s and self.begun_s is not None and self._opened.format.name in _SEARCHED:
            frames = self._found(self.begun_s, begin_s)
        for frame, after in pairwise(chain(map(self._stamped, deinterlaced(frames)), [None])):
            if frame is not None:
                yield self._held(frame) if after is None else frame

    def _found(self, begun_s: Fraction, begin_s: Fraction) -> Iterator[av.VideoFrame]:
        """Return the frames from a keyframe on that is shown some frames before the second `begin_s`."""
        begin_s = min(begin_s, Fraction(self._stated_s) or begin_s)
        latest_s = begun_s + max(Fraction(0), begin_s - _FRAMES_BEFORE / self.fps)
        for lead_s in _LEADS_S:
            sought_s = max(float(begun_s) - _BEFORE_ALL_S, float(latest_s) - lead_s)
            frames = self._from_keyframe(sought_s, begun_s, latest_s)
            if (first := next(frames, None)) is None:
                continue
            if (time_s := self._time_s(first)) is not None and time_s <= latest_s:
                return chain([first], frames)
        self._seek(float(begun_s) - _BEFORE_ALL_S)
        return self._decoded(self._opened.demux())

    def _from_keyframe(
        self, sought_s: float, begun_s: Fraction, latest_s: Fraction
    ) -> Iterator[av.VideoFrame]:
        """Yield the frames from the keyframe before a time on; none if that is shown after `latest_s`.

        What is shown before the keyframe may need others, and comes out spoilt.
        """
        self._seek(sought_s)
        packets = self._opened.demux()
        for packet in packets:
            if packet.stream.index == self._stream.index and packet.is_keyframe and packet.pts is not None:
                key_s = packet.pts * packet.time_base
                if key_s <= latest_s:
                    frames = self._decoded(chain([packet], packets))
                    yield from (each for each in frames if self._is_from(each, max(key_s, begun_s)))
                return

    def _is_from(self, frame: av.VideoFrame, begin_s: Fraction) -> bool:
        time_s = self._time_s(frame)
        return time_s is not None and time_s >= begin_s

    def _seek(self, time_s: float) -> None:
        assert self._stream.time_base is not None, "a stream whose frames have times"
        self._opened.seek(math.floor(time_s / self._stream.time_base), stream=self._stream)
        self._decode = decoder_of(self._stream)  # begins anew

    def _decoded(self, packets: Iterable[av.Packet]) -> Iterator[av.VideoFrame]:
        try:
            for packet in packets:
                is_picture = packet.stream.index == self._stream.index
                if is_picture:
                    for frame in self._decode(packet):
                        self._is_torn = frame.is_corrupt
                        yield frame
                if (time := packet.dts if packet.pts is None else packet.pts) is not None:
                    until_s = float((time + (packet.duration or 0)) * packet.time_base)
                    self._reached_s = max(self._reached_s, until_s)
                    self._seen_s = max(self._seen_s, until_s) if is_picture else self._seen_s
        except (FFmpegError, OSError) as error:
            if (holds_s := self._seen_s - self._clock_s) == 0:
                raise
            why = "the file is damaged or was changed while it was read; give a whole one"
            raise InputError(f"cannot read {self.path} beyond {holds_s:.1f} s: {why}") from error

    def _time_s(self, frame: av.VideoFrame) -> Fraction | None:
        """Return when a frame is shown; libav guesses that in program streams, whose rate is steady."""
        if frame.pts is None or frame.time_base is None or self._opened.format.name == "mpeg":
            return None
        return frame.pts * frame.time_base

    def _stamped(self, frame: av.VideoFrame) -> Stamped[Picture]:
        lasts_s = frame.duration * (frame.time_base or Fraction(0))
        return Stamped(Picture(frame, self._stream), self._time_s(frame), lasts_s)

    def _held(self, last: Stamped[Picture]) -> Stamped[Picture]:
        """Return the last frame, shown until matroska's end: beside the frame it need not say how long."""
        self._is_whole = self._opened.format.name == "matroska" and _is_whole(self.path)
        if not self._is_whole or last.time_s is None or len(self._opened.streams) > 1:
            return last
        lasts_s = Fraction(self._stated_s).limit_denominator(1000) - last.time_s
        return replace(last, lasts_s=lasts_s) if lasts_s - last.lasts_s > _LESS_FRAMES / self.fps else last

    def lack(self) -> str | None:
        """Say what is missing from a film whose frames were all read; None if it seems whole."""
        holds_s = self._reached_s - self._clock_s
        less_s = max(min(_LESS_S, _LESS_SHARE * self._stated_s), float(_LESS_FRAMES / self.fps))
        if self._stated_s - holds_s > less_s and not self._is_whole:
            stated, held = f"{round(self._stated_s, 1):g}", f"{round(holds_s, 1):g}"
            return f"{self.path} says it lasts {stated} s and holds {held}: the rest is missing"
        torn = f"{self.path} breaks off in the middle of a frame: the rest is missing"
        return torn if self._is_cut or self._is_torn else None


def _is_whole(path: Path) -> bool:
    """Return whether a matroska file is as long as it says, and its end was written."""
    with path.open("rb") as file:
        head, end = file.read(HEAD_BYTES), file.seek(0, os.SEEK_END)
        begin = head.find(_SEGMENT) + len(_SEGMENT) + 8  # behind the size, where it is written in full
        size = int.from_bytes(head[begin - 7 : begin])
        file.seek(max(0, end - 16))
        return head[begin - 8 : begin - 7] == b"\x01" and begin + size == end and any(file.read())


def upright(pixels: UInt8[np.ndarray, "_ _ 3"], frame: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of a frame turned, and mirrored, as its display matrix says.

    The matrix takes places of pixels to places on the screen; its rotation alone tells nothing of mirrors.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = (int(each) for each in np.frombuffer(bytes(matrix), "<i4")[:5])
    if a * d < b * c:
        pixels, a, b = pixels[:, ::-1], -a, -b
    return np.ascontiguousarray(np.rot90(pixels, -round(math.degrees(math.atan2(b, a)) / 90)))


def read_picture(path: Path, *, formats: tuple[str, ...] | None = None) -> UInt8[np.ndarray, "1 h w 3"]:
    """Read a picture as a video of one frame, turned as its camera was held; what is transparent is white.

    A file from a stranger is read as one of `formats`, by Pillow's names, or not at all. Raises InputError if
    the file is missing, no picture, damaged or has more than `MAX_PICTURE_PIXELS`.
    """
    try:
        # Pillow has a limit of its own: it warns first, and refuses at twice as many pixels
        limit = warnings.catch_warnings(category=Image.DecompressionBombWarning, action="error")
        with limit, Image.open(path, formats=formats) as image:
            return np.asarray(_opaque(image))[None]
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        largest = f"{MAX_PICTURE_PIXELS / 1e6:.0f} million pixels"
        raise InputError(f"{path} has more than {largest}: give it smaller") from None
    except UnidentifiedImageError:
        raise InputError(f"cannot read {path} as a picture: it is none, give a PNG or JPEG file") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"cannot read {path} as a picture: {_reason(error)}, give another file") from error


def _opaque(image: Image.Image) -> Image.Image:
    """Return the picture upright and in sRGB, on white where it is transparent."""
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I;16"):  # grey in 16 bits, which Pillow would clip instead of scale
        turned = Image.fromarray((np.asarray(turned) >> 8).astype(np.uint8))
    elif turned.mode == "I":  # the same, as it comes from a PGM
        turned = Image.fromarray((np.asarray(turned) >> 8).clip(0, 255).astype(np.uint8))
    elif turned.mode == "F":
        raise ValueError("its pixels are floating-point numbers, of which nobody knows what is white")
    turned = in_srgb(turned)
    if not turned.has_transparency_data:
        return turned.convert("RGB")
    layer = turned.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


@contextmanager
def open_container(path: Path, *, container: str | None = None) -> Generator[InputContainer]:
    """Open a file that has a video stream; libav's errors, inside the block too, become InputError.

    It is read as the `container` that it shall be, or else as the one that its first bytes say. Nothing but
    this file is read, whatever it names. Where a container is named the file is a stranger's, and has
    `_DECODERS` and `MAX_FRAME_SIDE` only. Raises InputError too if it is none of the kinds that are read.
    """
    is_strange = container is not None
    try:
        with path.open("rb") as file:
            container = container or container_of(file.read(HEAD_BYTES))
            if container is None:
                raise InputError(f"cannot read {path} as a video: it is none, give one as {KINDS}")
            file.seek(0)
            options = NOTHING_ELSE | (_WARY if is_strange else {})
            with av.open(file, "r", format=container, options=options) as opened:
                if not (streams := picture_streams(opened)):
                    raise InputError(f"{path} has no video in it, give a video file")
                if is_strange:
                    _restrict(streams[0], path)
                yield opened
    except (FFmpegError, OSError) as error:
        raise InputError(f"cannot read {path} as a video: {_reason(error)}, give another file") from error


def _restrict(stream: VideoStream, path: Path) -> None:
    """Let a stream be decoded with few decoders only, to frames that the memory holds."""
    codec = stream.codec_context
    if codec.name not in _DECODERS:
        raise InputError(f"cannot read {path} as a video: it is coded as {codec.name}, give it as H.264")
    if min(stream.width, stream.height) < 1:
        raise InputError(f"cannot read {path} as a video: it does not say how large it is, give another file")
    codec.options = {**codec.options, "max_pixels": str(MAX_FRAME_SIDE**2)}


def _reason(error: Exception) -> str:
    if isinstance(error, InvalidDataError | EOFError):
        return "it is damaged or not whole"
    text = error.strerror if isinstance(error, FFmpegError | OSError) else None
    return " ".join((text or str(error)).split())
