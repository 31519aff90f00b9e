"""`unstatic models`: what is installed, for people and for machines."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import tiny_wan
import torch
from fake_hub import FakeHub, serving
from safetensors.torch import save_file
from tiny_taehv import published

from unstatic.cli.models import ask_for_consent
from unstatic.core.device import compute_dtype
from unstatic.core.errors import InputError
from unstatic.media.read import read_picture
from unstatic.models import manifest
from unstatic.models.taehv_keys import TAEW2_1
from unstatic.models.weights import count_parameters

Command = Callable[..., Any]


@pytest.fixture
def installed(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the tiny model be the one that is installed."""
    root = tmp_path / "weights"
    shutil.copytree(tiny_model, root / "tiny")
    monkeypatch.setattr(manifest, "EMBEDDED_MODELS", root)
    return root


def test_installed_models_are_listed(unstatic: Command, installed: Path):
    (line,) = unstatic("models", "list").out.splitlines()
    files = [*installed.glob("tiny/*.safetensors")]
    memory_bytes = count_parameters(files) * compute_dtype(torch.device("cpu")).itemsize
    assert line.split() == [
        *("tiny", "32x32", "48x32", "16", "frames/s", "238", "kB"),
        *(f"({round(memory_bytes / 1000)}", "kB", "of", "memory)", "Apache-2.0"),
    ]
    (facts,) = json.loads(unstatic("models", "list", "--json").out)
    taken = {"size_bytes": size(installed / "tiny"), "memory_bytes": memory_bytes}
    assert facts == {"name": "tiny"} | taken


