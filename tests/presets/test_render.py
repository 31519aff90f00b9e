"""Rendering into shards: what is there is not made again, and a clip is decided by its number alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unstatic.data.shards import Shard, open_shards, shard_path
from unstatic.presets.nano import tiny
from unstatic.presets.render import draw_clip, render_clips, render_shard
from unstatic.world import render, scenes
from unstatic.world.mix import FIRST_LIGHT_MIX
from unstatic.world.render import render_batch
from unstatic.world.scenes import SEED_STRIDE, SPARE_SEEDS, Sample, SceneNotFoundError, sample_clip

WORLD = replace(tiny().world, clips=3, shard_clips=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    render_clips(WORLD, folder, seed=5, workers=1)
    return folder


def test_all_clips_are_there_in_shards(folder: Path):
    assert [len(shard) for shard in open_shards(folder, "clips")] == [2, 1]


def test_a_second_call_renders_nothing(folder: Path):
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    render_clips(WORLD, folder, seed=5, workers=1)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_lost_shard_comes_back_the_same(folder: Path, tmp_path: Path):
    render_shard(WORLD, tmp_path, 1, 5)
    first, again = (Shard(shard_path(where, "clips", 1)) for where in (folder, tmp_path))
    assert first.lines == again.lines
    np.testing.assert_array_equal(first.read("frames", 0), again.read("frames", 0))


def test_another_seed_is_another_world(folder: Path, tmp_path: Path):
    render_shard(WORLD, tmp_path, 1, 6)
    assert Shard(shard_path(folder, "clips", 1)).lines != Shard(shard_path(tmp_path, "clips", 1)).lines


def test_a_clip_may_be_any_window_of_a_longer_scene():
    world = replace(WORLD, simulated=80, frames=17)
    drawn = [draw_clip(world, world.sizes[0], seed) for seed in range(12)]
    starts = {each.trajectory.start for each in drawn}
    assert len(starts) > 6
    assert min(starts) >= 0
    assert max(starts) <= 80 - 17
    for seed, each in enumerate(drawn):
        whole = sample_clip(seed, frames=80, fps=16, width=64, height=64, mix=FIRST_LIGHT_MIX)
        assert replace(each.spec, camera=whole.spec.camera) == whole.spec
        there = slice(each.trajectory.start, each.trajectory.start + 17)
        np.testing.assert_array_equal(each.trajectory.positions, whole.trajectory.positions[there])
    assert draw_clip(WORLD, world.sizes[0], 3).trajectory.start == 0


def test_a_window_is_kept_with_the_first_frame_of_its_scene(tmp_path: Path):
    world = replace(WORLD, simulated=80, frames=17)
    render_shard(world, tmp_path, 0, 5)
    shard = Shard(shard_path(tmp_path, "clips", 0))
    for entry, seed in enumerate((5, 6)):
        whole = sample_clip(seed, frames=80, fps=16, width=64, height=64, mix=FIRST_LIGHT_MIX)
        frames = render.render(whole.spec, whole.trajectory, samples=world.samples).frames
        start = int(shard.read("starts", entry)[0])
        np.testing.assert_array_equal(shard.read("openings", entry), frames[:1])
        np.testing.assert_array_equal(shard.read("frames", entry), frames[start : start + 17])
    assert set(Shard(shard_path(tmp_path, "clips", 0)).shapes) == {"frames", "ids", "openings", "starts"}


def test_a_seed_without_a_scene_is_replaced(monkeypatch: pytest.MonkeyPatch):
    def unless_first(seed: int, **settings: object) -> Sample:
        if seed == 7:
            raise SceneNotFoundError("no ramp found for seed 7")
        return sample_clip(seed, **settings)

    monkeypatch.setattr(scenes, "sample_clip", unless_first)
    drawn = draw_clip(WORLD, WORLD.sizes[0], 7)
    assert drawn.spec.seed == 7 + SEED_STRIDE
    assert draw_clip(WORLD, WORLD.sizes[0], 8).spec.seed == 8


def test_a_mix_in_which_nothing_is_found_ends_the_run(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def never(seed: int, **_: object) -> Sample:
        asked.append(seed)
        raise SceneNotFoundError(f"no ramp found for seed {seed}")

    monkeypatch.setattr(scenes, "sample_clip", never)
    with pytest.raises(SceneNotFoundError, match="no ramp"):
        draw_clip(WORLD, WORLD.sizes[0], 7)
    assert len(set(asked)) == SPARE_SEEDS + 1


def test_no_shard_is_begun_after_the_time(tmp_path: Path):
    hurried = replace(WORLD, clips=12, seconds=1e-6)
    render_clips(hurried, tmp_path, seed=5, workers=1)
    rendered = len(open_shards(tmp_path, "clips"))
    assert 1 <= rendered < 6
    render_clips(hurried, tmp_path, seed=5, workers=1)
    assert len(open_shards(tmp_path, "clips")) == rendered, "the time was over"


def test_shards_rendered_as_one_batch_are_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    batches: list[str] = []

    def on_this_machine(scenes, *, samples: int, device: str):
        batches.append(device)
        return render_batch(scenes, samples=samples, device="cpu")

    monkeypatch.setattr(render, "render_batch", on_this_machine)
    render_clips(WORLD, tmp_path, seed=5, workers=1, device="cuda:0")
    assert batches == ["cuda:0"] * 2
    for first, again in zip(open_shards(folder, "clips"), open_shards(tmp_path, "clips"), strict=True):
        assert first.lines == again.lines
        np.testing.assert_array_equal(first.read("ids", 0), again.read("ids", 0))
