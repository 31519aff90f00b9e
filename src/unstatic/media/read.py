"""Files to frames: videos, whole or frame by frame, and pictures."""

import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from unstatic.core.errors import InputError
from unstatic.media.containers import HEAD_BYTES, KINDS, container_of
from unstatic.media.write import write_video

# A picture file of a few kilobytes may unfold to more than the memory holds
MAX_PICTURE_PIXELS = 89_478_485  # where Pillow begins to warn
# Tracks of QuickTime may lie in other files; and no protocol reaches any, nor the network
NOTHING_ELSE = {"enable_drefs": "0", "use_absolute_path": "0", "protocol_whitelist": "none"}

# What a stranger's video may need: the fewer decoders it can choose from, the fewer faults it can use
MAX_FRAME_SIDE = 4096
_DECODERS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "libdav1d", "av1", "mjpeg", "prores", "gif")
_WARY = {"codec_whitelist": ",".join(_DECODERS)}


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
        fps = container.streams.video[0].average_rate
    frames = list(islice(read_frames(path), max_frames))
    if not frames or fps is None:
        raise InputError(f"{path} holds no video frames, give a file with at least one")
    return Video(frames=np.stack(frames), fps=fps)


def read_frames(path: Path, *, container: str | None = None) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Read a video frame by frame in constant memory, turned as a player would turn it; errors as above."""
    with open_container(path, container=container) as opened:
        for frame in opened.decode(video=0):
            pixels = frame.to_ndarray(format="rgb24")
            yield np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


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
    """Return the picture upright and in RGB, on white where it is transparent."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):  # grey in 16 bits, which Pillow would clip instead of scale
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    layer = upright.convert("RGBA")
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
                if not opened.streams.video:
                    raise InputError(f"{path} has no video in it, give a video file")
                if is_strange:
                    _restrict(opened.streams.video[0], path)
                yield opened
    except (FFmpegError, OSError) as error:
        raise InputError(f"cannot read {path} as a video: {_reason(error)}") from error


def _restrict(stream: VideoStream, path: Path) -> None:
    """Let a stream be decoded with few decoders only, to frames that the memory holds."""
    codec = stream.codec_context
    if codec.name not in _DECODERS:
        raise InputError(f"cannot read {path} as a video: it is coded as {codec.name}, give it as H.264")
    if min(stream.width, stream.height) < 1:
        raise InputError(f"cannot read {path} as a video: it does not say how large it is, give another file")
    codec.options = {**codec.options, "max_pixels": str(MAX_FRAME_SIDE**2)}


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, FFmpegError | OSError) else None
    return " ".join((text or str(error)).split())
