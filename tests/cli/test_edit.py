"""The editing commands: each writes a video, says what it did to its source, refuses what it cannot use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unstatic.media.read import read_video
from unstatic.media.write import write_picture, write_video

Command = Callable[..., Any]


@pytest.fixture
def run(unstatic: Command, tiny_model: Path, make_frames) -> Command:
    """Return a function that runs a command with the tiny model, beside a.mp4, b.mp4 and mask.png."""
    write_video(Path("a.mp4"), make_frames(16, 32, 32), fps=16)
    write_video(Path("b.mp4"), make_frames(24, 48, 32), fps=24)
    mask = np.zeros((32, 32, 3), np.uint8)
    mask[:8] = 255
    write_picture(Path("mask.png"), mask)
    return lambda command, *arguments: unstatic(command, *arguments, "--model", tiny_model)


@pytest.mark.parametrize(
    ("arguments", "name", "frames"),
    [
        (("extend", "a.mp4", "--seconds", 1), "a-extended.mp4", 32),
        (("extend", "a.mp4", "--seconds", 1, "--backward", "--prompt", "a ball"), "a-extended.mp4", 32),
        (("loop", "a.mp4", "--seconds", 1), "a-loop.mp4", 32),
        (("blend", "a.mp4", "b.mp4", "--seconds", 1), "a-b.mp4", 48),
        (("remix", "a.mp4", "a blue ball"), "a-blue-ball.mp4", 16),
        (("repaint", "a.mp4", "a blue ball", "--mask", "mask.png"), "a-blue-ball.mp4", 16),
        (("recut", "a.mp4", "--keep", "0.5:1", "--after", 1), "a-recut.mp4", 24),
    ],
)
def test_every_command_writes_a_video(run: Command, arguments: tuple[Any, ...], name: str, frames: int):
    ran = run(*arguments)
    assert (ran.code, ran.out) == (0, f"{name}\n"), ran.err
    assert read_video(Path(name)).frames.shape == (frames, 64, 64, 3)


def test_what_was_done_to_the_source_is_said(run: Command):
    ran = run("extend", "b.mp4", "--seconds", 1, "-o", "c.mp4", "--json")
    assert "unstatic: b.mp4 has 24 frames a second, tiny 16: it is retimed" in ran.err
    facts = json.loads(ran.out)
    assert (facts["frames"], facts["native"], facts["path"]) == (32, "48x32", "c.mp4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("extend", "none.mp4"), "cannot read none.mp4 as a video: No such file or directory"),
        (("extend", "mask.png"), "cannot read mask.png as a video: it is none, give one as mp4, mov, mkv"),
        (("extend", "a.mp4", "-o", "x.png"), "output x.png must end in .mp4"),
        (
            ("extend", "a.mp4", "--tiles"),
            "the tiny decoder of tiny takes little memory anyway: leave --tiles out",
        ),
        (("extend", "a.mp4", "--seconds", "soon"), "'soon' is not a number"),
        (("extend", "a.mp4", "--seconds", 60), "that makes 61.0 seconds: tiny makes up to 10"),
        (("recut", "a.mp4", "--keep", "1"), "keep '1' is not START:END in seconds, for example 0.5:3"),
        (("recut", "a.mp4", "--keep", "0:3"), "keep 0:3 is no span of a video of 1 seconds"),
        (("remix", "a.mp4", "x", "--strength", 3), "strength is 3: it must be from 0"),
        (("repaint", "a.mp4", "x", "--mask", "none.png"), "cannot read none.png as a picture"),
        (("repaint", "b.mp4", "x", "--mask", "mask.png"), "the mask mask.png is 32x32 and b.mp4 is 48x32"),
        (("loop", "a.mp4", "-o", "-", "--json"), "--json and -o - both write to stdout"),
    ],
)
def test_bad_input_names_the_fix(run: Command, arguments: tuple[Any, ...], message: str):
    ran = run(*arguments)
    assert ran.code == 2
    assert message in ran.err
    assert ran.files == ["a.mp4", "b.mp4", "mask.png"]


def test_a_storyboard_may_replace_the_prompt(run: Command):
    Path("board.yaml").write_text(
        "seconds: 2\ncards:\n  - {at: 0, prompt: a ball}\n  - {at: 1, video: a.mp4}\n"
    )
    ran = run("video", "--storyboard", "board.yaml", "--json")
    facts = json.loads(ran.out)
    assert (ran.code, facts["path"], facts["frames"]) == (0, "a-ball.mp4", 32), ran.err


def test_a_video_needs_a_prompt_or_a_storyboard(run: Command):
    ran = run("video")
    assert (ran.code, "there is no prompt" in ran.err) == (2, True)
