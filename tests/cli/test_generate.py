"""`unstatic video` and `unstatic image`: the file, what is printed, and every way to ask wrongly."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from unstatic import load
from unstatic.generate.defaults import INTERPOLATOR, UPSCALER
from unstatic.generate.engine import Frames
from unstatic.media.fragments import FragmentWriter, growing_file
from unstatic.media.probe import probe
from unstatic.media.read import read_picture, read_video
from unstatic.media.write import write_picture
from unstatic.models.manifest import read_manifest, write_manifest

Command = Callable[..., Any]


@pytest.fixture
def video(unstatic: Command, tiny_model: Path) -> Command:
    """Return a function that runs `unstatic video` with the tiny model."""
    return lambda *arguments: unstatic("video", "--model", tiny_model, *arguments)


def test_a_sentence_becomes_a_video(video: Command):
    ran = video("A red ball, bouncing!", "--seconds", 1.5)
    assert (ran.code, ran.out, ran.files) == (0, "a-red-ball-bouncing.mp4\n", ["a-red-ball-bouncing.mp4"])
    assert "sampling 9/9" in ran.err
    made = read_video(Path("a-red-ball-bouncing.mp4"))
    assert (made.frames.shape, made.fps) == ((24, 64, 64, 3), 16)


def test_a_sentence_becomes_a_picture(unstatic: Command, tiny_model: Path):
    ran = unstatic("image", "a ball", "--model", tiny_model, "--size", "96x64")
    assert (ran.code, ran.out, ran.files) == (0, "a-ball.png\n", ["a-ball.png"])
    assert read_picture(Path("a-ball.png")).shape == (1, 64, 96, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_the_suffix_chooses_the_kind_of_picture(unstatic: Command, tiny_model: Path, suffix: str):
    ran = unstatic("image", "a ball", "--model", tiny_model, "-o", f"ball{suffix}")
    assert (ran.code, ran.files) == (0, [f"ball{suffix}"])
    assert read_picture(Path(f"ball{suffix}")).shape == (1, 64, 64, 3)


def test_options_reach_the_file(video: Command):
    assert video("a ball", "--seconds", 1, "--size", "48x32", "--fps", 8, "-o", "ball.mp4").code == 0
    file = probe(Path("ball.mp4"))
    assert (str(file.size), file.fps, file.num_frames) == ("48x32", 8, 8)


def test_json_says_what_was_done(video: Command):
    ran = video(
        "a ball", "--seconds", 1, "--steps", 2, "--guidance", 1, "--solver", "heun", "--seed", 7, "--json"
    )
    facts = json.loads(ran.out)
    times = facts.pop("load_s"), facts.pop("sample_s")
    assert min(times) >= 0
    assert facts == {
        "path": "a-ball.mp4",
        "model": "tiny",
        "prompt": "a ball",
        "text": "a ball",
        "frames": 16,
        "chunks": [1, 4],
        "loops": False,
        "native": "32x32",
        "size": "64x64",
        "fps": 16,
        "seed": 7,
        "variation": 0,
        "steps": 2,
        "guidance": 1.0,
        "solver": "heun",
        "upscaler": UPSCALER,
        "interpolator": INTERPOLATOR,
    }


@pytest.mark.parametrize(
    ("option", "said", "known"),
    [("--guidance-interval", "0.5:1", [0.5, 1.0]), ("--skip-layer-guidance", "0.5", 0.5)],
)
def test_what_guides_reaches_the_model(video: Command, option: str, said: str, known: object):
    ran = video("a ball", "--seconds", 0.5, option, said, "--json", "-o", "led.mp4")
    assert json.loads(ran.out)[option.removeprefix("--").replace("-", "_")] == known
    assert video("a ball", "--seconds", 0.5, "-o", "plain.mp4").code == 0
    led, plain = (read_video(Path(name)).frames for name in ("led.mp4", "plain.mp4"))
    assert not np.array_equal(led, plain)


def test_a_seed_gives_the_same_frames_again(video: Command):
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        assert video("a ball", "--seconds", 0.5, "--seed", seed, "-o", f"{name}.mp4").code == 0
    one, again, other = (read_video(Path(f"{name}.mp4")).frames for name in ("one", "again", "other"))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_default_names_never_overwrite(video: Command):
    printed = [video("a ball", "--seconds", 0.1).out for _ in range(3)]
    assert printed == ["a-ball.mp4\n", "a-ball-2.mp4\n", "a-ball-3.mp4\n"]


def test_a_name_that_was_given_is_replaced(video: Command, folder: Path):
    (folder / "ball.mp4").write_text("an older file")
    ran = video("a ball", "--seconds", 0.5, "-o", "ball.mp4")
    assert (ran.code, ran.files) == (0, ["ball.mp4"])
    assert len(read_video(Path("ball.mp4")).frames) == 8


def test_a_prompt_that_does_not_fit_is_warned_about(video: Command):
    ran = video("ball " * 100, "--seconds", 0.1)
    assert ran.code == 0
    assert "unstatic: the last 38 words" in ran.err


# ---------------------------------------------------------------------------------------------------- wording


@pytest.fixture
def worldly_model(tiny_model: Path, tmp_path: Path) -> Path:
    """Return the tiny model as one that was trained on the words of the world."""
    folder = shutil.copytree(tiny_model, tmp_path / "worldly")
    write_manifest(folder, replace(read_manifest(folder), expander="world"))
    return folder


def notes(ran: Any) -> list[str]:
    return [line for line in ran.err.splitlines() if line.startswith("unstatic: ")]


@pytest.mark.parametrize("command", ["video", "image"])
def test_a_prompt_is_said_in_the_words_of_the_model(unstatic: Command, worldly_model: Path, command: str):
    seconds = ("--seconds", 0.1) if command == "video" else ()
    ran = unstatic(command, "a doggo in the snow", "--model", worldly_model, "--json", *seconds)
    facts = json.loads(ran.out)
    assert (ran.code, facts["prompt"]) == (0, "a doggo in the snow")
    assert Path(facts["path"]).stem == "a-doggo-in-the-snow"
    assert re.match(r"a (husky|shiba inu) .* snow", facts["text"])
    assert notes(ran) == [f"unstatic: prompt: a doggo in the snow -> {facts['text']}"]


def test_a_prompt_can_be_read_as_it_is(unstatic: Command, worldly_model: Path):
    ran = unstatic("image", "a doggo", "--model", worldly_model, "--json", "--no-expand")
    assert (json.loads(ran.out)["text"], notes(ran)) == ("a doggo", [])


def test_what_is_not_understood_is_said(unstatic: Command, worldly_model: Path):
    ran = unstatic("image", "a red ball and a spaceship on grass", "--model", worldly_model)
    assert notes(ran)[1:] == ["unstatic: not understood: spaceship"]


def test_a_prompt_about_other_things_is_warned_of(unstatic: Command, worldly_model: Path):
    ran = unstatic("image", "Two people argue in a Paris cafe", "--model", worldly_model)
    (line,) = notes(ran)
    assert ran.code == 0
    assert "knows few things (ball, cube" in line
    assert "unstatic models list" in line


# ----------------------------------------------------------------------------------------------------- images


@pytest.fixture
def pictures(tmp_path: Path, make_frames: Callable[..., np.ndarray]) -> Path:
    """Return a folder with pictures, good and bad."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    first, last = make_frames(30, width=96, height=64)[[0, -1]]
    write_picture(folder / "first.png", first)
    write_picture(folder / "last.png", last)
    write_picture(folder / "dot.png", first[:1, :1])
    (folder / "half.png").write_bytes((folder / "first.png").read_bytes()[:200])
    (folder / "notes.png").write_text("not a picture")
    PIL.Image.new("1", (20_000, 9_500)).save(folder / "bomb.png")
    return folder


