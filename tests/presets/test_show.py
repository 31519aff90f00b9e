import os
import shutil
import subprocess
from pathlib import Path

import pytest

from unstatic.core.shapes import Size
from unstatic.data.shards import open_shards
from unstatic.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig
from unstatic.presets.preset import WorldRun
from unstatic.presets.render import render_clips
from unstatic.presets.show import DEFAULT_PROMPT, DEFAULT_SEED, reconstruction_sheet

MAKEFILE = Path(__file__).parents[2] / "Makefile"


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize(
    ("said", "prompt", "seed"),
    [
        ([], DEFAULT_PROMPT, DEFAULT_SEED),
        (["SEED=5"], DEFAULT_PROMPT, 5),
        (["PROMPT=a red ball rolls"], "a red ball rolls", 0),
        (["PROMPT=a red ball rolls", "SEED=5"], "a red ball rolls", 5),
    ],
)
def test_make_video_films_what_is_shown_or_what_is_said(said: list[str], prompt: str, seed: int):
    show = 'show:\n\t@echo "$$PROMPT|$$SEED"\n'
    # Whoever tests may have said something to a make of their own
    theirs = ("PROMPT", "SEED", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")
    environment = {name: value for name, value in os.environ.items() if name not in theirs}
    done = subprocess.run(
        ["make", "--no-print-directory", "-f", MAKEFILE, "-f", "-", "show", *said],
        input=show,
        capture_output=True,
        check=True,
        text=True,
        env=environment,
    )
    assert done.stdout == f"{prompt}|{seed}\n"


def test_few_clips_of_a_length_that_fills_no_latent_frame_are_drawn_too(tmp_path: Path):
    world = WorldRun(clips=2, frames=18, sizes=(Size(64, 64),), mix="first-light", shard_clips=2)
    render_clips(world, tmp_path, seed=0, workers=1)
    model = TinyAutoencoder(
        TinyAutoencoderConfig(encoder_widths=(8, 8, 8), decoder_widths=(8, 8, 8), decoder_blocks=(1, 1, 1))
    )
    sheet = reconstruction_sheet(model, open_shards(tmp_path, "clips"))
    assert sheet.shape[0] > 2 * 2 * 64
