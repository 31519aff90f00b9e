"""`unstatic world`: contact sheets and clips, with what each shows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unstatic.media.read import read_picture, read_video
from unstatic.world.clip import Clip, make_clip
from unstatic.world.mix import MIXES
from unstatic.world.spec import SceneSpec
from unstatic.world.vocabulary import EVENT_VERBS

Command = Callable[..., Any]
SMALL = ("--size", "32x32", "--seconds", 1.5, "--event", "roll")


@pytest.mark.slow
def test_a_contact_sheet_shows_clips_with_captions(unstatic: Command):
    ran = unstatic("world", "sample", "--clips", 2, *SMALL, "--json")
    assert ran.code == 0, ran.err
    facts = json.loads(ran.out)
    assert (facts["path"], facts["clips"], ran.files) == ("world.png", 2, ["world.png"])
    rolls = [form for verb in EVENT_VERBS["roll"].seen for form in verb.split("|")]
    assert all(any(form in each for form in rolls) for each in facts["captions"]), facts["captions"]
    assert read_picture(Path("world.png")).shape[2] > 2 * 6 * 32


@pytest.mark.slow
def test_clips_are_rendered_with_their_scenes(unstatic: Command, folder: Path):
    ran = unstatic("world", "render", 2, "-o", "clips", "--seed", 5, *SMALL)
    assert (ran.code, ran.out) == (0, "clips\n"), ran.err
    assert ran.files == ["000005.mp4", "000006.mp4", "clips", "clips.jsonl"]
    for line in (folder / "clips/clips.jsonl").read_text().splitlines():
        clip = json.loads(line)
        assert read_video(folder / "clips" / clip["file"]).frames.shape == (24, 32, 32, 3)
        assert SceneSpec.from_json(json.dumps(clip["scene"])).event == "roll"
        assert clip["caption"]


@pytest.mark.slow
def test_rendering_goes_on_where_it_was_stopped(
    unstatic: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    rendered: list[int] = []

    def stop(spec: SceneSpec, **options: str) -> Clip:
        if len(rendered) == 1:
            raise KeyboardInterrupt
        rendered.append(spec.seed)
        return make_clip(spec, **options)

    with monkeypatch.context() as changed:
        changed.setattr("unstatic.world.clip.make_clip", stop)
        stopped = unstatic("world", "render", 2, "-o", "clips", *SMALL)
    told = "stopped; clips has the clips so far, and the same command goes on"
    assert (stopped.code, told in stopped.complaint) == (130, True)
    first = (folder / "clips/000000.mp4").stat().st_mtime_ns
    assert len((folder / "clips/clips.jsonl").read_text().splitlines()) == 1
    for count in (2, 2):
        assert unstatic("world", "render", count, "-o", "clips", *SMALL).code == 0
    assert len((folder / "clips/clips.jsonl").read_text().splitlines()) == 2
    assert (folder / "clips/000000.mp4").stat().st_mtime_ns == first
    other = unstatic("world", "render", 2, "-o", "clips", *SMALL[:-1], "bounce")
    assert (other.code, "shows another scene: take another folder" in other.complaint) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "value", "fix"),
    [
        (["sample", "--clips", "0"], "clips is 0", "between 1 and 200"),
        (["sample", "--clips", "two"], "'two'", "whole number"),
        (["sample", "--enlarge", "99"], "enlarge is 99", "between 1 and 8"),
        (["sample", "--seconds", "nan"], "seconds is nan", "at most 60"),
        (["sample", "--seconds", "0"], "seconds is 0", "at most 60"),
        (["sample", "--seconds", "0.1"], "seconds is 0.1", "in less than 1"),
        (["sample", "--size", "31x32"], "31x32", "even"),
        (["sample", "--size", "5000x32"], "5000x32", "at most 2048"),
        (["sample", "--seed", "-1"], "seed is -1", "between 0"),
        (
            ["sample", "--mix", "other"],
            "other",
            "default, first-light, balanced, whole, taught, lively, toybox",
        ),
        (["sample", "--event", "fly"], "fly", "bounce"),
        (["sample", "--device", "foo"], "'foo'", "choose one of"),
        (["sample", "-o", "sheet.gif"], "sheet.gif", ".png"),
        (["render", "0", "-o", "clips"], "N is 0", "between 1"),
        (["render", "1", "-o", "/proc/clips"], "/proc/clips", "another folder"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    unstatic: Command, arguments: list[str], value: str, fix: str
):
    ran = unstatic("world", *arguments)
    assert ran.code == 2
    line = [line for line in ran.err.splitlines() if not line.startswith("rendering")]
    assert len(line) == 1
    assert value in line[0]
    assert fix in line[0]
    assert (ran.out, ran.files) == ("", [])


def test_the_help_names_every_mix(unstatic: Command):
    said = "".join(unstatic("world", "sample", "--help").out.split())  # lines break within names
    assert all(name in said for name in MIXES)
