import math

import numpy as np
import pytest

from unstatic.evals.reconstruction import FIRST_SEED, SquaredError, held_out_clips, measure_reconstruction


@pytest.fixture(scope="module")
def clips():
    return list(held_out_clips(3))


def test_psnr_is_the_formula():
    # A mean squared error of 1 is 20 log10(255) decibels
    assert SquaredError(12.0, 12).psnr == pytest.approx(48.1308, abs=1e-4)
    assert SquaredError(255.0**2 * 7, 7).psnr == pytest.approx(0.0)
    assert SquaredError(0.0, 5).psnr == math.inf
    assert math.isnan(SquaredError(0.0, 0).psnr)


def test_an_error_of_known_size_is_measured_everywhere(clips):
    result = measure_reconstruction(
        clips, lambda frames: np.where(frames < 128, frames + 10, frames - 10).astype(np.uint8)
    )
    expected = 20 * math.log10(255 / 10)
    for psnr in (result.whole, result.inside):
        assert (psnr.pooled, psnr.per_clip) == pytest.approx((expected, expected))


def test_an_error_inside_the_objects_weighs_more_there(clips):
    masks = {clip.frames.tobytes(): (clip.ids > 0) & (clip.ids != 255) for clip in clips}

    def spoil_objects(frames):
        return np.where(masks[frames.tobytes()][..., None], frames ^ 16, frames).astype(np.uint8)

    result = measure_reconstruction(clips, spoil_objects)
    assert result.inside.pooled == pytest.approx(20 * math.log10(255 / 16))
    assert result.whole.pooled > result.inside.pooled + 3


def test_the_two_averages_differ_when_clips_do(clips):
    spoiled = iter([0, 1, 64])
    result = measure_reconstruction(clips, lambda frames: frames ^ np.uint8(next(spoiled)))
    assert result.whole.per_clip == math.inf
    shares = np.array([0.0, 1.0, 64.0**2]) @ np.array([clip.frames.size for clip in clips])
    pooled = 10 * math.log10(255**2 * sum(clip.frames.size for clip in clips) / shares)
    assert result.whole.pooled == pytest.approx(pooled)


def test_frames_left_out_at_the_end_do_not_count(clips):
    result = measure_reconstruction(clips[:1], lambda frames: frames[:13])
    assert result.clips[0].whole == SquaredError(0.0, clips[0].frames[:13].size)


def test_held_out_clips_are_deterministic_and_apart_from_training(clips):
    assert [clip.spec.seed for clip in clips] == [FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2]
    assert [(clip.spec.width, clip.spec.height) for clip in clips] == [(64, 64), (80, 48), (48, 80)]
    again = next(held_out_clips(1))
    assert next(held_out_clips(1, enlarge=2)).frames.shape == (65, 128, 128, 3)
    assert again.spec == clips[0].spec
    assert np.array_equal(again.frames, clips[0].frames)


def test_the_table_says_both_averages(clips):
    table = measure_reconstruction(clips, lambda frames: frames ^ np.uint8(1)).to_markdown()
    assert "| inside objects | 48.13 dB | 48.13 dB |" in table


def test_sharpness_is_always_measured_and_lpips_when_asked(clips):
    result = measure_reconstruction(clips, lambda frames: frames)
    assert (result.edge_width, result.lpips) == (pytest.approx(1.0), None)
    assert "| width of edges, that of the render = 1 | 1.00 |" in result.to_markdown()
    assert "| LPIPS (AlexNet), 0 = equal | not computed |" in result.to_markdown()

    distances = iter([0.1, 0.2, 0.6])
    asked = measure_reconstruction(clips, lambda frames: frames[:13], lpips=lambda *_: next(distances))
    assert [clip.lpips for clip in asked.clips] == [0.1, 0.2, 0.6]
    assert "| LPIPS (AlexNet), 0 = equal | 0.3000 |" in asked.to_markdown()


def test_soft_pictures_have_wide_edges(clips):
    def soften(frames):
        return ((frames[:, :, :-1].astype(np.uint16) + frames[:, :, 1:]) // 2).astype(np.uint8)

    result = measure_reconstruction(
        clips, lambda frames: np.concatenate([soften(frames), frames[:, :, -1:]], 2)
    )
    assert 1.1 < result.edge_width < 1.6
    assert result.to_json()["edge_width"] == result.edge_width


def test_what_has_no_figure_is_null(clips):
    result = measure_reconstruction(clips[:1], lambda frames: np.full_like(frames, 99))
    facts = result.to_json()
    assert (facts["edge_width"], facts["lpips"], facts["clips"][0]["edge_width"]) == (None, None, None)