def test_nothing_installed_is_said(unstatic: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(manifest, "EMBEDDED_MODELS", tmp_path)
    ran = unstatic("models", "list")
    assert (ran.code, ran.out) == (0, "")
    assert "no model is installed" in ran.err


def test_a_model_shows_everything_it_says_about_itself(unstatic: Command, installed: Path):
    shown = unstatic("models", "show", "tiny").out
    for line in ("name: tiny", "sizes: 32x32, 48x32", "defaults:", "  steps: 3", "parameters:"):
        assert line in shown.splitlines()
    facts = json.loads(unstatic("models", "show", "tiny", "--json").out)
    assert facts["folder"] == str(installed / "tiny")
    assert facts["size_bytes"] == size(installed / "tiny")
    assert facts["parameters"]["transformer"] > facts["parameters"]["autoencoder"] > 0
    memory = facts["memory_bytes"]
    assert memory["parts"].keys() == facts["parameters"].keys()
    assert memory["as it is"] != memory["--quantise int8"]
    shown = shown.splitlines()
    beginning = shown.index("memory:")
    assert shown[beginning + 1].startswith("  computes_as: ")
    assert "  --quantise int8:" in shown[beginning:]
    assert shown[-1].split()[-1] in ("kB", "MB")


def test_a_folder_can_be_shown_too(unstatic: Command, tiny_model: Path):
    assert "name: tiny" in unstatic("models", "show", tiny_model).out


def test_an_unknown_model_names_the_nearest(unstatic: Command, installed: Path):
    assert installed.is_dir()
    ran = unstatic("models", "show", "tiney")
    assert ran.code == 2
    assert "there is no model 'tiney': did you mean tiny?" in ran.complaint


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def test_open_weights_are_converted_shown_and_filmed_with(unstatic: Command, tmp_path: Path):
    """Single files become a model, by one command whose output is the model's name."""
    save_file(tiny_wan.single_file("2.1"), tmp_path / "t2v.safetensors")
    save_file(tiny_wan.original_autoencoder(), tmp_path / "vae.safetensors")
    save_file(tiny_wan.original_text_encoder(), tmp_path / "umt5.safetensors")
    tiny_wan.pipeline("2.1").tokenizer.save_pretrained(tmp_path)
    asked = ["models", "convert", "-o", "mine", "--transformer", tmp_path / "t2v.safetensors"]
    asked += ["--autoencoder", tmp_path / "vae.safetensors"]
    ran = unstatic(*asked, "--tokenizer", tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert "the text encoder is missing: name it with --text-encoder" in ran.err
    ran = unstatic(*asked, "--tokenizer", tmp_path, "--text-encoder", tmp_path / "umt5.safetensors")
    assert (ran.code, ran.out, ran.err) == (0, "mine\n", "")

    facts = json.loads(unstatic("models", "show", "mine", "--json").out)
    assert facts["parameters"].keys() == {"transformer", "vae", "text_encoder"}
    assert (facts["text_encoder"], facts["given"], facts["chunk"]) == ("umt5", "nothing", None)
    ran = unstatic(
        "image", "a red ball", "--model", "mine", "--steps", 1, "--negative", "grey", "-o", "a.png"
    )
    assert (ran.code, ran.out) == (0, "a.png\n"), ran.err
    assert read_picture(Path("a.png")).shape == (1, 480, 832, 3)
    ran = unstatic("image", "a ball", "--model", "mine", "--lora", "style.safetensors@0.5")
    assert ran.code == 2
    assert "there is no LoRA style.safetensors: check the name" in ran.err
    ran = unstatic("video", "a ball", "--model", "mine", "--image", "a.png")
    assert ran.code == 2
    assert "mine cannot go on from what is given" in ran.err


def test_a_student_is_converted_with_a_tiny_decoder(unstatic: Command, tmp_path: Path):
    save_file(tiny_wan.single_file("2.1"), tmp_path / "self_forcing.safetensors")
    save_file(published(TAEW2_1), tmp_path / "taew2_1.safetensors")
    save_file(tiny_wan.original_text_encoder(), tmp_path / "umt5.safetensors")
    tiny_wan.pipeline("2.1").tokenizer.save_pretrained(tmp_path)
    asked = ["models", "convert", "-o", "student", "--transformer", tmp_path / "self_forcing.safetensors"]
    asked += ["--text-encoder", tmp_path / "umt5.safetensors", "--tokenizer", tmp_path, "--chunk", 3]
    ran = unstatic(*asked)
    assert (ran.code, ran.out) == (2, "")
    assert "the autoencoder is missing: name it with --autoencoder" in ran.err
    ran = unstatic(*asked, "--tiny-decoder", tmp_path / "taew2_1.safetensors")
    assert (ran.code, ran.out, ran.err) == (0, "student\n", "")
    shown = unstatic("models", "show", "student").out.splitlines()
    for line in ("chunk: 3", "tiny: films", "window:", "  first: 3", "  frames: 21", "  solver: consistency"):
        assert line in shown


def test_a_model_is_pulled_by_name(unstatic: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("UNSTATIC_MODELS", str(tmp_path / "models"))
    with serving(FakeHub(tiny_wan.saved("2.1", tmp_path))) as hub:
        asked = ("models", "pull", "someone/tiny-wan", "--endpoint", hub.url, "--name", "mine")
        ran = unstatic(*asked)
        assert (ran.code, ran.out) == (2, "")
        assert "someone/tiny-wan at 0123456789ab: " in ran.err
        assert " MB, licence apache-2.0" in ran.err
        assert "the licence is apache-2.0: accept it with --yes" in ran.err
        ran = unstatic(*asked, "--yes")
        assert (ran.code, ran.out) == (0, "mine\n"), ran.err
        assert "mine, MB " in ran.err
    listed = unstatic("models", "list", "--all").out.splitlines()
    assert [line.split()[0] for line in listed[:2]] == ["nano", "mine"]
    assert any(line.startswith("wan2.2-5b") and "unstatic models pull" in line for line in listed)
    names = {each["name"] for each in json.loads(unstatic("models", "list", "--all", "--json").out)}
    assert {"nano", "mine", "wan2.1-1.3b"} <= names


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2)])
def test_a_person_is_asked_for_consent(answer: str, code: int, monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    if code == 0:
        ask_for_consent("mit")
    else:
        with pytest.raises(InputError, match="was not accepted"):
            ask_for_consent("mit")
