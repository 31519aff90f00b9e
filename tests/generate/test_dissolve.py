"""The chain made visible: every level is really walked, and the pictures show the levels that they say."""

import numpy as np
import pytest
import torch
from einops import rearrange
from torch import Tensor

from unstatic.core.errors import InputError
from unstatic.generate.dissolve import Walk, appear, chain_to_static, dissolve, film, sheet
from unstatic.generate.engine import Progress
from unstatic.generate.native import NativeEngine
from unstatic.generate.request import Plan, Request, plan
from unstatic.generate.stream import Chunk
from unstatic.media.frames import to_frames


@pytest.fixture
def planned(engine: NativeEngine) -> Plan:
    return plan(Request(prompt="a red ball", seconds=1.5, steps=4), engine.manifest)


def walked(engine: NativeEngine, planned: Plan) -> Walk:
    *_, walk = appear(engine, planned)
    assert isinstance(walk, Walk)
    return walk


def decoded(engine: NativeEngine, latent: Tensor) -> np.ndarray:
    with torch.inference_mode():
        video = engine.autoencoder.decode(latent[None])
    return rearrange(to_frames(video), "1 t h w c -> t h w c")


def clip(make_frames, frames: int = 9) -> np.ndarray:
    return make_frames(frames, width=32, height=32)


# -------------------------------------------------------------------------------------------------- appearing


def test_static_appears_as_the_video_that_was_planned(engine: NativeEngine, planned: Plan):
    walk = walked(engine, planned)
    assert walk.levels.shape == (5, 4, 9, 4, 4)
    assert torch.equal(walk.levels[:1], engine.static(planned).latent)
    final = torch.cat([event.latent for event in engine.denoise(planned) if isinstance(event, Chunk)], dim=2)
    assert torch.equal(walk.levels[-1:], final)


def test_every_step_is_told(engine: NativeEngine, planned: Plan):
    *events, _ = appear(engine, planned)
    assert events == [Progress(done, 12) for done in range(1, 13)]


# ------------------------------------------------------------------------------------------------- dissolving


def test_a_clip_dissolves_step_by_step_into_static(engine: NativeEngine, make_frames):
    walk = dissolve(engine, clip(make_frames), chain_to_static(12), seed=1)
    assert (walk.frames, len(walk.levels), walk.ends_clean) == (9, 13, False)
    steps = [
        float((after - before).std()) for before, after in zip(walk.levels, walk.levels[1:], strict=False)
    ]
    assert min(steps) > 0, "a level stands still"
    likeness = [
        float((level * walk.levels[0]).mean() / walk.levels[0].square().mean()) for level in walk.levels
    ]
    assert abs(likeness[-1]) < likeness[6] < likeness[0] == pytest.approx(1)


def test_nothing_of_the_clip_is_left_at_the_end(engine: NativeEngine, make_frames):
    chain = chain_to_static(12)
    one, other = (
        dissolve(engine, each, chain, seed=1) for each in (clip(make_frames), 255 - clip(make_frames))
    )
    assert not torch.allclose(one.levels[6], other.levels[6])
    torch.testing.assert_close(one.levels[-1], other.levels[-1], atol=1e-4, rtol=0)


def test_the_seed_decides_the_static(engine: NativeEngine, make_frames):
    one, again, other = (
        dissolve(engine, clip(make_frames), chain_to_static(3), seed=seed).levels for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


@pytest.mark.parametrize("steps", [0, -3, 1001])
def test_impossible_chains_are_refused(steps: int):
    with pytest.raises(InputError, match=str(steps)):
        chain_to_static(steps)


# -------------------------------------------------------------------------------------------------- pictures


def test_a_film_of_appearing_ends_with_the_clean_clip(engine: NativeEngine, planned: Plan):
    walk = walked(engine, planned)
    runs = list(film(engine.autoencoder, walk))
    assert [len(run) for run in runs] == [24, 24]
    assert np.array_equal(runs[-1], decoded(engine, walk.levels[-1])[:24])
    static = decoded(engine, walk.levels[0])
    assert np.array_equal(runs[0][0], static[0]), "it begins with something else than static"
    assert not np.array_equal(runs[0], runs[1])


def test_a_film_of_dissolving_begins_with_the_clean_clip(engine: NativeEngine, make_frames):
    walk = dissolve(engine, clip(make_frames), chain_to_static(12), seed=1)
    runs = list(film(engine.autoencoder, walk))
    assert [len(run) for run in runs] == [9] * 6, "13 levels need 5 runs of 3 latent frames"
    assert np.array_equal(runs[0], decoded(engine, walk.levels[0]))
    assert np.array_equal(runs[1][0], runs[0][0]), "the noise does not start at nothing"


def test_a_sheet_has_a_row_for_each_moment_and_a_column_for_each_level(engine: NativeEngine, make_frames):
    walk = dissolve(engine, clip(make_frames), chain_to_static(12), seed=1)
    picture = sheet(engine.autoencoder, walk, moments=3, columns=5)
    assert picture.shape == (3 * 32, 5 * 32, 3)
    clean, static = decoded(engine, walk.levels[0]), decoded(engine, walk.levels[-1])
    assert np.array_equal(picture[:32, :32], clean[0])
    assert np.array_equal(picture[-32:, :32], clean[-1])
    assert np.array_equal(picture[-32:, -32:], static[-1])


# -------------------------------------------------------------------------------------------------- files


def test_what_fills_no_latent_frame_is_left_out(engine: NativeEngine, make_frames):
    clip, chain = make_frames(32, width=48, height=32), chain_to_static(3)
    whole, part = (dissolve(engine, each, chain, seed=0) for each in (clip[:29], clip))
    assert part.frames == 29
    assert torch.equal(part.levels, whole.levels)
