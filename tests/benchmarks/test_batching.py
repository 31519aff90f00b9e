"""Films of one batch are the films that are made alone; what is printed adds up."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unstatic.generate.api import load

pytestmark = pytest.mark.plain  # real films

PROGRAM = Path(__file__).parent.parent.parent / "benchmarks" / "batching.py"


def test_a_film_of_a_batch_is_the_film_of_its_seed():
    batching, model = runpy.run_path(str(PROGRAM)), load("nano", device="cpu")
    plan = model.plan(batching["PROMPT"], seconds=1, size="128x128")
    both = batching["together"](model.engine, plan, [3, 4])
    alone = batching["together"](model.engine, plan, [4])
    apart = (both[1] - both[0]).abs().mean()
    assert (both[1] - alone[0]).abs().mean() < 0.05 * apart
    chunks = [event.latent for event in model.engine.denoise(plan) if hasattr(event, "latent")]
    own = batching["together"](model.engine, plan, [plan.seed])
    assert torch.allclose(own, torch.cat(chunks, dim=2))


def test_the_table_has_a_row_for_every_number_of_films():
    command = [sys.executable, PROGRAM, "--films", "1", "3", "--seconds", "0.25", "--repeats", "1"]
    said = subprocess.run([*command, "--threads", "1"], capture_output=True, text=True, check=True).stdout
    rows = [line.strip("| ").split(" | ") for line in said.splitlines() if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == ["1", "3"]
    assert float(rows[0][3]) == 1.0
    for films, denoising, decoding, _, batch_s in rows:
        assert float(batch_s) == pytest.approx(int(films) * (int(denoising) + int(decoding)) / 1000, abs=0.02)
