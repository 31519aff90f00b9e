from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch

from unstatic.core.shapes import Size
from unstatic.media.frames import (
    contact_sheet,
    fit,
    fit_mask,
    grid,
    nearest_shape,
    pick_evenly,
    retime,
    share_cut,
    shown_numbers,
    strip,
    to_frames,
    to_tensor,
)

RED, BLUE = (255, 0, 0), (0, 0, 255)


def plain_frames(num_frames: int, height: int, width: int) -> np.ndarray:
    """Return frames whose every pixel is the number of the frame."""
    numbers = np.arange(num_frames, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(numbers, (num_frames, height, width, 3)).copy()


def test_every_level_survives_the_round_trip():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    video = to_tensor(levels)
    assert (video.min(), video.max()) == (-1, 1)
    assert video.shape == (3, 1, 16, 16)
    np.testing.assert_array_equal(to_frames(video), levels)


def test_axes_and_channels_keep_their_places(make_frames: Callable[..., np.ndarray]):
    frames = make_frames(2, width=6, height=4)
    video = to_tensor(np.stack([frames, frames[::-1]]))
    assert video.shape == (2, 3, 2, 4, 6)
    assert video[0, 0, 1, 2, 3] == pytest.approx(frames[1, 2, 3, 0] / 127.5 - 1)
    np.testing.assert_array_equal(to_frames(video[1]), frames[::-1])


def test_values_outside_are_clipped_and_bfloat16_is_accepted():
    video = torch.tensor([-9.0, 0.0, 9.0], dtype=torch.bfloat16).expand(1, 1, 1, 3)
    assert to_frames(video).ravel().tolist() == [0, 128, 255]


def test_fitting_fills_the_size_and_cuts_around_the_centre():
    wide = np.zeros((1, 10, 40, 3), np.uint8)
    wide[:, :, 15:25] = 255
    fitted = fit(wide, Size(20, 20))
    assert fitted.shape == (1, 20, 20, 3)
    assert fitted.min() > 200
    np.testing.assert_array_equal(fit(wide, Size(40, 10)), wide)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 3), (3, 7), (64, 64)])
def test_fitting_accepts_every_shape(width: int, height: int):
    assert fit(np.zeros((2, 5, 3, 3), np.uint8), Size(width, height)).shape == (2, height, width, 3)


def test_fitting_blends_what_it_makes_smaller():
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 255
    fitted = fit(stripes, Size(8, 8)).astype(int)
    assert np.abs(fitted[:, 1:-1, 1:-1] - 128).max() < 16


def test_fitting_a_ribbon_needs_no_more_memory_than_its_middle():
    ribbon = np.zeros((1, 16, 1_000_000, 3), np.uint8)
    ribbon[:, :, 500_000:] = 255
    fitted = fit(ribbon, Size(1024, 1024))  # scaled as a whole it would have 64 million columns
    assert (fitted[:, :, :300].max(), fitted[:, :, 724:].min()) == (0, 255)


def test_the_share_that_is_cut_is_that_of_the_lost_pixels():
    assert share_cut(Size(64, 64), Size(640, 640)) == pytest.approx(0)
    assert share_cut(Size(200, 100), Size(50, 50)) == pytest.approx(0.5)
    assert share_cut(Size(100, 200), Size(80, 40)) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("picture", "nearest"),
    [
        ("64x64", "64x64"),
        ("4000x3000", "80x48"),
        ("3000x4000", "48x80"),
        ("90x80", "64x64"),
        ("9x1", "80x48"),
    ],
)
def test_the_nearest_shape_cuts_the_least(picture: str, nearest: str):
    sizes = [Size(64, 64), Size(80, 48), Size(48, 80)]
    assert str(nearest_shape(Size.parse(picture), sizes)) == nearest


@pytest.mark.parametrize("wanted", [1, 5, 16, 24])
def test_the_frames_after_the_last_one_shown_are_not_needed(wanted: int):
    frames = plain_frames(64, 1, 1)
    shown = shown_numbers(0, 64, 16, wanted)
    assert retime(frames, 0, 16, wanted)[:, 0, 0, 0].tolist() == shown
    assert shown_numbers(0, shown[-1] + 1, 16, wanted) == shown


@pytest.mark.parametrize(
    ("fps", "wanted", "shown"),
    [
        (16, 16, [0, 1, 2, 3, 4, 5, 6, 7]),
        (16, 8, [0, 2, 4, 6]),
        (16, 32, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]),
        (16, 24, [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]),
        (16, Fraction(10), [0, 1, 3, 4, 6]),
    ],
)
@pytest.mark.parametrize("stretch", [1, 3, 8])
def test_another_frame_rate_repeats_or_leaves_out_frames_whatever_the_stretches(
    fps: int, wanted: Fraction | int, shown: list[int], stretch: int
):
    frames = plain_frames(8, 1, 1)
    pieces = [retime(frames[at : at + stretch], at, fps, wanted) for at in range(0, 8, stretch)]
    assert np.concatenate(pieces)[:, 0, 0, 0].tolist() == shown


def test_frames_are_picked_evenly_with_both_ends():
    frames = plain_frames(9, 1, 1)
    assert pick_evenly(frames, 3).ravel()[::3].tolist() == [0, 4, 8]
    assert len(pick_evenly(frames, 20)) == 9


def test_a_mask_is_cut_where_the_picture_is():
    mask = np.zeros((32, 64), bool)
    mask[:, :16] = True
    assert not fit_mask(mask, Size(32, 32)).any()
    assert fit_mask(~mask, Size(32, 32)).all()


@pytest.mark.parametrize("side", [1080, 100, 33, 32, 7])
def test_every_pixel_of_a_mask_is_seen_wherever_a_part_of_it_comes(side: int):
    for at in np.random.default_rng(0).integers(0, side, (20, 2)):
        mask = np.zeros((side, side), bool)
        mask[tuple(at)] = True
        for seen, place in zip(fit_mask(mask, Size(32, 32)).nonzero(), at, strict=True):
            assert seen.min() == 32 * place // side
            assert seen.max() == (32 * (place + 1) - 1) // side


def test_a_grid_reads_like_text_and_pads_with_black():
    picture = grid(plain_frames(4, 2, 1)[1:], columns=2)
    assert picture[:, :, 0].tolist() == [[1, 2], [1, 2], [3, 0], [3, 0]]


def test_a_strip_is_one_row():
    assert strip(plain_frames(20, 4, 5), count=8).shape == (4, 40, 3)
    assert strip(plain_frames(3, 4, 5), count=8).shape == (4, 15, 3)


def test_a_contact_sheet_shows_every_clip_and_its_caption(make_frames: Callable[..., np.ndarray]):
    clips = [make_frames(4), make_frames(1), make_frames(9, width=32, height=32)]
    sheet = contact_sheet(clips, ["a red disc moves", "a still", "small"], columns=2, frames_per_clip=4)
    width = 4 * 64 + 8
    assert sheet.shape[1] == 2 * width
    np.testing.assert_array_equal(sheet[4:68, 4:260], strip(clips[0], 4))
    np.testing.assert_array_equal(sheet[4:68, width + 4 : width + 68], clips[1][0])
    assert (sheet[68:86, :width] < 128).any(), "the caption is missing"
    assert (sheet[-50:, width:] == 255).all(), "an empty place is not white"


def test_long_captions_make_the_cell_higher_not_wider(make_frames: Callable[..., np.ndarray]):
    short, long = (contact_sheet([make_frames(1)], [text]) for text in ("a ball", "a red ball " * 20))
    assert long.shape[0] > short.shape[0]
    assert long.shape[1] == short.shape[1]
