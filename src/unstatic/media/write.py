"""Frames to files: mp4 while the frames are made, and pictures. A file appears whole or not at all."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from jaxtyping import UInt8
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.files import atomic_path, writing_to
from unstatic.core.shapes import Size
from unstatic.media.enlarge import Filter, enlarge

MAX_FPS = 1000
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_EXIF_CHARACTERS = 65_000  # a segment of a JPEG holds few more

_KEY_FRAME_INTERVAL_S = 2
# ITU-T H.273 code for BT.709: without it players guess the matrix from the size, and colours shift.
_BT709 = 1
# The same frames give the same file, so that a seed does. With x264's macroblock tree and AVX-512, memory
# left behind by others decides about small clips; the output also depends on the number of threads.
_REPEATABLE = {"mbtree": "0"}
_THREADS = 4


class VideoWriter:
    """An mp4 (H.264, yuv420p) that grows while frames are made.

        with VideoWriter(path, fps=16) as writer:
            for frames in stream:
                writer.write(frames)

    The file takes its name when the block ends well; after an exception, Ctrl-C included, nothing is left.

    `scale` enlarges every frame so many times with `method`: players blur tiny clips, and H.264 halves the
    resolution of colour. `crf` is the quality, 0 (lossless) to 51; 16 is visually lossless. `about` is what
    the file says of itself, by the names that players know: "title", "description", "comment".
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: Fraction | int,
        scale: int = 1,
        method: Filter = "nearest",
        crf: int = 16,
        about: Mapping[str, str] | None = None,
    ) -> None:
        if path.suffix.lower() != ".mp4":
            raise InputError(f"cannot write {path}: a video's name must end in .mp4")
        if scale < 1:
            raise InputError(f"scale={scale} must be at least 1")
        self.path, self.fps, self.crf = path, checked_fps(fps), crf
        self.scale, self.about = scale, about or {}
        self.method: Filter = method
        self._stream: VideoStream | None = None
        self._output = self._open()

    def __enter__(self) -> "VideoWriter":
        self._container = self._output.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._output.__exit__(kind, error, traceback)

    def write(self, frames: UInt8[np.ndarray, "t h w 3"]) -> None:
        """Append frames; all of them must have the size of the first."""
        enlarged = enlarge(frames, self.scale, self.method)
        if self._stream is None:
            height, width = enlarged.shape[1:3]
            self._stream = add_stream(self._container, Size(width, height), self.fps, crf=self.crf)
        assert enlarged.shape[1:3] == (self._stream.height, self._stream.width), "frames changed their size"

        for frame in enlarged:
            self._mux(to_picture(frame))

    @contextmanager
    def _open(self) -> Generator[OutputContainer]:
        with atomic_path(self.path) as temporary:
            with writing_to(self.path):
                # faststart puts the index in front, so that a browser can play the file while it loads
                container = av.open(temporary, "w", format="mp4", options={"movflags": "faststart"})
            container.metadata.update(self.about)
            try:
                yield container
                self._mux(None)
            except BaseException:
                with suppress(OSError):  # what failed first says why
                    container.close()
                raise
            with writing_to(self.path):
                container.close()

    def _mux(self, picture: av.VideoFrame | None) -> None:
        """Encode a frame, or what the encoder still holds, and write it."""
        if self._stream is None:
            raise UnstaticError(f"no frame was made for {self.path}")
        with writing_to(self.path):
            self._container.mux(self._stream.encode(picture))


def checked_fps(fps: Fraction | int) -> Fraction:
    """Return the frame rate. Raises InputError for one that no file can have."""
    if not 0 < fps <= MAX_FPS:
        raise InputError(f"fps={fps} must be above 0 and at most {MAX_FPS}")
    return Fraction(fps)


def add_stream(
    container: OutputContainer, size: Size, fps: Fraction, *, crf: int, b_frames: bool = True
) -> VideoStream:
    """Add an H.264 stream that every player shows alike. Raises InputError if a side of `size` is odd."""
    if size.width % 2 or size.height % 2:
        raise InputError(f"size {size} cannot be an mp4: both sides must be even, or scale by 2")
    options = {"crf": str(crf), **_REPEATABLE, **({} if b_frames else {"bf": "0"})}
    stream = container.add_stream("libx264", rate=fps, options=options)
    stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"

    codec = stream.codec_context
    codec.thread_count = _THREADS
    codec.gop_size = max(1, round(_KEY_FRAME_INTERVAL_S * fps))
    codec.color_range = ColorRange.MPEG
    codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
    return stream


def to_picture(frame: UInt8[np.ndarray, "h w 3"]) -> av.VideoFrame:
    """Return a frame as the encoder takes it."""
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    return picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)


def write_video(
    path: Path,
    frames: UInt8[np.ndarray, "t h w 3"],
    *,
    fps: Fraction | int,
    scale: int = 1,
    method: Filter = "nearest",
) -> None:
    """Write all frames of a clip to `path`, as `VideoWriter` does."""
    with VideoWriter(path, fps=fps, scale=scale, method=method) as writer:
        writer.write(frames)


def write_animation(path: Path, frames: UInt8[np.ndarray, "t h w 3"], *, fps: int, quality: int = 80) -> None:
    """Write a clip as an animated WebP that plays for ever, for pages that show many small ones."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    with writing_to(path), atomic_path(path) as temporary:
        first.save(
            temporary,
            format="WEBP",
            save_all=True,
            append_images=rest,
            duration=round(1000 / fps),
            loop=0,
            quality=quality,
        )


def write_picture(
    path: Path, picture: UInt8[np.ndarray, "h w 3"], *, about: Mapping[str, str] | None = None
) -> None:
    """Write a picture as PNG, JPEG or WebP, by the suffix of `path`.

    `about` is as in `VideoWriter`. A JPEG or WebP holds no more of it than the comment, which must be ASCII,
    as the description of EXIF; one of more than 64 kB is left out.
    """
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise InputError(f"cannot write {path}: a picture's name must end in {', '.join(PICTURE_SUFFIXES)}")
    said: dict[str, Any] = {}
    if suffix == ".png":
        said["pnginfo"] = PngInfo()
        for name, text in (about or {}).items():
            said["pnginfo"].add_text(name.capitalize(), text)
    elif about and len(about.get("comment", "")) < MAX_EXIF_CHARACTERS:
        said["exif"] = Image.Exif()
        said["exif"][ExifTags.Base.ImageDescription] = about.get("comment", "")
    with writing_to(path), atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, quality=95, **said)
