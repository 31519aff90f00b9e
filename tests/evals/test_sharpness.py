import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from unstatic.evals.reconstruction import held_out_clips
from unstatic.evals.sharpness import STRONG_CONTRAST, edge_width, edge_width_ratio


@pytest.fixture(scope="module")
def renders() -> list[np.ndarray]:
    return [clip.frames[::16] for clip in held_out_clips(3)]


def step(low: int = 50, high: int = 200, side: int = 48) -> np.ndarray:
    frames = np.full((2, side, side + 16, 3), low, np.uint8)
    frames[:, :, side // 2 :] = high
    return frames


def blurred(frames: np.ndarray, pixels: float) -> np.ndarray:
    return np.round(gaussian_filter(frames.astype(np.float64), (0, pixels, pixels, 0))).astype(np.uint8)


def noisy(frames: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(scale=deviation, size=frames.shape)
    return np.clip(np.round(frames + noise), 0, 255).astype(np.uint8)


def test_a_step_is_one_pixel_wide():
    assert edge_width(step()) == pytest.approx(1.0)
    assert edge_width(step(200, 50).transpose(0, 2, 1, 3)) == pytest.approx(1.0)


@pytest.mark.parametrize("pixels", [0.8, 1.0, 1.5, 2.0])
def test_a_blurred_step_is_as_wide_as_the_formula(pixels: float):
    expected = math.sqrt(2 * math.pi) * pixels
    assert edge_width(blurred(step(), pixels)) == pytest.approx(expected, rel=0.04)
    assert edge_width_ratio(step(), blurred(step(), pixels)) == pytest.approx(expected, rel=0.04)


def test_width_does_not_depend_on_contrast():
    assert edge_width(blurred(step(90, 160), 1.0)) == pytest.approx(
        edge_width(blurred(step(), 1.0)), rel=0.03
    )


def test_weak_edges_do_not_count():
    assert math.isnan(edge_width(step(100, 100 + int(STRONG_CONTRAST) - 1)))
    assert math.isnan(edge_width_ratio(step(100, 110), step(100, 110)))


def test_identity_is_one_and_more_blur_is_more(renders: list[np.ndarray]):
    degrees = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
    for frames in renders:
        ratios = [edge_width_ratio(frames, blurred(frames, pixels)) for pixels in degrees]
        widths = [edge_width(blurred(frames, pixels)) for pixels in degrees]
        assert ratios[0] == pytest.approx(1.0)
        assert ratios == sorted(ratios)
        assert widths == sorted(widths)
        assert ratios[3] > 1.4


def test_sharpening_is_less_than_one(renders: list[np.ndarray]):
    soft = blurred(renders[0], 1.0)
    assert edge_width_ratio(soft, renders[0]) < 0.8


@pytest.mark.parametrize("deviation", [2.0, 5.0])
def test_noise_changes_little(renders: list[np.ndarray], deviation: float):
    for frames in renders:
        assert edge_width_ratio(frames, noisy(frames, deviation)) == pytest.approx(1.0, abs=0.06)
        assert edge_width(noisy(frames, deviation)) == pytest.approx(edge_width(frames), rel=0.1)
    soft = [edge_width_ratio(frames, noisy(blurred(frames, 1.0), deviation)) for frames in renders]
    assert min(soft) > 1.35, "noise must not hide blur"


def test_edges_that_are_gone_are_infinitely_wide():
    assert edge_width_ratio(step(), np.full_like(step(), 120)) == math.inf
