import pytest
import torch
from spoil import (
    add_noise,
    cosine_basis,
    leave_ghosts,
    lose_resolution,
    quantise_blocks,
    recolour,
    spoil,
    wobble,
)

from unstatic.core.seeds import generator


def test_spoiled_videos_stay_near_and_repeat():
    video = torch.rand(2, 3, 8, 32, 32, generator=generator("video")) - 0.5
    for seed in range(8):
        spoiled = spoil(video, generator("spoil", seed))
        assert torch.equal(spoiled, spoil(video, generator("spoil", seed)))
        assert spoiled.shape == video.shape
        assert 0 < (spoiled - video).abs().mean() < 0.35


def test_quantising_is_exact_where_it_should_be():
    basis = cosine_basis(8)
    assert torch.allclose(basis @ basis.T, torch.eye(8), atol=1e-6)
    flat = torch.full((1, 3, 1, 8, 8), 0.5)
    assert (quantise_blocks(flat, 0.0) - flat).abs().max() < 0.02


def test_resolution_is_lost_and_nothing_else():
    flat = torch.full((1, 3, 2, 32, 48), 0.25)
    assert torch.allclose(lose_resolution(flat, 0.7), flat, atol=1e-6)
    stripes = torch.ones(1, 3, 2, 32, 32) - 2 * (torch.arange(32) % 2)
    assert lose_resolution(stripes, 1.0).abs().mean() < 0.1
    assert lose_resolution(stripes, 0.0).abs().mean() > 0.9


def test_places_are_pushed_a_little_and_flat_pictures_stay():
    flat = torch.full((1, 3, 8, 64, 64), 0.25)
    assert torch.allclose(wobble(flat, 1.0, generator("wobble")), flat, atol=1e-6)
    slope = torch.arange(64.0).expand(2, 3, 8, 64, 64) / 64
    assert torch.allclose(wobble(slope, 0.0, generator("wobble")), slope, atol=1e-6)
    pushed = (wobble(slope, 1.0, generator("wobble")) - slope)[..., 4:-4].abs() * 64
    assert 0.3 < pushed.mean() < 2
    assert pushed.max() < 6
    assert (pushed[:, :, 1:] - pushed[:, :, :-1]).abs().mean() < pushed.mean()


def test_ghosts_show_what_was_there_before_in_some_places():
    frames = torch.arange(16.0).reshape(1, 1, 16, 1, 1).expand(1, 3, 16, 64, 64)
    assert torch.equal(leave_ghosts(frames, 0.0, generator("ghosts")).round(), frames)
    left = frames - leave_ghosts(frames, 1.0, generator("ghosts"))
    assert (left >= -1e-6).all()
    share = (left[:, :, 8:] > 0.1).float().mean()
    assert 0.1 < share < 0.9


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0])
def test_noise_has_the_size_that_is_asked_for(amount: float):
    noise = add_noise(torch.zeros(2, 3, 8, 64, 64), amount, generator("noise"))
    assert noise.std() == pytest.approx(0.08 * amount * 2**0.5, rel=0.25, abs=1e-9)


def test_false_colours_are_the_same_everywhere_in_a_picture():
    pictures = torch.rand(64, 3, 4, 4, generator=generator("pictures")) - 0.5
    coloured = recolour(pictures, generator("colours"))
    negatives = 0
    for before, after in zip(pictures.flatten(2), coloured.flatten(2), strict=True):
        ratios = after[:, None] / before[None]  # every channel is a multiple of one of the old ones
        constant = ratios.std(2) < 1e-3
        assert constant.sum(1).tolist() == [1, 1, 1]
        assert constant.sum(0).tolist() == [1, 1, 1]
        factors = ratios.mean(2)[constant]
        assert len(set(factors.sign().tolist())) == 1
        assert (factors.abs() >= 0.6).all()
        assert (factors.abs() <= 1.2).all()
        negatives += int(factors[0] < 0)
    assert 6 <= negatives <= 28
