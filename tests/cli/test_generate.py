"""`unstatic video` and `unstatic image`: the file, what is printed, and every way to ask wrongly."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unstatic.media.probe import probe
from unstatic.media.read import read_picture, read_video

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
        "frames": 16,
        "chunks": [1, 4],
        "native": "32x32",
        "size": "64x64",
        "enlarge": 2,
        "fps": 16,
        "seed": 7,
        "steps": 2,
        "guidance": 1.0,
        "solver": "heun",
    }


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


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "value", "fix"),
    [
        ([""], "empty", "say what to film"),
        (["   "], "empty", "say what to film"),
        (["a" * 100_000], "100,000", "shorten it to at most 32,000"),
        (["a \udcff ball"], r"\udcff", "UTF-8"),
        (["a ball", "--size", "33x32"], "33x32", "take 32x32, 48x32"),
        (["a ball", "--size", "0x32"], "0x32", "64x48"),
        (["a ball", "--size", "-32x32"], "-32x32", "64x48"),
        (["a ball", "--size", "99999x99999"], "99999x99999", "take 32x32"),
        (["a ball", "--size", "big"], "big", "64x48"),
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
        (["a ball", "--seed", "-1"], "-1", "between 0 and"),
        (["a ball", "--solver", "magic"], "magic", "euler"),
        (["a ball", "--device", "tpu"], "tpu", "cpu"),
        (["a ball", "--model", "nanoo"], "nanoo", "unstatic models list"),
        (["a ball", "--model", "x" * 5000], "xxx", "unstatic models list"),
        (["a ball", "-o", "ball.avi"], "ball.avi", ".mp4"),
        (["a ball", "-o", "ball"], "ball", ".mp4"),
        (["a ball", "-o", "nowhere/ball.mp4"], "nowhere", "create it first"),
        (["a ball", "-o", "/proc/ball.mp4"], "/proc/ball.mp4", "another place"),
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
        ("[1, 2]", "is not a manifest"),
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
