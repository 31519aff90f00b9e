import time

import pytest
import torch
from torch import nn

from unstatic.evals.speed import FilmTimes, Stopwatch


def test_a_column_has_the_median_of_its_clips_and_how_much_film_that_makes() -> None:
    times = FilmTimes(4.0, {"few": [1.0, 9.0, 2.0], "none": []})
    assert times.to_json() == {
        "few": {"seconds_per_clip": 2.0, "film_seconds_per_second": pytest.approx(2.0)}
    }


def test_a_line_says_it_if_anything_was_timed() -> None:
    said = FilmTimes(4.0, {"few": [1.0, 9.0, 2.0], "none": []}).to_markdown()
    assert said == "Median time of a film: few 2.00 s, 2.00 s of film a second."
    assert FilmTimes(4.0).to_markdown() == ""


def test_a_film_counts_for_its_column() -> None:
    times = FilmTimes(4.0)
    for seconds in (1.0, 3.0, 2.0):
        times.add("slow", seconds)
    times.add("few", 0.5)
    assert times.medians == {"slow": 2.0, "few": 0.5}


def test_what_is_timed_stays_as_it_is_and_counts_for_its_column() -> None:
    times = FilmTimes(4.0)
    make = times.timed("slow", lambda number: time.sleep(0.01) or number + 1)
    assert [make(1), make(2)] == [2, 3]
    assert len(times.seconds["slow"]) == 2
    assert min(times.seconds["slow"]) >= 0.01


def test_a_stopwatch_adds_up_and_lets_go():
    first, last = nn.Identity(), nn.Identity()
    watch = Stopwatch(torch.device("cpu"))
    with watch.on(first, last):
        last(first(1))
    before = watch.seconds
    assert before > 0
    assert watch.passes == 1
    last(first(1))
    assert watch.seconds == before
