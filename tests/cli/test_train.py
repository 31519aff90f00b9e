"""`unstatic train`: what can be trained, every way to ask wrongly, and Ctrl-C in the middle of a real run."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unstatic.media.read import read_video

Command = Callable[..., Any]

# A run of a minute that goes through every stage
SMALL = ("tiny", "world.clips=8", "autoencoder.training.samples=64", "diffusion.training.samples=16")


def test_presets_are_listed(unstatic: Command):
    ran = unstatic("train", "--list")
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == ["tiny", "toybox", "nano-64", "nano-128"]


@pytest.mark.parametrize(
    ("arguments", "value", "fix"),
    [
        ([], "no preset", "tiny, toybox, nano-64"),
        (["tinny"], "tinny", "tiny, toybox, nano-64"),
        (["tiny", "world.clip=3"], "world.clip", "did you mean 'world.clips'?"),
        (["tiny", "world.clips=many"], "many", "a whole number"),
        (["tiny", "world.clips"], "world.clips", "KEY=VALUE"),
        (["tiny", "diffusion.model.heads=7"], "width 32", "multiple"),
        (["tiny", "--device", "tpu"], "tpu", "cpu"),
        (["tiny", "-o", "/proc/run"], "/proc/run", "another folder"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_rendered(
    unstatic: Command, arguments: list[str], value: str, fix: str
):
    ran = unstatic("train", *arguments)
    assert ran.code == 2
    assert value in ran.complaint
    assert fix in ran.complaint
    assert [name for name in ran.files if "." in name] == []


def test_a_folder_of_other_settings_is_not_touched(unstatic: Command, folder: Path):
    (folder / "run").mkdir()
    (folder / "run/preset.json").write_text("{}")
    ran = unstatic("train", "tiny", "-o", "run")
    assert ran.code == 2
    assert "other settings" in ran.complaint
    assert ran.files == ["preset.json", "run"]


@pytest.mark.slow
def test_a_run_that_is_stopped_is_saved_and_goes_on_to_a_model(unstatic: Command, folder: Path):
    start = "from unstatic.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", start, "train", *SMALL, "-o", "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not (folder / "run/autoencoder/metrics.jsonl").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)

    # Stopped, saved, and told how to go on
    again = " ".join(SMALL)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == (
        f"unstatic: stopped; go on from what is saved with: unstatic train {again} -o run"
    )
    (saved,) = (folder / "run/autoencoder").glob("checkpoint-*")
    assert int(saved.stem.rpartition("-")[2]) < 64

    # Go on, and use the model
    ran = unstatic("train", *SMALL, "-o", "run")
    assert (ran.code, ran.out) == (0, f"{Path('run/model')}\n")
    assert unstatic("video", "a red ball", "--model", "run/model", "--seconds", 1).code == 0
    assert read_video(Path("a-red-ball.mp4")).frames.shape == (16, 256, 256, 3)
