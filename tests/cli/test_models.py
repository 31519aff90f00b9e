"""`unstatic models`: what is installed, for people and for machines."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unstatic.models import manifest

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
    assert line.split() == ["tiny", "32x32", "48x32", "16", "frames/s", "238", "kB", "Apache-2.0"]
    (facts,) = json.loads(unstatic("models", "list", "--json").out)
    assert facts == {"name": "tiny", "size_bytes": size(installed / "tiny")}


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


def test_a_folder_can_be_shown_too(unstatic: Command, tiny_model: Path):
    assert "name: tiny" in unstatic("models", "show", tiny_model).out


def test_an_unknown_model_names_the_nearest(unstatic: Command, installed: Path):
    assert installed.is_dir()
    ran = unstatic("models", "show", "tiney")
    assert ran.code == 2
    assert "there is no model 'tiney': did you mean tiny?" in ran.complaint


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
