"""Every container that is read, as libav writes it, and what looks like one."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.format import ContainerFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from unstatic.core.shapes import Size
from unstatic.media.containers import CONTAINERS, HEAD_BYTES, container_of
from unstatic.media.probe import probe
from unstatic.media.read import read_frames

MakeFrames = Callable[..., np.ndarray]

WRITTEN = {  # the ending of a name: libav's muxer, its options, the codec, and what is read
    "mp4": ("mp4", {}, "libx264", "mov"),
    "fast.mp4": ("mp4", {"movflags": "faststart"}, "libx264", "mov"),
    "pieces.mp4": ("mp4", {"movflags": "empty_moov+frag_keyframe"}, "libx264", "mov"),
    "mov": ("mov", {}, "libx264", "mov"),
    "3gp": ("3gp", {}, "libx264", "mov"),
    "mkv": ("matroska", {}, "libx264", "matroska"),
    "webm": ("webm", {}, "libvpx-vp9", "matroska"),
    "avi": ("avi", {}, "mpeg4", "avi"),
    "gif": ("gif", {}, "gif", "gif"),
    "ts": ("mpegts", {}, "libx264", "mpegts"),
    "m2ts": ("mpegts", {"mpegts_m2ts_mode": "1"}, "libx264", "mpegts"),
    "mpg": ("mpeg", {}, "mpeg1video", "mpeg"),
    "vob": ("vob", {}, "mpeg2video", "mpeg"),
    "flv": ("flv", {}, "flv1", "flv"),
    "ogv": ("ogg", {}, "libvpx", "ogg"),
    "wmv": ("asf", {}, "wmv2", "asf"),
    "y4m": ("yuv4mpegpipe", {}, "wrapped_avframe", "yuv4mpegpipe"),
}


@pytest.mark.parametrize("ending", WRITTEN)
def test_what_libav_writes_is_recognised_and_read(tmp_path: Path, ending: str, make_frames: MakeFrames):
    muxer, options, codec, container = WRITTEN[ending]
    path = tmp_path / f"clip.{ending}"
    with av.open(path, "w", format=muxer, options=options) as file:
        stream = file.add_stream(codec, rate=24)
        stream.width = stream.height = 64
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for frame in make_frames(8):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            file.mux(stream.encode(picture.reformat(format=stream.pix_fmt)))
        file.mux(stream.encode())

    assert container_of(path.read_bytes()[:HEAD_BYTES]) == container
    frames = np.stack(list(read_frames(path)))
    assert frames.shape == (8, 64, 64, 3)
    assert np.abs(frames - make_frames(8).astype(int)).mean() < 25, "it shows something else"
    assert probe(path).size == Size(64, 64)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"text",
        b"ffconcat version 1.0\nfile 'clip.mp4'\n",
        b"#EXTM3U\n",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"RIFF\x24\0\0\0WEBPVP8X",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"GIF is a format for pictures",
        b"YUV4MPEG",
        b"G" + bytes(187) + b"G" + bytes(187),  # two packets are none
        b"ftypmp42",
    ],
)
def test_what_is_none_is_not_taken_for_one(head: bytes):
    assert container_of(head) is None


@settings(deadline=None, database=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=HEAD_BYTES))
def test_any_bytes_are_looked_at(head: bytes):
    assert container_of(head) in (None, *CONTAINERS)


def test_libav_has_all_of_them():
    assert all(ContainerFormat(name, "r").is_input for name in CONTAINERS)
