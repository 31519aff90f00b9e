import numpy as np
import pytest
import torch

from unstatic.evals.parser_network import (
    CURRENT_GRID,
    FRAME_GAIN,
    LONG_SPAN,
    LOOKS,
    ParserConfig,
    ParserNet,
    currents,
    cut_out,
    drift,
    journey_of,
    place,
    sharpened,
    smaller,
    under,
    with_change,
)


@pytest.fixture(scope="module")
def network() -> ParserNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ParserNet(ParserConfig()).eval()


def test_the_network_builds_without_memory():
    with torch.device("meta"):
        assert sum(weight.numel() for weight in ParserNet(ParserConfig()).parameters()) < 2_500_000


@torch.no_grad()
def test_shapes_of_answers(network: ParserNet):
    assert network.find(torch.randn(5, 3, 48, 80)).shape == (5, len(LOOKS), 12, 20)
    seen = network.look(torch.randn(6, 3, 48, 80), torch.rand(6, 1, 12, 20))
    close = network.tell(seen.view(2, 3, -1), torch.ones(2, 3))
    assert (close.shape.shape, close.animal.shape) == ((2, 6), (2, 12))
    motion = network.watch(torch.randn(2, 3, 14, 24, 40), torch.randn(2, 3, 7, 48, 80))
    assert [logits.shape for logits in motion[:3]] == [(2, 21), (2, 4), (2, 8)]
    assert motion.mask.shape == (2, 7, 6, 10)


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other(network: ParserNet):
    pairs, moments = torch.randn(3, 3, 8, 32, 32), torch.randn(3, 3, 4, 64, 64)
    together, alone = network.watch(pairs, moments), network.watch(pairs[1:2], moments[1:2])
    assert torch.allclose(together.event[1:2], alone.event, atol=1e-4)
    pictures, cover = torch.randn(3, 3, 64, 64), torch.rand(3, 1, 16, 16)
    seen, last = network.look(pictures, cover), network.look(pictures[2:], cover[2:])
    assert torch.allclose(seen[2:], last, atol=1e-4)


@torch.no_grad()
def test_what_is_not_seen_well_says_nothing(network: ParserNet):
    seen = torch.rand(1, 3, 128)
    weight = torch.tensor([[1.0, 0.0, 1.0]])
    both, all_three = network.tell(seen[:, [0, 2]], weight[:, [0, 2]]), network.tell(seen, weight)
    assert torch.allclose(both.shape, all_three.shape, atol=1e-5)
    assert network.tell(seen, torch.zeros(1, 3)).animal.isfinite().all()


@torch.no_grad()
def test_the_order_of_moments_matters_for_motion_alone(network: ParserNet):
    pairs, moments = torch.randn(1, 3, 8, 32, 32), torch.randn(1, 3, 4, 64, 64)
    backwards = pairs.unflatten(2, (4, 2)).flip(2).flatten(2, 3)
    there, back = network.watch(pairs, moments), network.watch(backwards, moments.flip(2))
    assert not torch.allclose(there.event, back.event, atol=1e-4)


@torch.no_grad()
def test_where_the_hero_is_may_be_told(network: ParserNet):
    pairs, moments = torch.randn(2, 3, 8, 32, 32), torch.randn(2, 3, 4, 64, 64)
    told = torch.zeros(8, 1, 8, 8)
    told[:4, :, 1:3, 5:7] = 1.0  # only in the first clip
    found, helped = network.watch(pairs, moments), network.watch(pairs, moments, told)
    assert not torch.allclose(found.event[0], helped.event[0], atol=1e-4)
    assert torch.equal(found.event[1], helped.event[1])


def test_a_moment_is_a_frame_with_its_changes():
    pairs = torch.tensor([0.0, 1.0, 3.0, 5.0, 5.0, 5.0, 8.0, 9.0]).expand(1, 3, 4, 4, 8).movedim(-1, 2)
    moments = with_change(pairs)[0, :, :, 1, 1]
    assert moments[0].tolist() == [1, 5, 5, 9]
    assert moments[3].tolist() == [1, 2, 0, 1]
    assert LONG_SPAN == 2
    assert moments[6].tolist() == [0, 4, 4, 4]
    assert moments[9:].tolist() == 4 * [[0, 0, 0, 0]]  # without slopes nothing drifts


