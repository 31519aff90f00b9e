"""The command as a whole: quick help, errors in one line, exit codes, and Ctrl-C."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unstatic as package

Command = Callable[..., Any]
EDITS = ["extend", "loop", "blend", "remix", "repaint", "recut"]
COMMANDS = ["video", "image", *EDITS, "static", "train", "eval", "bench", "doctor", "models", "world"]
START = "import sys; from unstatic.cli.main import main; main()"


def start(*arguments: object, folder: Path | None = None) -> "subprocess.Popen[str]":
    """Start the command in a process of its own, that listens to Ctrl-C even if this one does not."""
    return subprocess.Popen(
        [sys.executable, "-c", START, *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


# ------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_imports_nothing_heavy(arguments: list[str]):
    code = f"import sys; from unstatic.cli.main import run; run({arguments}); print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    *text, modules = printed.splitlines()
    assert text[0].startswith("Usage: unstatic")
    assert (
        set(modules.split()) & {"torch", "numpy", "transformers", "av", "einops", "jaxtyping", "rich"}
        == set()
    )


def test_help_is_quick():
    """Under 0.3 s: as computing time of the best of three, since other programs may be running too."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", START, "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.3


def test_every_command_is_listed_and_has_help(unstatic: Command):
    listed = unstatic("--help")
    assert listed.code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in listed.out
        assert unstatic(command, "--help").code == 0
    groups = [listed, unstatic("models", "--help"), unstatic("world", "--help")]
    texts = [group.out.replace("[ARGS]...", "") for group in groups]
    assert not [text for text in texts if "..." in text], "a summary does not fit its line"


def test_the_version_is_printed(unstatic: Command):
    assert unstatic("--version").out == f"unstatic {package.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["models"], ["world"]])
def test_a_group_without_a_command_shows_its_help(unstatic: Command, arguments: list[str]):
    ran = unstatic(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: unstatic")


# ----------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vido"], "vido"),
        (["image"], "PROMPT"),
        (["video", "a ball", "--secnods", "3"], "--secnods"),
        (["video", "a ball", "--seconds", "soon"], "'soon' is not a number, give one like 2.5"),
        (["video", "a ball", "--steps", "2.5"], "'2.5' is not a whole number, give one like 8"),
        (["video", "a ball", "--seconds"], "--seconds"),
        (["video", "a", "red", "ball"], "put a prompt of several words in quotes"),
    ],
)
def test_mistakes_of_usage_are_one_line(unstatic: Command, arguments: list[str], message: str):
    ran = unstatic(*arguments)
    assert ran.code == 2
    assert ran.complaint.startswith("unstatic: ")
    assert message in ran.complaint
    assert ran.files == []


# ----------------------------------------------------------------------------------------------------- Ctrl-C


def test_ctrl_c_while_sampling_leaves_nothing_behind(tiny_model: Path, folder: Path):
    process = start("video", "a ball", "--steps", 200, "--seconds", 10, "--model", tiny_model, folder=folder)
    deadline = time.monotonic() + 120
    while not list(folder.iterdir()):  # it appears, under a temporary name, with the first frame
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "unstatic: stopped, nothing was written"
    assert list(folder.iterdir()) == []


def test_a_result_is_printed_by_the_real_command(tiny_model: Path, folder: Path):
    process = start("video", "a ball", "--seconds", 0.5, "--model", tiny_model, folder=folder)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "a-ball.mp4\n"), err
    assert os.listdir(folder) == ["a-ball.mp4"]
