import numpy as np
import pytest
import torch

from unstatic.evals.classical_pixels import (
    MOMENTS,
    box,
    colour_habits,
    context_facts,
    moment_numbers,
    moments,
    pixel_facts,
    reading_size,
)
from unstatic.evals.classical_pixels import PIXELS as WORDS


def test_moments_are_spread_over_the_clip():
    numbers = moment_numbers(65)
    assert len(numbers) == 2 * MOMENTS
    assert (numbers[MOMENTS:] - numbers[:MOMENTS]).unique().tolist() == [1]
    assert (numbers.min(), numbers.max()) == (0, 64)
    assert moment_numbers(1).unique().tolist() == [0]


@pytest.mark.parametrize(
    ("given", "read"),
    [((64, 64), (64, 64)), ((128, 128), (64, 64)), ((48, 80), (50, 82)), ((9, 900), (16, 640))],
)
def test_pictures_are_read_at_about_one_size(given: tuple[int, int], read: tuple[int, int]):
    assert reading_size(*given) == read
    assert moments(np.zeros((2, *given, 3), np.uint8)).now.shape == (MOMENTS, 3, *read)


def test_a_box_means_what_is_inside_the_picture():
    picture = torch.arange(16.0).view(1, 1, 4, 4)
    assert box(picture, 3)[0, 0, 0, 0] == pytest.approx((0 + 1 + 4 + 5) / 4)
    assert box(picture, 3)[0, 0, 1, 1] == pytest.approx(picture[0, 0, :3, :3].mean().item())
    assert torch.allclose(box(torch.full((1, 2, 6, 5), 0.3), 9), torch.tensor(0.3))


def test_a_rare_colour_in_the_middle_stands_out():
    video = torch.full((1, 3, 20, 20), 0.9)
    video[:, 0, 8:12, 8:12] = 0.1
    common, border, spread_x, spread_y = colour_habits(video)[0].unbind(0)
    assert common[10, 10] < common[0, 0]
    assert border[10, 10] == 0 < border[0, 0]
    assert spread_x[10, 10] < 0.2 < spread_x[0, 0]
    assert spread_y[10, 10] == pytest.approx(spread_x[10, 10].item(), abs=1e-4)


@pytest.mark.parametrize("frames", [np.zeros((1, 8, 8, 3), np.uint8), np.full((3, 70, 20, 3), 255, np.uint8)])
def test_facts_are_always_numbers(frames: np.ndarray):
    video = moments(frames).now
    facts = pixel_facts(video)
    chances = torch.full((len(video), len(WORDS), *video.shape[2:]), 1 / len(WORDS))
    assert context_facts(video, facts, chances).isfinite().all()
