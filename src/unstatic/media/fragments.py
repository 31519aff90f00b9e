"""Videos that can be played while they grow: fragmented mp4 (ISO/IEC 14496-12, 8.8), to a file or a pipe."""

import io
import os
import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from unstatic.core.errors import UnstaticError
from unstatic.core.files import writing_to
from unstatic.core.shapes import Size
from unstatic.media.write import add_stream, checked_fps, to_picture

Append = Callable[[bytes], None]

# A header that names no frames, then fragments that stand for themselves. Each is muxed alone: "discont" lets
# its time begin where the one before ended, without "disabled" it would be moved to 0.
_OPTIONS = {
    "movflags": "empty_moov+default_base_moof+frag_custom+frag_discont+skip_trailer",
    "avoid_negative_ts": "disabled",
}


class FragmentWriter:
    """An mp4 (H.264, yuv420p) in fragments, each a closed group of pictures that is handed on at once.

        with growing_file(path) as append:
            writer = FragmentWriter(append, fps=16)
            for frames in stream:
                writer.write(frames)

    What was handed on so far is a whole video at any time; nothing is written at the end. `crf` and
    `about` are as in `VideoWriter`.
    """

    def __init__(
        self, append: Append, *, fps: Fraction | int, crf: int = 16, about: Mapping[str, str] | None = None
    ) -> None:
        self.append, self.fps, self.crf, self.about = append, checked_fps(fps), crf, about or {}
        self._fragments, self._frames = 0, 0
        self._size: Size | None = None

    def write(self, frames: UInt8[np.ndarray, "t h w 3"]) -> None:
        """Append frames as one fragment; all of them must have the size of the first."""
        if not len(frames):
            return
        size = Size(frames.shape[2], frames.shape[1])
        assert self._size in (None, size), "frames changed their size"
        header, fragment = self._encode(frames, size)
        self.append(fragment if self._fragments else header + fragment)
        self._size = size
        self._fragments += 1
        self._frames += len(frames)

    def _encode(self, frames: UInt8[np.ndarray, "t h w 3"], size: Size) -> tuple[bytes, bytes]:
        """Return the header, which is the same every time, and the fragment."""
        buffer = io.BytesIO()
        options = {**_OPTIONS, "fragment_index": str(self._fragments + 1)}
        with av.open(buffer, "w", format="mp4", options=options) as container:
            container.metadata.update(self.about)
            # B frames would be decoded before the end of the fragment before
            stream = add_stream(container, size, self.fps, crf=self.crf, b_frames=False)
            container.start_encoding()
            header_bytes = buffer.tell()
            for number, frame in enumerate(frames, start=self._frames):
                picture = to_picture(frame)
                picture.pts, picture.time_base = number, 1 / self.fps
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        data = buffer.getvalue()
        return data[:header_bytes], data[header_bytes:]


@contextmanager
def growing_file(path: Path) -> Generator[Append]:
    """Yield a function that appends bytes to the new file `path`, where others can read them at once.

    After any exception, Ctrl-C included, nothing is left, and a file that was there before is there again; if
    the machine fails meanwhile, that one lies beside it as `.NAME.before-*`.
    Raises UnstaticError if the disk is full, or if nothing was appended.
    """
    before = path.with_name(f".{path.stem}.before-{secrets.token_hex(4)}{path.suffix}")
    with writing_to(path):
        replaces = path.exists()
        if replaces:
            os.replace(path, before)
        try:
            file = path.open("xb", buffering=0)
        except OSError:
            if replaces:
                os.replace(before, path)
            raise
    try:
        with file:
            yield lambda data: _append(file, data, path)
            if not file.tell():
                raise UnstaticError(f"no frame was made for {path}")
            with writing_to(path):
                os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        if replaces:
            os.replace(before, path)
        raise
    before.unlink(missing_ok=True)


def _append(file: io.FileIO, data: bytes, path: Path) -> None:
    with writing_to(path):
        while data:
            data = data[file.write(data) :]
