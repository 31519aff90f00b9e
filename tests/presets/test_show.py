import os
import shutil
import subprocess
from pathlib import Path

import pytest

from unstatic.presets.show import DEFAULT_PROMPT, DEFAULT_SEED

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
