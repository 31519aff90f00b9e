"""The benchmark: every length in its own process, and figures that belong together."""

from pathlib import Path

import pytest

from unstatic.core.errors import InputError, UnstaticError
from unstatic.presets.bench import Bench, bench, bench_films, facts, table


def test_a_film_is_measured_stage_by_stage(tiny_model: Path):
    found = bench(str(tiny_model), {"seconds": 2.0}, "cpu")
    assert found.film_s == 2
    assert 0 < found.first_frame_s <= found.wall_s
    assert 0 < found.transformer_s < found.wall_s
    assert 0 < found.decoder_s < found.wall_s
    assert found.peak_memory_mb > 100
    assert found.machine_gflops > 1
    assert found.machine_conv_gflops > 1
    assert len(found.memory_mb) == 3
    assert max(found.memory_mb) < found.peak_memory_mb * 1.1


def test_lengths_are_measured_in_processes_of_their_own(tiny_model: Path):
    done: list[int] = []
    films = [{"seconds": 1.0}, {"seconds": 2.0, "size": "64x64", "fps": 32}]
    found = list(bench_films(str(tiny_model), films, "cpu", lambda: done.append(1)))
    assert [(each.film_s, each.size, each.fps) for each in found] == [(1, "32x32", 16), (2, "64x64", 32)]
    assert found[1].finish_s > found[0].finish_s
    assert len(done) == 2
    with pytest.raises(UnstaticError, match="the film of 20 s failed"):
        list(bench_films(str(tiny_model), [{"seconds": 20.0}]))


def test_what_a_model_cannot_make_is_refused(tiny_model: Path):
    with pytest.raises(InputError, match="tiny makes from 0"):
        bench(str(tiny_model), {"seconds": 20.0})


def test_the_table_says_how_fast_films_are_made():
    found = Bench(
        film_s=60.0,
        size="128x128",
        fps=16,
        wall_s=30.0,
        first_frame_s=0.5,
        transformer_s=24.0,
        decoder_s=3.0,
        finish_s=1.5,
        load_s=1.0,
        peak_memory_mb=650.0,
        machine_gflops=1_000.0,
    )
    assert "| 60 s, 128x128, 16 a second | 30.0 s | 2.00 | 0.50 s | 80% | 10% | 5% | 650 MB |" in table(
        [found]
    )
    assert facts([found])[0]["speed"] == 2


@pytest.mark.parametrize(("held", "growth"), [([500.0] * 9, 0.0), ([500.0 + each for each in range(9)], 9.0)])
def test_the_growth_of_memory_is_told_for_a_minute(held: list[float], growth: float) -> None:
    stages = dict.fromkeys(
        ("wall_s", "first_frame_s", "transformer_s", "decoder_s", "finish_s", "load_s"), 1.0
    )
    figures = stages | {"peak_memory_mb": 600.0, "machine_gflops": 1.0}
    found = Bench(film_s=60.0, size="128x128", fps=16, memory_mb=held, **figures)
    assert found.growth_mb == pytest.approx(growth)
    assert facts([found])[0]["growth_mb"] == pytest.approx(growth)
    assert Bench(film_s=60.0, size="128x128", fps=16, memory_mb=[1.0, 2.0], **figures).growth_mb is None