def test_a_video_begins_and_ends_with_pictures(video: Command, pictures: Path):
    frames = {}
    for name, arguments in {
        "both": ["--image", pictures / "first.png", "--last-image", pictures / "last.png"],
        "first": ["--image", pictures / "first.png"],
        "none": ["--size", "96x64"],
    }.items():
        ran = video("a ball", "--seconds", 0.5, *arguments, "-o", f"{name}.mp4")
        assert (ran.code, ran.out) == (0, f"{name}.mp4\n"), ran.err
        frames[name] = read_video(Path(f"{name}.mp4")).frames.astype(int)
    assert {clip.shape for clip in frames.values()} == {(8, 64, 96, 3)}
    assert (
        np.abs(frames["both"][0] - frames["first"][0]).mean()
        < 2
        < np.abs(frames["both"][0] - frames["none"][0]).mean()
    )
    assert np.abs(frames["both"][-1] - frames["first"][-1]).mean() > 2


def test_what_is_cut_off_a_picture_is_said_in_one_line(video: Command, pictures: Path):
    ran = video("a ball", "--seconds", 0.2, "--image", pictures / "first.png", "--size", "64x64")
    assert ran.code == 0
    warnings = [line for line in ran.err.splitlines() if line.startswith("unstatic: ")]
    assert warnings == ["unstatic: the image is 96x64: 33% of it, left and right, is cut away to fit 64x64"]


