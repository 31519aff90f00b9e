from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.media.probe import Probe, probe
from unstatic.media.write import write_video


def test_a_video_tells_what_it_is(tmp_path: Path, make_frames: Callable[..., np.ndarray]):
    write_video(tmp_path / "clip.mp4", make_frames(24, width=80, height=48), fps=16, scale=2)
    assert probe(tmp_path / "clip.mp4") == Probe(
        size=Size(160, 96), fps=Fraction(16), num_frames=24, duration_s=1.5, codec="h264", has_sound=False
    )


def test_a_video_that_is_shown_turned_has_the_size_of_its_frames(tmp_path: Path):
    with av.open(tmp_path / "phone.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=16, width=64, height=32, pix_fmt="yuv420p")
        stream.set_display_rotation(90)
        container.mux(stream.encode(av.VideoFrame(64, 32, "yuv420p")))
        container.mux(stream.encode())
    assert probe(tmp_path / "phone.mp4").size == Size(64, 32)


def test_a_missing_video_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        probe(tmp_path / "clip.mp4")
