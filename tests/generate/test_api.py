"""The public Python API."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import unstatic
from unstatic.core.errors import InputError
from unstatic.generate.api import Model
from unstatic.generate.engine import Frames, Preview, Progress, Warned
from unstatic.generate.native import NativeEngine
from unstatic.media.read import read_video
from unstatic.media.write import write_picture
from unstatic.models.manifest import read_manifest, write_manifest


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
