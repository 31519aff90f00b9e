"""Small changes are damped, motion passes, and nothing is ever far from what was decoded."""

import numpy as np
import pytest

from unstatic.media.shimmer import Damper

LEVELS = 8.0


def walk(seed: int, frames: int = 40, spread: int = 6) -> np.ndarray:
    """Return a still picture that trembles."""
    rng = np.random.default_rng(seed)
    still = rng.integers(20, 230, (1, 6, 8, 3))
    return (still + rng.integers(-spread, spread + 1, (frames, 6, 8, 3))).clip(0, 255).astype(np.uint8)


def change(frames: np.ndarray) -> float:
    return float(np.abs(np.diff(frames.astype(int), axis=0)).mean())


def test_what_trembles_becomes_calm():
    given = walk(0, spread=2)
    assert change(Damper(LEVELS).next(given)) < 0.5 * change(given)


def test_what_moves_passes_as_it_is():
    given = np.zeros((12, 6, 12, 3), np.uint8)
    for number in range(12):
        given[number, :, number] = 200
    assert np.array_equal(Damper(LEVELS).next(given), given)


@pytest.mark.parametrize("spread", [1, 3, 6, 40])
def test_no_pixel_is_further_from_what_came_in_than_a_quarter_of_the_levels(spread: int):
    given = walk(1, spread=spread)
    apart = np.abs(Damper(LEVELS).next(given).astype(float) - given)
    assert 0 < apart.max() <= LEVELS / 4 + 0.5


def test_slow_changes_arrive():
    given = np.repeat(np.arange(0, 60, dtype=np.uint8), 4)[:, None, None, None] * np.ones(
        (1, 2, 2, 3), np.uint8
    )
    shown = Damper(LEVELS).next(given)
    assert np.abs(shown[-1].astype(int) - given[-1]).max() <= 2
    assert (np.diff(shown.astype(int), axis=0) >= 0).all()


def test_in_pieces_it_is_the_same():
    given, damper = walk(2), Damper(LEVELS)
    pieces = [damper.next(piece) for piece in np.split(given, [1, 5, 5, 17])]
    assert np.array_equal(np.concatenate(pieces), Damper(LEVELS).next(given))


def test_without_levels_nothing_changes():
    given = walk(3)
    assert np.array_equal(Damper(0.0).next(given), given)
