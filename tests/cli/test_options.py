"""Help texts that name values which live elsewhere, and a model that is somewhere else."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_video_servers import MODEL, FakeServer, serving

from unstatic.cli import options
from unstatic.core.errors import InputError
from unstatic.core.keys import KEY_VARIABLE
from unstatic.core.shapes import Size
from unstatic.diffusion.solver import SOLVERS
from unstatic.generate.ways import DISTILLED
from unstatic.media.read import read_picture, read_video
from unstatic.media.write import write_video

Command = Callable[..., Any]
MakeFrames = Callable[..., Any]


def test_the_help_names_every_solver():
    (option,) = options.SolverName.__metadata__
    plain, _, learned = option.help.partition("; ")
    assert plain.replace(" or ", ", ").split(", ") == list(SOLVERS)
    assert learned == f"some models: {DISTILLED}."


# --------------------------------------------------------------------------------------------- spans to keep


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("0.5:3", (0.5, 3)),
        ("0-3", (0, 3)),
        ("90:", (90, None)),
        ("90-", (90, None)),
        ("1:30:", (90, None)),
        ("1:30", (1, 30)),  # as ever
        ("1:30-2:00", (90, 120)),
        ("1:30:2:00", (90, 120)),
        ("0:3:10", (0, 190)),
        ("1:02:03.5-1:03:00", (3723.5, 3780)),
        ("10:03:10", (10, 190)),
        ("3:1", (3, 1)),  # which is none, and is refused as one
    ],
)
def test_spans_are_seconds_or_minutes_and_may_be_open(text: str, kept: tuple[float, float | None]):
    assert options.kept_span(text) == kept


def test_a_span_that_may_be_two_is_refused():
    with pytest.raises(InputError, match="keep '0:03:10' may be two spans: put a hyphen where it is divided"):
        options.kept_span("0:03:10")
    assert options.kept_span("0-03:10") == (0, 190)
    assert options.kept_span("0:03-10") == (3, 10)


@pytest.mark.parametrize(
    "text", ["", "1", ":", "-", "soon", ":3", "-1:3", "1:60-2:00", "1:5-2:00", "nan:inf", "1-2-3"]
)
def test_what_is_no_span_is_refused(text: str):
    with pytest.raises(
        InputError, match=r"keep '.*' is not START:END in seconds, for example 0.5:3, nor 1:30-2"
    ):
        options.kept_span(text)


# ---------------------------------------------------------------------------------- --model may be an address


@pytest.fixture
def server(tmp_path: Path, make_frames: MakeFrames, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """Return a server whose films show what was asked for."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)

    def film(asked: dict[str, Any]) -> bytes:
        size, path = Size.parse(asked["size"]), tmp_path / "made.mp4"
        write_video(path, make_frames(asked["num_frames"], size.width, size.height), fps=asked["fps"])
        return path.read_bytes()

    with serving(FakeServer("unstatic", film, pace_ms=10)) as server:
        yield server


def test_a_server_makes_the_film(unstatic: Command, server: FakeServer):
    ran = unstatic("video", "a cat", "--model", server.url, "--seconds", 1, "--size", "64x48", "--json")
    assert (ran.code, ran.files) == (0, ["a-cat.mp4"])
    assert "sampling 100/100" in ran.err
    facts = json.loads(ran.out)
    assert (facts["model"], facts["size"], facts["fps"], facts["frames"]) == (MODEL, "64x48", 24, 24)
    assert not {"steps", "guidance", "left_open"} & set(facts), "the server decides them and does not say"
    made = read_video(Path("a-cat.mp4"))
    assert (made.frames.shape, made.fps) == ((24, 48, 64, 3), 24)


def test_a_server_makes_a_still(unstatic: Command, server: FakeServer):
    ran = unstatic("image", "a cat", "--model", f"{server.url}#{MODEL}", "--size", "64x48")
    assert (ran.code, ran.files) == (0, ["a-cat.png"])
    assert read_picture(Path("a-cat.png")).shape == (1, 48, 64, 3)


def test_a_failed_job_leaves_one_line_and_no_file(unstatic: Command, server: FakeServer):
    server.failure = (500, "out of memory")
    ran = unstatic("video", "a cat", "--model", server.url)
    assert (ran.code, ran.files) == (1, [])
    assert ran.err.splitlines()[-1] == f"unstatic: {server.url} failed to make it: out of memory"


def test_ctrl_c_deletes_the_job(folder: Path, server: FakeServer):
    server.polls = 10**6
    code = "import sys; from unstatic.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "video", "a cat", "--model", server.url],
        cwd=folder,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while server.asked.count("GET /videos/video_1") < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert server.asked[-1] == "DELETE /videos/video_1"
    assert (server.jobs, list(folder.iterdir())) == ({}, [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("extend", "a.mp4"), "is on a server, which does not know footage: leave it out, or take"),
        (("video", "a cat", "--variation", 2), "does not know variations of a seed"),
        (("static", "a cat"), "is a server: for this a model is needed that is on this machine"),
        (("video", "a cat", "--lora", "style.safetensors"), "takes no LoRA: leave --lora out"),
    ],
)
def test_what_no_server_does_is_refused(
    unstatic: Command, server: FakeServer, make_frames: MakeFrames, arguments: tuple[Any, ...], said: str
):
    write_video(Path("a.mp4"), make_frames(24, 64, 48), fps=24)
    ran = unstatic(*arguments, "--model", server.url)
    assert (ran.code, ran.files) == (2, ["a.mp4"])
    assert said in ran.err.splitlines()[-1]
    assert server.made == []
