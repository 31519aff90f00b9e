"""Tracks: a thing is found where it is, and points go where the picture goes."""

import numpy as np
import torch

from unstatic.evals.classical import load_classical
from unstatic.evals.physics import rank_error
from unstatic.evals.prompts import PHYSICS, load_suite
from unstatic.evals.tracks import CORNERS, corners, follow_points, track_hero
from unstatic.world.clip import make_clip


def test_a_thing_is_followed_to_less_than_a_pixel() -> None:
    clip = make_clip(load_suite(PHYSICS).prompts[1].spec, enlarge=2)
    track = track_hero(clip.frames, load_classical().tables)
    rows, columns = np.mgrid[: clip.ids.shape[1], : clip.ids.shape[2]] / 2 - 0.25
    thing = clip.ids == 1
    count = thing.sum((1, 2))
    for found, place in ((track.boxes.x, columns), (track.boxes.y, rows)):
        real = (thing * place).sum((1, 2)) / count
        assert np.median(np.abs(found.numpy() - real)) < 1
    assert 4 * track.cover.sum() / count.sum() > 0.7


def texture(height: int = 96, width: int = 96) -> np.ndarray:
    source = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 3, 20, 20), generator=source)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (fine[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)


def test_points_go_where_the_picture_goes() -> None:
    picture = texture(96, 140)
    frames = np.stack([picture[:, 2 * time : 2 * time + 96] for time in range(9)])
    points = follow_points(frames, 0, 8)
    assert points.shape[1] >= 10
    moved = points - points[:1]
    wanted = torch.arange(9.0)[:, None] * -2
    assert (moved[..., 0] - wanted).abs().max() < 0.3
    assert moved[..., 1].abs().max() < 0.3
    assert rank_error(points, 3) < 0.1


def test_points_that_look_different_at_the_end_are_left_out() -> None:
    frames = np.stack([texture(), texture()[::-1].copy()])
    assert follow_points(frames, 0, 1).shape[1] < CORNERS / 5


def test_a_flat_picture_has_no_corners_and_others_no_more_than_can_be_followed() -> None:
    assert len(corners(torch.full((64, 64), 0.5))) == 0
    noise = torch.rand((200, 200), generator=torch.Generator().manual_seed(0))
    places = corners(noise)
    assert len(places) == CORNERS
    assert len({(x, y) for x, y in places.tolist()}) == CORNERS


def test_points_that_move_each_their_own_way_are_not_rigid() -> None:
    source = torch.Generator().manual_seed(0)
    start, ways = torch.rand((1, 30, 2), generator=source) * 90, torch.randn((13, 30, 2), generator=source)
    assert rank_error(start + ways.cumsum(0), 3) > 0.5