@pytest.mark.parametrize("option", ["--image", "--last-image"])
@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("nowhere.png", "nowhere.png as a picture: No such file", "give another file"),
        (".", "as a picture: Is a directory", "give another file"),
        ("notes.png", "notes.png as a picture: it is none", "give a PNG or JPEG file"),
        ("half.png", "half.png as a picture", "give another file"),
        ("dot.png", "is 1x1", "at least 16x16 pixels"),
        ("bomb.png", "bomb.png has more than 89 million pixels", "give it smaller"),
    ],
)
def test_bad_pictures_are_refused_before_the_model_is_loaded(
    unstatic: Command,
    tiny_model: Path,
    tmp_path: Path,
    pictures: Path,
    option: str,
    name: str,
    value: str,
    fix: str,
):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    removed(model / "transformer.safetensors")
    ran = unstatic("video", "a ball", "--model", model, option, pictures / name)
    assert (ran.code, ran.files) == (2, [])
    assert value in ran.complaint
    assert fix in ran.complaint


# ---------------------------------------------------------------------------------------------------- preview


class Terminal(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        return True


def test_a_preview_is_drawn_in_the_terminal_and_changes_nothing(
    video: Command, monkeypatch: pytest.MonkeyPatch
):
    assert video("a ball", "--seconds", 1, "-o", "plain.mp4").code == 0
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLORTERM", "truecolor")
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        ran = video("a ball", "--seconds", 1, "-o", "previewed.mp4", "--preview")
    drawn = terminal.buffer.getvalue().decode()
    assert (ran.code, ran.out) == (0, "previewed.mp4\n")
    assert "\u2580" in drawn
    assert "6/6" in drawn
    assert Path("plain.mp4").read_bytes() == Path("previewed.mp4").read_bytes()


@pytest.mark.parametrize("options", [[], ["--preview"]])
def test_a_warning_stands_on_a_line_of_its_own_above_a_live_bar(
    video: Command, pictures: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        assert (
            video(
                "a ball", "--seconds", 0.2, "--image", pictures / "first.png", "--size", "64x64", *options
            ).code
            == 0
        )
    text = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", terminal.buffer.getvalue().decode())
    (line,) = [line for line in re.split("[\r\n]+", text) if "unstatic: " in line]
    assert line.startswith("unstatic: the image is 96x64")


def test_without_a_terminal_the_video_is_made_without_a_preview(video: Command):
    ran = video("a ball", "--seconds", 0.1, "--preview")
    assert (ran.code, ran.files) == (0, ["a-ball.mp4"])
    warnings = [line for line in ran.err.splitlines() if line.startswith("unstatic: ")]
    assert warnings == ["unstatic: no preview is drawn: that needs a terminal with colours"]
    assert "\u2580" not in ran.err


# ----------------------------------------------------------------------------------------------------- stream


def test_a_streamed_video_is_announced_and_shows_the_same_frames(video: Command):
    for arguments in (["-o", "whole.mp4"], ["-o", "grown.mp4", "--stream"]):
        assert video("a ball", "--seconds", 1.5, *arguments).code == 0
    ran = video("a ball", "--seconds", 0.2, "--stream")
    assert (ran.out, ran.files) == ("a-ball.mp4\n", ["a-ball.mp4", "grown.mp4", "whole.mp4"])
    assert "unstatic: a-ball.mp4 can be played while it grows" in ran.err
    whole, grown = (read_video(Path(name)).frames.astype(int) for name in ("whole.mp4", "grown.mp4"))
    assert whole.shape == grown.shape == (24, 64, 64, 3)
    assert np.abs(whole - grown).mean() < 8 < np.abs(whole - grown[::-1]).mean()
    assert Path("grown.mp4").read_bytes().count(b"moof") == 3


def test_a_streamed_video_grows_at_its_name(tiny_model: Path, folder: Path):
    sizes: list[int] = []
    path = folder / "ball.mp4"
    model = load(str(tiny_model))
    with closing(model.stream("a ball", seconds=2)) as events, growing_file(path) as append:
        writer = FragmentWriter(append, fps=16)
        for event in events:
            if isinstance(event, Frames):
                writer.write(event.frames)
                sizes.append(len(read_video(path).frames))
    assert sizes == [1, 17, 32]


def start(folder: Path, *arguments: object) -> "subprocess.Popen[bytes]":
    """Start `unstatic video` in a process of its own, that listens to Ctrl-C even if this one does not."""
    code = "import sys; from unstatic.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "video", "a ball", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_a_video_on_stdout_is_a_video_and_nothing_else(tiny_model: Path, folder: Path):
    process = start(folder, "--seconds", 1.5, "--model", tiny_model, "-o", "-")
    data, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert b"play" not in err
    assert list(folder.iterdir()) == []
    (folder / "piped.mp4").write_bytes(data)
    assert read_video(folder / "piped.mp4").frames.shape == (24, 64, 64, 3)
    assert data[4:8] == b"ftyp"


def test_a_reader_that_goes_away_ends_it_quietly(tiny_model: Path, folder: Path):
    process = start(folder, "--seconds", 10, "--steps", 20, "--model", tiny_model, "--stream", "-o", "-")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(8)[4:] == b"ftyp"
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert [line for line in err.splitlines() if not line.startswith("sampling ")] == []


@pytest.mark.parametrize("before", [None, b"an older file"])
def test_ctrl_c_leaves_no_half_file(tiny_model: Path, folder: Path, before: bytes | None):
    path = folder / "ball.mp4"
    if before is not None:
        path.write_bytes(before)
    arguments = ("--seconds", 10, "--steps", 200, "--model", tiny_model, "--stream", "-o", "ball.mp4")
    process = start(folder, *arguments)
    deadline = time.monotonic() + 120
    while not (path.exists() and path.read_bytes()[4:8] == b"ftyp"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err.decode().splitlines()[-1] == "unstatic: stopped, nothing was written"
    assert [(each.name, each.read_bytes()) for each in folder.iterdir()] == (
        [("ball.mp4", before)] if before else []
    )


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "value", "fix"),
    [
        ([""], "empty", "say what to film"),
        (["   "], "empty", "say what to film"),
        (["a" * 100_000], "100,000", "shorten it to at most 32,000"),
        (["a \udcff ball"], r"\udcff", "UTF-8"),
        (["a ball", "--size", "33x32"], "33x32", "films have even sides, for example 34x32"),
        (["a ball", "--size", "0x32"], "0x32", "1280x720"),
        (["a ball", "--size", "-32x32"], "-32x32", "1280x720"),
        (
            ["a ball", "--size", "99999x99999"],
            "99999x99999",
            "is too large for tiny: in this shape up to 128x128",
        ),
        (["a ball", "--size", "big"], "big", "1280x720"),
        (["a ball", "--seconds", "0"], "0", "unstatic image"),
        (["a ball", "--seconds", "-1"], "-1", "to 10 seconds"),
        (["a ball", "--seconds", "nan"], "nan", "to 10 seconds"),
        (["a ball", "--seconds", "inf"], "inf", "to 10 seconds"),
        (["a ball", "--seconds", "1e9"], "1e+09", "to 10 seconds"),
        (["a ball", "--fps", "0"], "0", "between 1 and 120"),
        (["a ball", "--fps", "100000"], "100000", "between 1 and 120"),
        (["a ball", "--steps", "0"], "0", "between 1 and 1000"),
        (["a ball", "--steps", "-3"], "-3", "between 1 and 1000"),
        (["a ball", "--guidance", "nan"], "nan", "between 0 and 30"),
        (["a ball", "--guidance-interval", "0.2"], "0.2", "LOW:HIGH, for example 0.2:0.8"),
        (["a ball", "--guidance-interval", "0.8:0.2"], "0.8:0.2", "the lower first"),
        (["a ball", "--guidance-interval", "0:nan"], "0:nan", "from 0 (clean) to 1 (static)"),
        (["a ball", "--guidance-interval", "0.2:0.8", "--guidance", "1"], "0.2:0.8", "above 1"),
        (["a ball", "--seed", "-1"], "-1", "between 0 and"),
        (["a ball", "--solver", "magic"], "magic", "euler"),
        (["a ball", "--device", "tpu"], "tpu", "cpu"),
        (["a ball", "--model", "nanoo"], "nanoo", "unstatic models list"),
        (["a ball", "--model", "x" * 5000], "xxx", "unstatic models list"),
        (["a ball", "--tiles"], "tiny", "leave --tiles out"),
        (["a ball", "-o", "ball.avi"], "ball.avi", ".mp4"),
        (["a ball", "-o", "ball"], "ball", ".mp4"),
        (["a ball", "-o", "nowhere/ball.mp4"], "nowhere", "create it first"),
        (["a ball", "-o", "/proc/ball.mp4"], "/proc/ball.mp4", "another place"),
        (["a ball", "--stream", "-o", "ball.avi"], "ball.avi", ".mp4"),
        (["a ball", "-o", "-", "--json"], "--json", "leave one of them out"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    video: Command, arguments: list[str], value: str, fix: str
):
    ran = video(*arguments)
    assert ran.code == 2
    assert value in ran.complaint
    assert fix in ran.complaint
    assert ran.files == []


def test_an_output_that_is_a_folder_is_refused(video: Command, folder: Path):
    (folder / "ball.mp4").mkdir()
    ran = video("a ball", "-o", "ball.mp4")
    assert (ran.code, ran.files) == (2, ["ball.mp4"])
    assert "it is a folder" in ran.complaint


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def filled_with_noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(50_000))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damaged", [cut_short, filled_with_noise, emptied, removed])
@pytest.mark.parametrize("name", ["transformer.safetensors", "autoencoder.safetensors", "model.json"])
def test_damaged_models_are_one_line_and_nothing_is_written(
    unstatic: Command, tiny_model: Path, tmp_path: Path, name: str, damaged: Callable[[Path], None]
):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    damaged(model / name)
    ran = unstatic("video", "a ball", "--model", model)
    assert ran.code == 2
    assert str(model) in ran.complaint
    assert Path(name).stem in ran.complaint
    assert ran.files == []


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("[1, 2]", "model.json holds no JSON object but a list: restore the file"),
        ('{"nmae": "tiny"}', "unknown setting 'nmae'; did you mean 'name'?"),
        ('{"name": "tiny"}', "missing setting: preset"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(
    unstatic: Command, tiny_model: Path, tmp_path: Path, manifest: str, message: str
):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / "model.json").write_text(manifest)
    ran = unstatic("video", "a ball", "--model", model)
    assert ran.code == 2
    assert message in ran.complaint
    assert ran.files == []
