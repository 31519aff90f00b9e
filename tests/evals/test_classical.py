import numpy as np
import pytest
import torch

from unstatic.core.errors import InputError
from unstatic.evals.classical import (
    CLASSICAL_TABLES,
    VOCABULARY,
    ClassicalParser,
    load_classical,
    scene_of,
)
from unstatic.evals.classical_pixels import PIXELS, moments


@pytest.fixture(scope="module")
def parser() -> ClassicalParser:
    return load_classical()


@pytest.mark.parametrize("shape", [(65, 64, 64), (17, 128, 128), (9, 48, 80), (2, 80, 48), (1, 40, 40)])
def test_any_size_and_length_is_read(parser: ClassicalParser, shape: tuple[int, int, int]):
    frames = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    reading = parser.read(frames)
    for atom in ("event", "direction", "camera"):
        assert getattr(reading, atom) in VOCABULARY[atom]
        assert 1 / len(VOCABULARY[atom]) - 1e-3 <= reading.confidences[atom] <= 1
    assert reading.objects or reading.animals


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_empty_clip_is_read(parser: ClassicalParser, grey: int):
    reading = parser.read(np.full((65, 64, 64, 3), grey, np.uint8))
    assert len(reading.objects) <= 2


def test_things_are_found_by_colours_that_differ(make_frames):
    """A red disc, and a blue square that is added to it, in chances that know each pixel's colour."""
    frames = make_frames(33)
    frames[:, 8:20, 4:16] = (20, 60, 230)
    pictures = moments(frames)
    red, blue = (pictures.now[:, 0] > 0.8).float(), (pictures.now[:, 2] > 0.88).float()
    chances = torch.zeros(len(red), len(PIXELS), 64, 64)
    chances[:, PIXELS.index("red")], chances[:, PIXELS.index("blue")] = red, blue
    chances[:, 0] = 1 - red - blue
    scene = scene_of(pictures, chances)
    assert scene.animal.pixels == 0
    for place in (red, blue):
        assert sum(bool((each.cover * place).sum() > 0.9 * place.sum()) for each in scene.objects) == 1
    (disc,) = (each for each in scene.objects if (each.cover * blue).sum() == 0)
    assert disc.boxes.x.diff().mean() == pytest.approx(32 / 21, abs=0.2)
    assert scene.facts.isfinite().all()


def test_the_tables_are_small():
    assert CLASSICAL_TABLES.stat().st_size <= 2_000_000


def test_missing_tables_are_named(tmp_path):
    with pytest.raises(InputError, match="no tables at"):
        load_classical(tmp_path / "tables.safetensors")


@pytest.mark.slow
def test_renders_are_read_right(parser: ClassicalParser, development_clips, agreed):
    assert agreed(parser, development_clips) >= 0.8
