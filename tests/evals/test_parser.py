import numpy as np
import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.evals.parser import (
    PARSER_WEIGHTS,
    VOCABULARY,
    Parser,
    alike,
    both_ways,
    cover_of,
    fitted,
    found_colours,
    load_parser,
    pair_numbers,
    together,
    views,
)
from unstatic.evals.parser_network import LOOKS, Motion


@pytest.fixture(scope="module")
def parser() -> Parser:
    return load_parser()


@pytest.mark.slow
def test_renders_are_read_right(parser, development_clips, agreed):
    assert agreed(parser, development_clips) >= 0.8


@pytest.mark.parametrize("shape", [(65, 64, 64), (64, 128, 128), (17, 48, 80), (2, 64, 64), (1, 40, 40)])
def test_any_size_and_length_is_read(parser, shape: tuple[int, int, int]):
    frames = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    reading = parser.read(frames)
    for atom, words in VOCABULARY.items():
        assert getattr(reading, atom) in words
        assert 1 / len(words) - 1e-3 <= reading.confidences[atom] <= 1
    assert reading.objects or reading.animals


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_empty_clip_is_read(parser, grey: int):
    assert len(parser.read(np.full((65, 64, 64, 3), grey, np.uint8)).objects) <= 2


def looks_of(**cells: int) -> torch.Tensor:
    """Return chances for two pictures in which each of LOOKS fills so many of 64 cells for sure."""
    numbers = [LOOKS.index(word.replace("_", " ")) for word, count in cells.items() for _ in range(count)]
    numbers += [0] * (64 - len(numbers))
    chances = torch.nn.functional.one_hot(torch.tensor(numbers), len(LOOKS)).float()
    return chances.T.reshape(1, len(LOOKS), 8, 8).repeat(2, 1, 1, 1)


EVEN = torch.ones(2, 1, 8, 8)


def test_similar_colours_are_one_object():
    assert found_colours(looks_of(red=6, orange=5, blue=4), EVEN, always=True) == ["red", "blue"]
    assert found_colours(looks_of(red=6, orange=5), EVEN, always=True) == ["red"]
    assert {"red", "orange", "brown"} <= set(alike("red"))
    assert cover_of(looks_of(red=6, orange=5), alike("red")).sum() == 2 * 11


def test_what_acts_is_named_first():
    looks = looks_of(red=9, blue=4)
    acting = EVEN + 4 * looks[:, [LOOKS.index("blue")]]
    assert found_colours(looks, acting, always=True) == ["blue", "red"]


def test_an_event_of_objects_has_an_object():
    nothing = looks_of()
    assert len(found_colours(nothing, EVEN, always=True)) == 1
    assert found_colours(nothing, EVEN, always=False) == []


def test_a_mirrored_clip_goes_the_other_way(parser, make_frames):
    frames = make_frames(33)  # a red disc that moves right
    assert parser.read(frames).direction == "right"
    assert parser.read(np.ascontiguousarray(frames[:, :, ::-1])).direction == "left"


def test_pairs_of_neighbours_are_looked_at():
    assert pair_numbers(8) == [0, 1, 3, 4, 6, 7]
    assert pair_numbers(8, 1) == [1, 2, 4, 5]
    assert pair_numbers(1) == pair_numbers(1, 1) == [0, 0]


def test_views_are_a_clip_from_its_first_frames_on_and_their_mirror_images():
    frames = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    first, second, *mirrored = views(frames)
    assert torch.equal(first, fitted(frames[[0, 1, 3, 4]]))
    assert torch.equal(second, fitted(frames[[1, 2, 4, 5]]))
    assert all(torch.equal(a, b.flip(3)) for a, b in zip(mirrored, (first, second), strict=True))


def test_mirror_images_are_turned_round_before_they_are_averaged():
    direction = torch.tensor([[3.0, 1.0, 0.0, 0.0], [1.0, 3.0, 0.0, 0.0]])
    event, camera = torch.zeros(2, 21), torch.zeros(2, 8)
    found = together(Motion(event, direction, camera, torch.zeros(2, 1, 4, 4)))
    assert found.direction.tolist() == [[3.0, 1.0, 0.0, 0.0]]
    maps = torch.arange(4.0).view(1, 1, 1, 4)
    assert torch.equal(both_ways(torch.cat([maps, maps.flip(3)])), maps)


def test_pictures_are_brought_to_the_size_of_training():
    assert fitted(np.zeros((2, 128, 128, 3), np.uint8)).shape == (3, 2, 64, 64)
    assert fitted(np.zeros((2, 48, 80, 3), np.uint8)).shape == (3, 2, 48, 80)
    assert fitted(np.full((1, 64, 64, 3), 255, np.uint8)).unique().tolist() == [1.0]


def test_the_weights_are_small():
    assert PARSER_WEIGHTS.stat().st_size <= 6_000_000


def test_a_missing_parser_is_named(tmp_path):
    with pytest.raises(InputError, match="no weights at"):
        load_parser(tmp_path / "parser.safetensors")
