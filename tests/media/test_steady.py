from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.media.steady import read_steadily

GREY = 20


def write_at(path: Path, times_ms: list[int], *, width: int = 64, height: int = 48) -> Path:
    """Write frames, each brighter than the one before, that are shown at the given times."""
    with av.open(path, "w", options={"live": "1"}) as container:
        stream = container.add_stream("libvpx", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time_ms in enumerate(times_ms):
            grey = np.full((height, width, 3), number * GREY, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("times_ms", "fps", "shown"),
    [
        ([0, 100, 200, 300], 10, [0, 1, 2, 3]),
        ([700, 800, 900], 10, [0, 1, 2]),  # a beginning that is cut away
        ([0, 33, 67, 100, 133, 167], 30, [0, 1, 2, 3, 4, 5]),  # rounded to milliseconds
        ([0, 17, 33, 50, 67, 83], 30, [0, 2, 4]),  # every other one
        ([0, 100, 500, 600], 10, [0, 1, 1, 1, 1, 2, 3]),  # one that stays
        ([0, 10, 20, 30, 200], 10, [0, 0, 4]),  # a crowd in one turn
        ([0], 10, [0]),
    ],
)
def test_each_turn_shows_the_frame_whose_time_it_is(
    tmp_path: Path, times_ms: list[int], fps: int, shown: list[int]
):
    path = write_at(tmp_path / "film.webm", times_ms)
    frames = read_steadily(path, container="matroska", fps=Fraction(fps), longest=64)
    assert [round(float(frame.mean()) / GREY) for frame in frames] == shown


def test_frames_fit_and_have_even_sides(tmp_path: Path):
    path = write_at(tmp_path / "film.webm", [0], width=97, height=51)
    sizes = {
        longest: next(read_steadily(path, container="matroska", fps=Fraction(10), longest=longest)).shape[:2]
        for longest in (97, 1000, 48)
    }
    assert sizes == {97: (50, 96), 1000: (50, 96), 48: (24, 48)}
    with pytest.raises(InputError, match="the video is 97x51, give one that is not so narrow"):
        next(read_steadily(path, container="matroska", fps=Fraction(10), longest=2))
