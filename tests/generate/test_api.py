"""The public Python API."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unstatic
from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.generate import edit
from unstatic.generate.about import plan_facts
from unstatic.generate.api import Model
from unstatic.generate.engine import Frames, Preview, Progress, Warned
from unstatic.generate.footage import Span, read_mask, read_source
from unstatic.generate.native import NativeEngine
from unstatic.generate.request import Request, plan
from unstatic.media.read import read_video
from unstatic.media.write import write_picture, write_video
from unstatic.models.manifest import read_manifest, write_manifest

QUICK: Any = {"steps": 1, "seed": 3, "interpolator": "repeat", "upscaler": "bicubic"}


@pytest.fixture
def model(engine: NativeEngine) -> Model:
    return Model(engine)


def test_generate_makes_a_video_that_can_be_saved(tiny_model: Path, tmp_path: Path):
    video = unstatic.generate("a red ball", model=str(tiny_model), seconds=0.5, size="48x32")
    assert (video.frames.shape, video.frames.dtype, video.fps) == ((8, 32, 48, 3), np.uint8, 16)
    assert read_video(video.save(tmp_path / "ball.mp4")).frames.shape == video.frames.shape


def test_a_video_begins_and_ends_with_images(model: Model, tmp_path: Path, make_frames):
    first, last = make_frames(30, width=96, height=64)[[0, -1]]
    write_picture(tmp_path / "first.png", first)
    from_file = model.generate("a red ball", seconds=1, image=tmp_path / "first.png", last_image=last).frames
    assert from_file.shape == (16, 64, 96, 3)
    assert np.array_equal(
        from_file, model.generate("a red ball", seconds=1, image=first, last_image=last).frames
    )
    assert not np.array_equal(from_file, model.generate("a red ball", seconds=1, size="96x64").frames)


def test_what_is_cut_off_an_image_is_said(model: Model, make_frames):
    wide = make_frames(1, width=128, height=32)[0]
    with pytest.warns(UserWarning, match="62% of it, left and right, is cut away to fit 96x64"):
        model.generate("a red ball", seconds=0.1, image=wide)
    first, *_ = model.stream("a red ball", seconds=0.1, image=wide)
    assert isinstance(first, Warned)


def test_a_prompt_is_said_in_the_words_of_the_model_unless_not_wanted(tiny_model: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_model, tmp_path / "worldly")
    write_manifest(folder, replace(read_manifest(folder), expander="world"))
    model = unstatic.load(str(folder), device="cpu")
    assert model.plan("a horsey").text.startswith("a horse ")
    assert model.plan("a horsey", expand=False).text == "a horsey"
    expanded, plain = (
        model.generate("a horsey", seconds=0.1, expand=expand).frames for expand in (True, False)
    )
    assert not np.array_equal(expanded, plain)
    with pytest.warns(UserWarning, match="not understood: spaceship"):
        model.generate("a horsey and a spaceship on grass", seconds=0)


def test_previews_are_of_the_models_own_size(model: Model):
    events = list(model.stream("a red ball", seconds=1, previews_per_s=math.inf))
    previews = [event for event in events if isinstance(event, Preview)]
    assert [(event.first, event.frames.shape) for event in previews] == [
        *[(0, (1, 32, 32, 3))] * 3,
        *[(1, (15, 32, 32, 3))] * 3,
    ]


def test_numbers_may_be_numpys_and_a_size_may_be_none(model: Model):
    five, two = np.array([5, 2])
    still: Any = {"seconds": 0, "steps": 1}
    made = model.generate("a red ball", seed=five, variation=two, size=None, **still)
    assert np.array_equal(made.frames, model.generate("a red ball", seed=5, variation=2, **still).frames)
    assert '"seed": 5' in json.dumps(plan_facts(model.plan("a red ball", seed=five)))


def test_load_gives_a_model_that_knows_what_it_can_make(tiny_model: Path):
    assert unstatic.load(str(tiny_model), device="cpu").manifest.name == "tiny"


def test_a_still_has_one_frame_of_the_default_size(model: Model):
    assert model.generate("a red ball", seconds=0).frames.shape == (1, 64, 64, 3)


def test_the_same_seed_gives_the_same_frames(model: Model):
    first, again, other = (model.generate("a red ball", seconds=1, seed=seed).frames for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_stream_tells_its_progress_and_gives_the_frames_of_the_video(model: Model):
    events = list(model.stream("a red ball", seconds=2))
    stretches = [event for event in events if isinstance(event, Frames)]
    assert [event.first for event in stretches] == [0, 1, 17]
    assert sum(isinstance(event, Progress) for event in events) == 9
    whole = model.generate("a red ball", seconds=2).frames
    assert np.array_equal(np.concatenate([event.frames for event in stretches]), whole)


@pytest.mark.parametrize("fps", [1, 5, 16, 24, 60])
def test_another_frame_rate_keeps_the_duration(model: Model, fps: int):
    video = model.generate("a red ball", seconds=2, fps=fps)
    assert (len(video.frames), video.fps) == (2 * fps, fps)


def test_frames_of_another_rate_are_numbered_without_gaps(model: Model):
    stretches = [event for event in model.stream("a red ball", seconds=2, fps=1) if isinstance(event, Frames)]
    assert [(event.first, len(event.frames)) for event in stretches] == [(0, 1), (1, 1)]


def test_the_work_can_be_stopped_between_two_steps(model: Model, engine: NativeEngine):
    passes: list[object] = []
    handle = engine.transformer.register_forward_pre_hook(lambda *_: passes.append(None))
    events = model.stream("a red ball", seconds=2)
    assert next(events) == Progress(1, 9)
    events.close()
    handle.remove()
    assert len(passes) == 1


def test_a_bad_request_is_refused_before_the_first_event(model: Model):
    with pytest.raises(InputError, match="the prompt is empty"):
        model.stream("")
    with pytest.raises(InputError, match="size 'big' is not WIDTHxHEIGHT"):
        model.stream("a red ball", size="big")
    with pytest.raises(InputError, match=r"cannot read nowhere\.png as a picture"):
        model.stream("a red ball", image="nowhere.png")
    with pytest.raises(TypeError, match="secnods"):
        model.stream("a red ball", secnods=3)  # type: ignore[call-arg]


def test_an_unknown_model_is_named():
    with pytest.raises(InputError, match="there is no model 'nanoo'"):
        unstatic.load("nanoo")


# ------------------------------------------------------------------------------------------------------ edits


@pytest.fixture
def films(tmp_path: Path, make_frames) -> Path:
    """Return a folder with a.mp4, also backwards, b.mp4, wide and at another rate, and mask.png of a.mp4."""
    write_video(tmp_path / "a.mp4", make_frames(16, 32, 32), fps=16)
    write_video(tmp_path / "backwards.mp4", make_frames(16, 32, 32)[::-1], fps=16)
    write_video(tmp_path / "b.mp4", make_frames(24, 48, 32), fps=24)
    mask = np.zeros((32, 32, 3), np.uint8)
    mask[:16] = 255
    write_picture(tmp_path / "mask.png", mask)
    return tmp_path


Edit = tuple[Callable[..., Any], tuple[str, ...], dict[str, Any], int]
EDITS: dict[str, Edit] = {
    "extend": (edit.extend, ("a.mp4",), {"seconds": 0.5}, 24),
    "extend backward": (edit.extend, ("a.mp4",), {"seconds": 0.5, "backward": True}, 24),
    "loop": (edit.loop, ("a.mp4",), {"seconds": 1}, 32),
    "blend": (edit.blend, ("a.mp4", "backwards.mp4"), {"seconds": 0.5}, 40),
    "remix": (edit.remix, ("a.mp4",), {"strength": 0.5}, 16),
    "recut": (edit.recut, ("a.mp4",), {"keep": (0.25, 0.75), "before": 0.5, "after": 0.25}, 20),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_files_is_that_of_their_frames(model: Model, films: Path, name: str):
    task, videos, said, length = EDITS[name]
    made = getattr(model, task.__name__)(*(films / each for each in videos), prompt="a ball", **said, **QUICK)
    assert (made.frames.shape, made.fps) == ((length, 64, 64, 3), 16)
    keep = Span(*said["keep"]) if "keep" in said else None
    frames = [
        read_source(films / each, model.manifest, size=Size(32, 32), keep=keep).frames for each in videos
    ]
    said = {key: value for key, value in said.items() if key != "keep"}
    asked = task(Request(prompt="a ball", expand=True, **QUICK), *frames, model.manifest, **said)
    assert np.array_equal(made.frames, model.make(plan(asked, model.manifest)).frames)


def test_a_region_of_a_file_is_that_of_its_frames(model: Model, films: Path):
    made = model.repaint(films / "a.mp4", "a ball", mask=films / "mask.png", strength=0.8, **QUICK)
    given = read_source(films / "a.mp4", model.manifest).frames
    mask = read_mask(films / "mask.png", films / "a.mp4", given)
    request = Request(prompt="a ball", expand=True, **QUICK)
    asked = edit.repaint(request, given, mask, model.manifest, strength=0.8)
    assert made.frames.shape == (16, 64, 64, 3)
    assert np.array_equal(made.frames, model.make(plan(asked, model.manifest)).frames)


def test_an_edit_is_planned_with_what_was_asked_and_says_what_it_did(model: Model, films: Path):
    task = partial(edit.blend, seconds=0.5)
    planned = model.plan_edit(task, films / "a.mp4", films / "b.mp4", prompt="a ball", size="96x64", fps=8)
    assert (planned.prompt, str(planned.native), str(planned.size), planned.fps) == (
        "a ball",
        "48x32",
        "96x64",
        8,
    )
    cut, retimed = planned.warnings
    assert cut.endswith("a.mp4 is 32x32: 33% of it is cut away to fit the shape of 48x32")
    assert "b.mp4 has 24 frames a second, tiny 16" in retimed
    shown = read_source(films / "a.mp4", model.manifest, size=Size(48, 32)).frames
    assert np.array_equal(planned.footage[0].frames[planned.skip :][:16], shown)
    with pytest.raises(InputError, match="too large for tiny"):
        model.plan_edit(task, films / "a.mp4", films / "b.mp4", size="900x900")


def test_a_storyboard_is_made_from_its_file(model: Model, films: Path):
    cards = [{"at": 0, "prompt": "a ball"}, {"at": 0.5, "image": "mask.png"}, {"at": 1, "video": "a.mp4"}]
    (films / "board.json").write_text(json.dumps({"seconds": 1.5, "cards": cards}))
    made = model.storyboard(films / "board.json", **QUICK)
    assert (made.frames.shape, made.fps) == ((24, 64, 64, 3), 16)
    assert len(model.storyboard(films / "board.json", seconds=1.25, **QUICK).frames) == 20
    wide = {"cards": [{"at": 0, "prompt": "a ball"}, {"at": 0.5, "video": "b.mp4"}]}
    (films / "wide.json").write_text(json.dumps(wide))
    with pytest.warns(UserWarning, match=r"b\.mp4 has 24 frames a second"):
        made = model.storyboard(films / "wide.json", **QUICK)
    assert made.frames.shape == (25, 64, 96, 3)  # 24 begin at the nearest latent frame, the ninth


def test_a_prompt_changes_on_the_way(model: Model):
    cue = unstatic.Cue(at=1.0, prompt="a blue cube")
    changed, plain = (model.generate("a ball", seconds=2, cues=cues, **QUICK) for cues in ((cue,), ()))
    assert np.array_equal(changed.frames[:16], plain.frames[:16])
    assert not np.array_equal(changed.frames[20:], plain.frames[20:])
