"""What a video file says about itself, without decoding it."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from unstatic.core.shapes import Size
from unstatic.media.decode import picture_streams
from unstatic.media.read import open_container


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A video file's own statements. `num_frames` and `duration_s` are None where the file does not say.

    `size` is that of the frames in it, which `read_frames` may turn and widen.
    """

    size: Size
    fps: Fraction | None
    num_frames: int | None
    duration_s: float | None
    codec: str
    has_sound: bool


def probe(path: Path, *, container: str | None = None) -> Probe:
    """Read the header of a video file. Raises InputError if it is missing or no video."""
    with open_container(path, container=container) as opened:
        stream = picture_streams(opened)[0]
        return Probe(
            size=Size(stream.width, stream.height),
            fps=stream.average_rate,
            num_frames=stream.frames or None,
            duration_s=None if opened.duration is None else opened.duration / 1e6,
            codec=stream.codec_context.name,
            has_sound=bool(opened.streams.audio),
        )
