"""The simulation that a planner trusts: against formulas, and where the answer is known."""

import math
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).parent.parent.parent / "benchmarks" / "capacity.py"
CAPACITY = runpy.run_path(str(PROGRAM))
ONE_A_MINUTE = np.arange(0.0, 3600.0, 60.0)


def printed(*arguments: str) -> list[list[str]]:
    """Return the rows of the table that a call prints."""
    ran = subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=True)
    rows = [line.strip("| ").split(" | ") for line in ran.stdout.splitlines() if line.startswith("| ")]
    return rows[1:]


def test_it_agrees_with_the_formulas():
    rows = printed("--check")
    assert len(rows) == 8  # four queues, the head of the second table, three losses
    for *_, exact, found in [*rows[:4], *rows[5:]]:
        assert float(found) == pytest.approx(float(exact), rel=0.1)


def test_more_workers_wait_less_and_the_busiest_hour_decides():
    rows = printed("--films", "20000", "--job", "0.8:40:0.4", "--job", "0.2:240:0.4")
    assert len(rows) == 7
    assert [int(row[0]) for row in rows] == sorted(int(row[0]) for row in rows)
    assert rows[0][4].endswith(" h")
    assert rows[-1][4] == "0.0 s"


def test_kinds_of_films_have_their_shares_and_lengths():
    kinds = [CAPACITY["kind"]("3:10:0"), CAPACITY["kind"]("1:100:0")]
    found = CAPACITY["lasting"](np.random.default_rng(0), 40_000, kinds)
    assert found.round(6).max() == 100.0
    assert found.mean() == pytest.approx(0.75 * 10 + 0.25 * 100, rel=0.02)


@pytest.mark.parametrize("peak", [1.0, 2.0, 5.0])
def test_the_busiest_hour_has_its_share(peak: float):
    shares = CAPACITY["hours_of"](peak)
    assert shares.sum() == pytest.approx(1.0)
    assert 24 * shares.max() == pytest.approx(peak, rel=1e-3)


def test_one_worker_that_is_quick_enough_is_enough():
    served = CAPACITY["serve"](ONE_A_MINUTE, np.full(60, 50.0), 8, 1, 0.0, 30.0)
    assert served.waits.max() == 0.0
    assert served.paid == pytest.approx(1.0)


def test_workers_come_after_their_start_and_go_when_there_is_nothing_to_do():
    burst = np.concatenate([np.zeros(4), [5_000.0]])
    served = CAPACITY["serve"](burst, np.full(5, 100.0), 4, 1, 20.0, 30.0)
    assert served.waits.tolist() == [0.0, 20.0, 20.0, 20.0, 0.0]
    # The first is free at 100, so that all but one go at 130; they were paid for while they started
    assert served.paid * 5_100 == pytest.approx(5_100 + 3 * 130)


def test_a_film_whose_worker_is_lost_takes_as_long_as_the_formula_says():
    rng = np.random.default_rng(1)
    found = CAPACITY["with_losses"](rng, np.full(100_000, 10.0), 20.0, 5.0)
    assert found.min() == 10.0
    assert found.mean() == pytest.approx(math.expm1(0.5) * 25.0, rel=0.02)
