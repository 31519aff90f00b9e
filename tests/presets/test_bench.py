"""The benchmark: every length in its own process, and figures that belong together."""

from pathlib import Path

import pytest
import torch
from torch import nn

from unstatic.core.errors import InputError, UnstaticError
from unstatic.presets.bench import Bench, Stopwatch, bench, bench_lengths, facts, table


def test_a_film_is_measured_stage_by_stage(tiny_model: Path):
    found = bench(str(tiny_model), 2.0, "cpu")
    assert found.film_s == 2
    assert 0 < found.first_frame_s <= found.wall_s
    assert 0 < found.transformer_s < found.wall_s
    assert 0 < found.decoder_s < found.wall_s
    assert found.peak_memory_mb > 100
    assert found.machine_gflops > 1


def test_lengths_are_measured_in_processes_of_their_own(tiny_model: Path):
    done: list[int] = []
    found = list(bench_lengths(str(tiny_model), (1.0, 2.0), "cpu", lambda: done.append(1)))
    assert [each.film_s for each in found] == [1, 2]
    assert len(done) == 2
    with pytest.raises(UnstaticError, match="the film of 20 s failed"):
        list(bench_lengths(str(tiny_model), (20.0,)))


def test_what_a_model_cannot_make_is_refused(tiny_model: Path):
    with pytest.raises(InputError, match="tiny makes from 0"):
        bench(str(tiny_model), 20.0)


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


def test_the_table_says_how_fast_films_are_made():
    found = Bench(
        film_s=60.0,
        wall_s=30.0,
        first_frame_s=0.5,
        transformer_s=24.0,
        decoder_s=3.0,
        load_s=1.0,
        peak_memory_mb=650.0,
        machine_gflops=1_000.0,
    )
    assert "| 60 s | 30.0 s | 2.00 | 0.50 s | 80% | 10% | 650 MB |" in table([found])
    assert facts([found])[0]["speed"] == 2