def test_drift_is_how_far_edges_moved():
    ramp = torch.arange(8.0).expand(1, 3, 1, 8, 8) / 10  # a tenth a pixel, rising to the right
    moved = ramp - 0.05
    across, down = drift(ramp, moved)[0, :, 0, 4, 2:6]
    assert across.tolist() == pytest.approx([0.5] * 4, rel=0.15)
    assert down.tolist() == [0.0] * 4
    pairs = torch.cat([ramp, moved], dim=2)
    assert with_change(pairs)[0, 9, 0, 4, 4] == pytest.approx(FRAME_GAIN * across[0].item())


def test_currents_are_those_of_the_ground():
    """A pattern drifts by half a pixel a frame, but for a quarter of the picture that stays."""
    steps = torch.arange(32.0)
    frames = [torch.sin((steps[None, :] - 0.5 * t) * 0.7) * 0.5 + steps[:, None] * 0.01 for t in range(2)]
    pairs = torch.stack(frames)[None, None].expand(1, 3, 2, 32, 32).repeat(1, 1, 3, 1, 1)
    drifts = currents(pairs, torch.ones(1, 3, 8, 8))[0, : 3 * CURRENT_GRID**2].view(3, -1)
    assert drifts[0].mean() == pytest.approx(0.5 * FRAME_GAIN, rel=0.2)
    assert drifts[1].abs().mean() < 0.2
    hidden = currents(pairs, torch.zeros(1, 3, 8, 8))[0, : 3 * CURRENT_GRID**2].view(3, -1)
    assert hidden[0].abs().max() == 0


def test_a_journey_is_how_pictures_differ_from_the_middle_one():
    video = torch.arange(9.0).view(1, 1, 9, 1, 1).expand(1, 3, 9, 2, 2)
    assert journey_of(video)[0, ::3, 0, 0].tolist() == [4, -4, -2, 2, 4]


def test_one_sure_place_outweighs_many_doubtful_ones():
    chances = torch.full((1, 1, 10, 10), 0.05)
    chances[..., 5, 5] = 0.99
    weight = sharpened(chances)
    assert weight[..., 5, 5].item() > 0.7 * weight.sum().item()


def test_a_smaller_video_is_the_mean_of_its_pixels():
    video = torch.randn(1, 3, 2, 4, 6)
    assert smaller(video).shape == (1, 3, 2, 2, 3)
    assert smaller(video)[0, 1, 1, 0, 2] == pytest.approx(video[0, 1, 1, :2, 4:].mean().item(), abs=1e-6)


def test_place_knows_centre_and_size():
    cover = torch.zeros(1, 1, 9, 9)
    cover[0, 0, 0, 8] = 1.0
    x, y, size, *spread = place(cover)[0].tolist()
    assert (x, y) == pytest.approx((1.0, -1.0), abs=1e-2)
    assert size == pytest.approx(np.log(1 / 81) / 2 + 2, abs=1e-2)
    assert spread == pytest.approx([0.0, 0.0, 0.0], abs=2e-2)


def test_place_knows_the_spread_of_a_disc():
    """Along x and y a disc reaches as far as the root of four variances."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 65), torch.linspace(-1, 1, 65), indexing="ij")
    disc = ((columns - 0.25) ** 2 + rows**2 < 0.5**2).float()[None, None]
    x, y, _, xx, yy, xy = place(disc)[0].tolist()
    assert (x, y, xx**0.5, yy**0.5, xy) == pytest.approx((0.25, 0.0, 0.5, 0.5, 0.0), abs=0.01)


def test_a_closer_look_centres_what_is_covered():
    picture, cover = torch.full((1, 3, 64, 64), -1.0), torch.zeros(1, 1, 16, 16)
    picture[..., 8:24, 40:56] = 1.0  # a square of 16 pixels, off the centre
    cover[..., 2:6, 10:14] = 1.0
    close = cut_out(picture, cover)
    assert close.shape == (1, 4, 32, 32)
    inside = close[0, 0] > 0
    rows, columns = inside.nonzero().unbind(1)
    assert (rows.float().mean(), columns.float().mean()) == pytest.approx((15.5, 15.5), abs=1.5)
    assert 0.3 < inside.float().mean() < 0.8
    assert (inside == (close[0, 3] > 0.5)).float().mean() > 0.9


def test_only_what_is_under_the_cover_counts():
    features, cover = torch.randn(2, 5, 4, 4), torch.zeros(2, 1, 4, 4)
    cover[:, :, 1, 2] = 1.0
    assert torch.allclose(under(features, cover), features[:, :, 1, 2], atol=5e-3)
