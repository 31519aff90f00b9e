import numpy as np
import pytest
import torch

from unstatic.evals.parser_network import (
    ParserConfig,
    ParserNet,
    cut_out,
    place,
    smaller,
    sure,
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
        assert sum(weight.numel() for weight in ParserNet(ParserConfig()).parameters()) < 750_000


@torch.no_grad()
def test_shapes_of_answers(network: ParserNet):
    found = network.find(torch.randn(5, 3, 48, 80))
    assert (found.colour.shape, found.mask.shape) == ((5, 12), (5, 1, 12, 20))
    assert network.look(torch.randn(5, 3, 48, 80), sure(found.mask)).shape == (5, 6)
    motion = network.watch(torch.randn(2, 3, 14, 24, 40))
    assert (motion.event.shape, motion.direction.shape, motion.mask.shape) == ((2, 12), (2, 4), (2, 7, 6, 10))


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other(network: ParserNet):
    pairs = torch.randn(3, 3, 8, 32, 32)
    together, alone = network.watch(pairs), network.watch(pairs[1:2])
    assert torch.allclose(together.event[1:2], alone.event, atol=1e-4)
    pictures, cover = torch.randn(3, 3, 64, 64), torch.rand(3, 1, 16, 16)
    assert torch.allclose(network.look(pictures, cover)[2:], network.look(pictures[2:], cover[2:]), atol=1e-4)


@torch.no_grad()
def test_the_order_of_moments_matters_for_motion_alone(network: ParserNet):
    pairs = torch.randn(1, 3, 8, 32, 32)
    backwards = pairs.unflatten(2, (4, 2)).flip(2).flatten(2, 3)
    assert not torch.allclose(network.watch(pairs).event, network.watch(backwards).event, atol=1e-4)


def test_a_moment_is_a_frame_with_its_change():
    pairs = torch.tensor([0.0, 1.0, 3.0, 5.0]).expand(1, 3, 1, 1, 4).movedim(-1, 2)
    assert with_change(pairs)[0, :, :, 0, 0].tolist() == 3 * [[1.0, 5.0]] + 3 * [[1.0, 2.0]]


def test_one_sure_place_outweighs_many_doubtful_ones():
    logits = torch.full((1, 1, 10, 10), -3.0)
    logits[..., 5, 5] = 5.0
    weight = sure(logits)
    assert weight[..., 5, 5].item() > 0.4 * weight.sum().item() > 2 * logits.sigmoid()[..., 0, 0].item()


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
