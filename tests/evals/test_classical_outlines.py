import math

import pytest
import torch

from unstatic.evals.classical_outlines import (
    CELLS,
    ORIENTATIONS,
    SIDE,
    boxes_of,
    cut_out,
    looks_of,
    moments_of,
    orientations,
    outline,
    tidied,
)


def rectangle(top: int, bottom: int, left: int, right: int, side: int = 64) -> torch.Tensor:
    cover = torch.zeros(1, side, side)
    cover[:, top:bottom, left:right] = 1.0
    return cover


def test_a_box_has_the_edges_of_what_it_holds():
    boxes = boxes_of(rectangle(10, 30, 40, 50))
    assert (boxes.x.item(), boxes.y.item()) == pytest.approx((44.5, 19.5), abs=0.05)
    assert boxes.right.item() - boxes.left.item() == pytest.approx(10, abs=1)
    assert boxes.bottom.item() - boxes.top.item() == pytest.approx(20, abs=1.5)
    assert boxes.area.item() == pytest.approx(200)


def test_nothing_is_in_the_middle():
    boxes = boxes_of(torch.zeros(1, 64, 64))
    assert (boxes.x.item(), boxes.y.item()) == pytest.approx((31.5, 31.5))


def test_clutter_far_away_is_left_out():
    cover = rectangle(20, 40, 20, 40)
    cover[:, 60:62, 60:62] = 1.0
    assert tidied(cover).sum() == pytest.approx(400)


def test_a_cut_out_does_not_depend_on_place_and_size():
    """A square of 12 pixels and one of 24 elsewhere look the same, but for the smaller one's softer edge."""
    video = torch.zeros(1, 3, 64, 64)
    covers = (rectangle(4, 16, 4, 16), rectangle(30, 54, 36, 60))
    cuts = [cut_out(video, cover, boxes_of(cover)).cover for cover in covers]
    assert cuts[0].shape == (1, SIDE, SIDE)
    assert (cuts[0] - cuts[1]).abs().mean() < 0.08


def test_edges_are_told_by_their_orientation():
    upright = torch.zeros(1, SIDE, SIDE)
    upright[:, :, SIDE // 2 :] = 1.0
    strong = [
        orientations(each, CELLS).view(ORIENTATIONS, -1).sum(1).argmax().item()
        for each in (upright, upright.transpose(1, 2))
    ]
    assert strong == [0, ORIENTATIONS // 2]


def test_a_ring_is_empty_in_its_middle_and_a_disc_is_even():
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij")
    distance = (x**2 + y**2).sqrt()[None]
    disc, ring = (distance < 0.8).float(), ((distance < 0.8) & (distance > 0.5)).float()
    assert outline(disc)[0, :24].std() < 0.1
    assert outline(disc)[0, -8] == pytest.approx(1.0, abs=0.05)
    assert outline(ring)[0, -8] < 0.05


def test_moments_know_lying_from_standing():
    standing = rectangle(2, 22, 9, 15, SIDE)
    lying = standing.transpose(1, 2)
    assert moments_of(standing)[0, 4] < -0.1 < 0.1 < moments_of(lying)[0, 4]
    assert torch.allclose(moments_of(standing)[0, :2], moments_of(lying)[0, :2], atol=1e-3)


def test_looks_of_nothing_are_numbers():
    cover = torch.zeros(2, 32, 48)
    boxes = boxes_of(cover)
    looks = looks_of(cut_out(torch.zeros(2, 3, 32, 48), cover, boxes), boxes, (32, 48))
    assert looks.isfinite().all()
    assert not math.isnan(float(looks.sum()))
