import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.evals.parser import PARSER_WEIGHTS, VOCABULARY, fitted, load_parser, pair_numbers
from unstatic.evals.prompts import load_suite
from unstatic.world.clip import make_clip


@pytest.fixture(scope="module")
def parser():
    return load_parser()


@pytest.mark.slow
def test_renders_are_read_right(parser):
    prompts = load_suite("first-light").first(30).prompts
    readings = [parser.read(make_clip(prompt.spec).frames) for prompt in prompts]
    for atom in ("colour", "shape", "event"):
        right = [
            getattr(reading, atom) == prompt.asked[atom]
            for reading, prompt in zip(readings, prompts, strict=True)
        ]
        assert np.mean(right) >= 0.9, atom
    ways = [
        (reading.direction, prompt.asked.get("direction"))
        for reading, prompt in zip(readings, prompts, strict=True)
    ]
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


def test_pictures_are_brought_to_the_size_of_training():
    assert fitted(np.zeros((2, 128, 128, 3), np.uint8)).shape == (3, 2, 64, 64)
    assert fitted(np.zeros((2, 48, 80, 3), np.uint8)).shape == (3, 2, 48, 80)
    assert fitted(np.full((1, 64, 64, 3), 255, np.uint8)).unique().tolist() == [1.0]


def test_the_weights_are_small():
    assert PARSER_WEIGHTS.stat().st_size <= 1_500_000


def test_a_missing_parser_is_named(tmp_path):
    with pytest.raises(InputError, match="no weights at"):
        load_parser(tmp_path / "parser.safetensors")
