import numpy as np
import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.evals.parser import (
    PARSER_WEIGHTS,
    VOCABULARY,
    ParserConfig,
    ParserNet,
    cut_out,
    fitted,
    load_parser,
    pair_numbers,
    place,
    smaller,
    under,
    with_change,
)
from unstatic.evals.prompts import first_light
from unstatic.world.clip import make_clip


@pytest.fixture(scope="module")
def parser():
    return load_parser()


@pytest.mark.slow
def test_renders_are_read_right(parser):
    prompts = first_light(30).prompts
    readings = [parser.read(make_clip(prompt.spec).frames) for prompt in prompts]
    for atom in ("colour", "shape", "event"):
        right = [
            getattr(reading, atom) == getattr(prompt, atom)
            for reading, prompt in zip(readings, prompts, strict=True)
        ]
        assert np.mean(right) >= 0.9, atom
    ways = [(reading.direction, prompt.direction) for reading, prompt in zip(readings, prompts, strict=True)]
    assert np.mean([read == asked for read, asked in ways if asked]) >= 0.9


@pytest.mark.parametrize("shape", [(65, 64, 64), (64, 128, 128), (17, 48, 80), (2, 64, 64), (1, 40, 40)])
def test_any_size_and_length_is_read(parser, shape: tuple[int, int, int]):
    frames = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    reading = parser.read(frames)
    for atom, words in VOCABULARY.items():
        assert getattr(reading, atom) in words
        assert 1 / len(words) <= reading.confidences[atom] <= 1


def test_a_mirrored_clip_goes_the_other_way(parser, make_frames):
    frames = make_frames(33)  # a red disc that moves right
    assert parser.read(frames).direction == "right"
    assert parser.read(np.ascontiguousarray(frames[:, :, ::-1])).direction == "left"


def test_pairs_of_neighbours_are_looked_at():
    assert pair_numbers(8) == [0, 1, 3, 4, 6, 7]
    assert pair_numbers(1) == [0, 0]
    video = torch.arange(8.0).expand(1, 3, 1, 1, 8).movedim(-1, 2)
    moments = with_change(video[:, :, pair_numbers(8)])
    assert moments[0, :, :, 0, 0].tolist() == 3 * [[1.0, 4.0, 7.0]] + 3 * [[1.0, 1.0, 1.0]]


def test_a_smaller_video_is_the_mean_of_its_pixels():
    video = torch.randn(1, 3, 2, 4, 6)
    assert smaller(video).shape == (1, 3, 2, 2, 3)
    assert smaller(video)[0, 1, 1, 0, 2] == pytest.approx(video[0, 1, 1, :2, 4:].mean().item(), abs=1e-6)


def test_pictures_are_brought_to_the_size_of_training():
    assert fitted(np.zeros((2, 128, 128, 3), np.uint8)).shape == (3, 2, 64, 64)
    assert fitted(np.zeros((2, 48, 80, 3), np.uint8)).shape == (3, 2, 48, 80)
    assert fitted(np.full((1, 64, 64, 3), 255, np.uint8)).unique().tolist() == [1.0]


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


def test_the_network_builds_without_memory():
    with torch.device("meta"):
        assert sum(weight.numel() for weight in ParserNet(ParserConfig()).parameters()) < 750_000
    assert PARSER_WEIGHTS.stat().st_size <= 1_500_000


def test_a_missing_parser_is_named(tmp_path):
    with pytest.raises(InputError, match="no weights at"):
        load_parser(tmp_path / "parser.safetensors")
