"""`unstatic static`: both directions, both kinds of file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
