"""What a video file holds besides a film, and what is done to its frames before anybody sees them."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from unstatic.core.errors import InputError
from unstatic.media.probe import probe
from unstatic.media.read import Film, open_container, read_frames, read_video
from unstatic.media.steady import read_steadily

Frame = np.ndarray

DISC = np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 20


def film_of(path: Path) -> list[Frame]:
    with open_container(path) as opened:
        return [each.shown.pixels for each in Film(path, opened).frames()]


def steady_of(path: Path) -> list[Frame]:
    container = {".mp4": "mp4", ".mov": "mov"}.get(path.suffix, "matroska")
    return list(read_steadily(path, container=container, fps=Fraction(25), longest=4096))


READERS: list[Callable[[Path], list[Frame]]] = [
    lambda path: [*read_video(path).frames],
    lambda path: [*read_frames(path)],
    film_of,
    steady_of,
]


# ----------------------------------------------------------------------------------------------------- covers


def write_cover(path: Path, *, with_film: bool) -> Path:
    """Write a red cover, first, then perhaps a black film, then sound."""
    with av.open(path, "w", format="mp4") as file:
        cover = file.add_stream("mjpeg", rate=1, width=64, height=64, pix_fmt="yuvj420p")
        cover.disposition = Disposition.attached_pic
        film = file.add_stream("libx264", rate=25, width=32, height=32) if with_film else None
        sound = file.add_stream("aac", rate=8000)
        red = np.full((64, 64, 3), (255, 0, 0), np.uint8)
        for packet in (*cover.encode(av.VideoFrame.from_ndarray(red, format="rgb24")), *cover.encode()):
            file.mux(packet)
        for number in range(8):
            if film is not None:
                black = np.zeros((32, 32, 3), np.uint8)
                file.mux(film.encode(av.VideoFrame.from_ndarray(black, format="rgb24")))
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 8000, number * 1024
            file.mux(sound.encode(samples))
        for stream in (film, sound):
            if stream is not None:
                file.mux(stream.encode())
    return path


def test_music_with_a_cover_is_no_film(tmp_path: Path):
    path = write_cover(tmp_path / "song.mp4", with_film=False)
    for read in (*READERS, probe):
        with pytest.raises(InputError, match=r"song\.mp4 has no video in it, give a video file"):
            read(path)


def test_a_film_with_a_cover_is_that_film(tmp_path: Path):
    path = write_cover(tmp_path / "film.mp4", with_film=True)
    for read in READERS:
        frames = read(path)
        assert (len(frames), frames[0].shape, frames[0].max()) == (8, (32, 32, 3), 0)
    assert (probe(path).fps, probe(path).size.width) == (25, 32)


# ----------------------------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize(
    ("squeezed", "ratio", "shape"),
    [
        ((64, 32), Fraction(2), (64, 64, 3)),
        ((32, 64), Fraction(1, 2), (64, 64, 3)),
        ((64, 64), Fraction(1000), (64, 64, 3)),  # a lie
    ],
)
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_what_is_squeezed_is_shown_as_it_was_filmed(
    tmp_path: Path, ending: str, squeezed: tuple[int, int], ratio: Fraction, shape: tuple[int, ...]
):
    height, width = squeezed
    with av.open(tmp_path / f"a.{ending}", "w") as file:
        stream = file.add_stream("libx264", rate=25, width=width, height=height, pix_fmt="yuv420p")
        stream.codec_context.sample_aspect_ratio = ratio
        disc = DISC[:: 64 // height, :: 64 // width, None].repeat(3, 2) * np.uint8(255)
        file.mux(stream.encode(av.VideoFrame.from_ndarray(disc, format="rgb24")))
        file.mux(stream.encode())
    for read in READERS:
        (frame,) = read(tmp_path / f"a.{ending}")
        assert frame.shape == shape
        assert ((frame[..., 1] > 127) == DISC).mean() > 0.97


def test_what_is_squeezed_and_turned_is_widened_before_it_is_turned(tmp_path: Path):
    with av.open(tmp_path / "a.mp4", "w") as file:
        stream = file.add_stream("libx264", rate=25, width=32, height=48, pix_fmt="yuv420p")
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        stream.set_display_rotation(90)
        file.mux(stream.encode(av.VideoFrame(32, 48, "yuv420p")))
        file.mux(stream.encode())
    for read in READERS:
        assert read(tmp_path / "a.mp4")[0].shape == (64, 48, 3)


# ----------------------------------------------------------------------------------------------------- fields


def combs(frame: Frame) -> float:
    """Return how far rows are from the mean of their neighbours."""
    rows = frame.astype(float)
    return float(np.abs(2 * rows[2:-2:2] - rows[1:-3:2] - rows[3:-1:2]).mean())


def write_fields(path: Path, codec: str) -> Path:
    """Write ten frames of two fields each, the lower one first: a bar that moves from field to field."""
    options = {"x264-params": "interlaced=1"} if codec == "libx264" else {}
    with av.open(path, "w") as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        if codec == "mpeg2video":
            stream.codec_context.flags |= (
                0x20040000  # two fields, each with a transform and motion of its own
            )
        for number in range(10):
            picture = np.full((64, 96, 3), 40, np.uint8)
            for field in (0, 1):
                left = 4 * (2 * number + field)
                picture[1 - field :: 2, left : left + 16] = 220
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("mpg", "mpeg2video")])
def test_what_is_interlaced_has_no_combs(tmp_path: Path, ending: str, codec: str):
    path = write_fields(tmp_path / f"a.{ending}", codec)
    for read in READERS[: 3 if ending == "mpg" else 4]:
        frames = read(path)
        assert len(frames) == 10
        assert max(map(combs, frames)) < 1
        bars = [np.flatnonzero(frame[32, :, 1] > 130).mean() - 7.5 for frame in frames]
        assert bars == pytest.approx([8 * number for number in range(10)], abs=1)


def test_frames_of_fields_have_their_times(tmp_path: Path):
    path = write_fields(tmp_path / "a.mp4", "libx264")
    with open_container(path) as opened:
        stamped = list(Film(path, opened).frames())
    assert [each.time_s for each in stamped] == [Fraction(number, 25) for number in range(10)]
    assert {each.lasts_s for each in stamped} == {Fraction(1, 25)}


# ----------------------------------------------------------------------------------------------- transparency


@pytest.mark.parametrize(
    ("ending", "codec", "pixels"),
    [
        ("mov", "prores_ks", "yuva444p10le"),
        ("mov", "qtrle", "argb"),
        ("webm", "libvpx-vp9", "yuva420p"),
    ],
)
def test_transparent_video_lies_on_white(tmp_path: Path, ending: str, codec: str, pixels: str):
    sticker = np.zeros((64, 64, 4), np.uint8)
    sticker[:, :32] = (200, 30, 30, 255)
    with av.open(tmp_path / f"a.{ending}", "w") as file:
        stream = file.add_stream(codec, rate=25, options={"profile": "4444"} if "prores" in codec else {})
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(sticker, format="rgba").reformat(format=pixels)
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    for read in READERS[:3]:  # what a stranger sends has few decoders
        frames = read(tmp_path / f"a.{ending}")
        assert len(frames) == 5
        for frame in frames:
            np.testing.assert_allclose(frame[32, 8], (200, 30, 30), atol=4)
            np.testing.assert_allclose(frame[32, 56], 255, atol=4)
