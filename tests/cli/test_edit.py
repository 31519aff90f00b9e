"""The editing commands: each writes a video, says what it did to its source, refuses what it cannot use."""

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import pytest

from unstatic import __version__
from unstatic.cli.edit import Shared
from unstatic.cli.generate import video
from unstatic.generate.api import EditOptions
from unstatic.media.probe import probe
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


def test_a_span_is_cut_from_a_film_of_any_length(run: Command, make_frames):
    write_video(Path("long.mp4"), make_frames(400, 32, 32), fps=16)
    ran = run("recut", "long.mp4", "--keep", "0:20-", "--after", 1, "--steps", 1, "--json")
    assert (ran.code, json.loads(ran.out)["frames"]) == (0, 96), ran.err
    ran = run("recut", "long.mp4", "--keep", "20:21", "--before", 1, "--steps", 1, "--json")
    assert (ran.code, json.loads(ran.out)["frames"]) == (0, 32), ran.err
    assert (
        "keep 0:20 is longer than the 10 seconds of tiny: keep less"
        in run("recut", "long.mp4", "--keep", "0:20").err
    )
    assert "long.mp4 is longer than the 10 seconds of tiny: cut it" in run("extend", "long.mp4").err


def test_what_is_read_can_be_watched(run: Command):
    reading = [
        line for line in run("blend", "a.mp4", "b.mp4", "--steps", 1).err.splitlines() if "reading" in line
    ]
    assert reading
    assert re.fullmatch(r"reading 32/32, 0:00:\d\d taken", reading[0])
    assert "reading 8/8" in run("recut", "a.mp4", "--keep", "0.5:", "--after", 1, "--steps", 1).err
    assert "reading" not in run("extend", "none.mp4").err


def test_edits_take_what_videos_take_and_what_python_takes():
    shared = {field.name for field in fields(Shared)}
    whole = {"prompt", "seconds", "image", "last_image", "storyboard"}  # which edits do not share
    assert set(inspect.signature(video).parameters) - whole == shared
    assert set(EditOptions.__annotations__) - {"conditions"} <= shared


def test_a_film_has_the_size_that_is_asked_for_and_its_source_that_shape(run: Command):
    ran = run("extend", "a.mp4", "--seconds", 1, "--size", "96x64", "--fps", 8, "-o", "c.mp4", "--json")
    facts = json.loads(ran.out)
    assert (facts["native"], facts["size"], facts["fps"]) == ("48x32", "96x64", 8)
    assert "a.mp4 is 32x32: 33% of it is cut away to fit the shape of 48x32" in ran.err
    film = probe(Path("c.mp4"))
    assert (str(film.size), film.fps, film.num_frames) == ("96x64", 8, 16)


@pytest.mark.parametrize(
    "asked",
    [
        {"guidance": 3.0, "guidance_interval": [0.5, 1.0], "negative": "fog", "solver": "heun"},
        {"variation": 2, "skip_layer_guidance": 0.5, "steps": 20, "step_cache": 2},
    ],
)
def test_how_an_edit_is_made_can_be_said(run: Command, asked: dict[str, Any]):
    said: list[object] = []
    for name, value in asked.items():
        said += [f"--{name.replace('_', '-')}", "0.5:1" if name == "guidance_interval" else value]
    facts = json.loads(run("remix", "a.mp4", "a ball", *said, "--json").out)
    assert {name: facts[name] for name in asked} == asked


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
        (("extend", "a.mp4", "--size", "big"), "size 'big' is not WIDTHxHEIGHT"),
        (("loop", "a.mp4", "--size", "900x900"), "size 900x900 is too large for tiny: in this shape up to"),
        (("remix", "a.mp4", "x", "--guidance-interval", "1"), "guidance interval '1' is not LOW:HIGH"),
        (("extend", "a.mp4", "--seconds", 60), "that makes 61.0 seconds: tiny makes up to 10"),
        (("recut", "a.mp4", "--keep", "1"), "keep '1' is not START:END in seconds, for example 0.5:3"),
        (("recut", "a.mp4", "--keep", "0:3"), "keep 0:3 is no span of a video of 1 seconds"),
        (("recut", "a.mp4", "--keep", "0.7-0.2"), "keep 0.7:0.2 is no span: it must end after it begins"),
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


@pytest.mark.parametrize(("given", "frames"), [((), 32), (("--seconds", 4), 64), (("--seconds", 1), 16)])
def test_seconds_that_are_given_count_whatever_a_storyboard_says(
    run: Command, given: tuple[object, ...], frames: int
):
    Path("board.yaml").write_text("seconds: 2\ncards: [{at: 0, prompt: a ball}]\n")
    ran = run("video", "--storyboard", "board.yaml", "--steps", 1, *given, "--json")
    assert (ran.code, json.loads(ran.out)["frames"]) == (0, frames), ran.err


