import numpy as np
import pytest

from unstatic.world.camera import project
from unstatic.world.clip import Clip, make_clip
from unstatic.world.mix import FIRST_LIGHT_MIX
from unstatic.world.physics import simulate
from unstatic.world.scenes import sample_scene


@pytest.fixture(scope="module")
def clip() -> Clip:
    spec = sample_scene(0, frames=17, width=80, height=48, mix=FIRST_LIGHT_MIX)
    return make_clip(spec, samples=1)


def test_frames_and_masks_have_the_specs_size(clip: Clip) -> None:
    assert clip.frames.shape == (17, 48, 80, 3)
    assert clip.ids.shape == (17, 48, 80)
    assert clip.frames.dtype == clip.ids.dtype == np.uint8


def test_the_hero_is_drawn_where_it_is(clip: Clip) -> None:
    trajectory = simulate(clip.spec)
    spot = project(trajectory.positions[:, 0], trajectory, aspect=80 / 48)
    for frame, (x, y) in enumerate(zip(spot.x, spot.y, strict=True)):
        if max(abs(x), abs(y)) < 0.8:
            rows, columns = np.nonzero(clip.ids[frame] == 1)
            assert columns.mean() == pytest.approx((x + 1) * 40, abs=3.5)
            assert rows.mean() == pytest.approx((1 - y) * 24, abs=3.5)


def test_equal_specs_give_equal_clips(clip: Clip) -> None:
    again = make_clip(clip.spec, samples=1)
    np.testing.assert_array_equal(again.frames, clip.frames)


def test_an_enlarged_clip_shows_the_same_scene_in_more_pixels(clip: Clip) -> None:
    large = make_clip(clip.spec, samples=4, enlarge=2)
    assert large.frames.shape == (17, 96, 160, 3)
    assert (large.spec.width, large.spec.height) == (160, 96)
    shrunk = large.frames.reshape(17, 48, 2, 80, 2, 3).mean((2, 4))
    assert np.abs(shrunk - clip.frames).mean() < 4.0
