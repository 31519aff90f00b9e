import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_lengths_are_measured_and_shown(unstatic: Command, tiny_model: Path):
    ran = unstatic("bench", tiny_model, "--seconds", 1)
    assert (ran.code, ran.files) == (0, []), ran.err
    assert "| 1 s, 32x32, 16 a second | " in ran.out
    assert "GFLOP/s" in ran.out
    ran = unstatic("bench", tiny_model, "--seconds", 1, "--seconds", 2, "--json")
    assert [each["film_s"] for each in json.loads(ran.out)] == [1, 2]


def test_a_length_that_the_model_cannot_make_is_refused_before_any_work(unstatic: Command, tiny_model: Path):
    ran = unstatic("bench", tiny_model, "--seconds", 1, "--seconds", 20)
    assert (ran.code, "tiny makes from 0" in ran.err) == (2, True)
    ran = unstatic("bench", tiny_model, "--seconds", 1, "--device", "foo")
    assert (ran.code, "device 'foo' is not available here" in ran.complaint) == (2, True)
    assert "films 0/1" not in ran.err