def test_what_a_storyboard_loses_is_said_by_its_card(run: Command):
    Path("board.yaml").write_text(
        "cards: [{at: 0, prompt: a ball}, {at: 1, prompt: a cube}, {at: 1.2, prompt: fog, image: mask.png}]"
    )
    asked = ("video", "--storyboard", "board.yaml", "--size", "96x64", "--steps", 1)
    ran = run(*asked, "--seconds", 2)
    assert ran.code == 0
    assert "unstatic: the image of card 3 is 32x32: 33% of it, top and bottom, is cut away" in ran.err
    assert 'unstatic: the prompt "a cube" at 1 s is not seen: another at 1.2 s' in ran.err
    complaint = run(*asked, "--seconds", 1).complaint
    assert complaint.startswith(
        "unstatic: card 2 (at 1 s) comes too late, the film ends at 1 s: put it earlier"
    )


def test_where_a_storyboard_cuts_is_said(run: Command):
    Path("board.yaml").write_text(
        "seconds: 3\n"
        "cards: [{at: 0, prompt: a ball}, {at: 1, prompt: a cube, cut: true}, {at: 2, prompt: fog}]"
    )
    ran = run("video", "--storyboard", "board.yaml", "--size", "96x64", "--steps", 1, "--json")
    assert ran.code == 0, ran.err
    assert [line for line in ran.err.splitlines() if "scene" in line] == [
        "unstatic: prompt: a cube (a new scene)"
    ]
    assert [cue["cut"] for cue in json.loads(ran.out)["cues"]] == [True, False]


def test_a_video_needs_a_prompt_or_a_storyboard(run: Command):
    ran = run("video")
    assert (ran.code, "there is no prompt" in ran.err) == (2, True)


# --------------------------------------------------------------------------------- what a file says of itself


def said_by(path: str) -> dict[str, str]:
    with av.open(path) as container:
        return {name: container.metadata.get(name, "") for name in ("title", "description", "comment")}


@pytest.mark.parametrize("stream", [(), ("--stream",)])
def test_a_film_says_what_it_was_made_from(run: Command, stream: tuple[str, ...]):
    asked = ("video", "a ball", "--seconds", 0.5, "--seed", 3, "--steps", 1, *stream, "-o", "c.mp4", "--json")
    shown = json.loads(run(*asked).out)
    first = Path("c.mp4").read_bytes()
    said = said_by("c.mp4")
    assert (said["title"], said["description"]) == ("a ball", "a ball")
    facts = json.loads(said["comment"])
    assert facts["made_by"] == f"unstatic {__version__}"
    assert len(facts.pop("digest")) == 16
    moment = {"path", "load_s", "sample_s"}
    assert {name: facts[name] for name in shown if name not in moment} == {
        name: shown[name] for name in shown if name not in moment
    }
    assert not moment & set(facts)
    run(*asked)
    assert Path("c.mp4").read_bytes() == first


def test_an_edit_says_that_it_began_with_something_else(run: Command):
    run("remix", "a.mp4", "a ball", "--strength", 0.5, "--steps", 1)
    facts = json.loads(said_by("a-ball.mp4")["comment"])
    assert (facts["given"], facts["strength"], facts["text"]) == (["source"], 0.5, "a ball")
    run("extend", "a.mp4", "--seconds", 1, "--steps", 1)
    assert json.loads(said_by("a-extended.mp4")["comment"])["given"] == ["footage"]
    assert said_by("a-extended.mp4")["title"] == ""


def test_a_picture_says_what_it_was_made_from(run: Command):
    run("image", "ein K\u00e4fer", "--steps", 1, "-o", "c.png")
    with PIL.Image.open("c.png") as picture:
        assert picture.info["Title"] == "ein K\u00e4fer"
        assert json.loads(picture.info["Comment"])["prompt"] == "ein K\u00e4fer"


def test_files_say_nothing_where_that_is_not_wanted(run: Command):
    run("video", "a ball", "--seconds", 0.1, "--steps", 1, "--no-metadata", "-o", "c.mp4")
    run("loop", "a.mp4", "--steps", 1, "--no-metadata", "-o", "d.mp4")
    run("image", "a ball", "--steps", 1, "--no-metadata", "-o", "c.png")
    assert [set(said_by(name).values()) for name in ("c.mp4", "d.mp4")] == [{""}, {""}]
    with PIL.Image.open("c.png") as picture:
        assert picture.info == {}
