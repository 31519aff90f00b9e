"""`unstatic static`: both directions, both kinds of file."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from unstatic.media.containers import KINDS
from unstatic.media.read import read_picture, read_video
from unstatic.media.write import write_video

Command = Callable[..., Any]


@pytest.fixture
def static(unstatic: Command, tiny_model: Path) -> Command:
    """Return a function that runs `unstatic static` with the tiny model."""
    return lambda *arguments: unstatic("static", "--model", tiny_model, *arguments)


@pytest.fixture
def clip(folder: Path, make_frames) -> str:
    """Return the name of a clip of 17 frames in the folder."""
    write_video(folder / "Clip.mp4", make_frames(17, width=64, height=64), fps=16)
    return "Clip.mp4"


def test_static_becomes_what_a_sentence_says(static: Command):
    ran = static("a ball", "--steps", 4, "--json")
    assert ran.code == 0, ran.err
    facts = json.loads(ran.out)
    assert facts == {"path": "a-ball-static.mp4", "model": "tiny", "levels": 5, "frames": 64}
    assert ran.files == ["a-ball-static.mp4"]
    made = read_video(Path("a-ball-static.mp4"))
    assert (made.frames.shape, made.fps) == ((2 * 64, 64, 64, 3), 16)


def test_a_video_dissolves_into_static(static: Command, clip: str):
    ran = static(clip, "--steps", 8)
    assert (ran.code, ran.out, ran.files) == (0, "clip-static.mp4\n", ["Clip.mp4", "clip-static.mp4"]), (
        ran.err
    )
    made = read_video(Path("clip-static.mp4")).frames
    assert made.shape == (3 * 17, 64, 64, 3)


@pytest.mark.parametrize("source", ["a ball", "Clip.mp4"])
def test_a_picture_shows_moments_against_levels(static: Command, clip: str, source: str):
    assert clip == "Clip.mp4"
    ran = static(source, "--steps", 8, "-o", "sheet.png")
    assert (ran.code, ran.out) == (0, "sheet.png\n"), ran.err
    assert read_picture(Path("sheet.png")).shape == (1, 4 * 64, 8 * 64, 3)


def test_a_long_video_is_cut_and_says_so(static: Command, folder: Path, make_frames):
    write_video(folder / "long.mp4", make_frames(90, width=32, height=32), fps=16)
    ran = static("long.mp4", "--steps", 2)
    assert ran.code == 0
    assert "unstatic: long.mp4 is long: only its first 4 seconds are used" in ran.err


def test_what_was_done_to_a_video_is_said(static: Command, folder: Path):
    with av.open(folder / "sound.mp4", "w") as file:
        film, sound = file.add_stream("libx264", rate=24), file.add_stream("aac", rate=8000)
        film.width, film.height, film.pix_fmt = 64, 32, "yuv420p"
        for number in range(24):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts = 8000, number * 1024
            file.mux(film.encode(av.VideoFrame(64, 32, "yuv420p")))
            file.mux(sound.encode(samples))
        for stream in (film, sound):
            file.mux(stream.encode())
    ran = static("sound.mp4", "--steps", 2, "--device", "cpu")
    assert ran.code == 0, ran.err
    assert "unstatic: sound.mp4 has 24 frames a second, tiny 16: it is retimed" in ran.err
    assert "unstatic: sound.mp4 has sound: films made here are silent" in ran.err
    assert "unstatic: sound.mp4 is 64x32: 25% of it is cut away to fit the shape of 48x32" in ran.err
    assert "reading 16/16" in ran.err


@pytest.mark.parametrize("kind", [*re.findall(r"\w+", KINDS.replace(" or ", " ")), "m4v", "MP4"])
def test_the_name_of_a_missing_file_is_no_prompt(static: Command, kind: str):
    ran = static(f"missing/clip.{kind}")
    assert (ran.code, ran.files) == (2, [])
    assert f"there is no file missing/clip.{kind}: give the path of a video" in ran.complaint


def test_a_device_that_is_none_is_refused(static: Command):
    ran = static("a ball", "--device", "toaster")
    assert ran.code == 2
    assert "toaster" in ran.complaint


@pytest.mark.parametrize(
    ("arguments", "value", "fix"),
    [
        (["nowhere.mp4"], "nowhere.mp4", "give the path of a video, or a sentence"),
        ([""], "empty", "say what to film"),
        (["a" * 100_000], "100,000", "shorten it"),
        (["a ball", "--steps", "0"], "0", "between 1 and 1000"),
        (["Clip.mp4", "--steps", "0"], "0", "1"),
        (["Clip.mp4", "--steps", "1001"], "1001", "1000"),
        (["a ball", "-o", "ball.txt"], "ball.txt", ".mp4 or .png"),
        (["a ball", "-o", "nowhere/ball.mp4"], "nowhere", "create it first"),
        (["a ball", "--model", "nanoo"], "nanoo", "unstatic models list"),
        (["notes.mp4"], "notes.mp4", "as a video"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    static: Command, clip: str, folder: Path, arguments: list[str], value: str, fix: str
):
    (folder / "notes.mp4").write_text("not a video")
    ran = static(*arguments)
    assert ran.code == 2
    assert value in ran.complaint
    assert fix in ran.complaint
    assert ran.files == [clip, "notes.mp4"]
