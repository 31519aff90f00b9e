"""What all engines share."""

import math

import pytest

from unstatic.generate.engine import Pace


@pytest.mark.parametrize(
    ("per_s", "due"),
    [(0, []), (2, [0, 5, 10, 15]), (4, [0, 3, 6, 9, 12, 15, 18]), (math.inf, list(range(20)))],
)
def test_previews_are_due_at_most_so_many_times_a_second(per_s: float, due: list[int]):
    """A step takes 0.1 s here, so what is due between two steps waits for the second."""
    clock = iter([0.0, *(step / 10 for step in range(20))])
    pace = Pace(per_s, clock=lambda: next(clock))
    assert [step for step in range(20) if pace.is_due()] == due
