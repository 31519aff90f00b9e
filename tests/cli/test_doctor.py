"""`unstatic doctor`: healthy says so, broken says what to do and exits 1."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unstatic.models import manifest

Command = Callable[..., Any]


def findings(ran: Any) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in json.loads(ran.out)}


def test_a_healthy_installation_is_found_healthy(unstatic: Command, tiny_model: Path):
    ran = unstatic("doctor", "--model", tiny_model, "--json")
    found = findings(ran)
    assert ran.code == 0
    assert found["model"]["ok"]
    assert "a still in" in found["model"]["value"]
    assert found["video codec"]["ok"]
    assert {"unstatic", "python", "torch", "device"} <= set(found)
    assert ran.files == []


def test_findings_are_lines_for_people(unstatic: Command, tiny_model: Path):
    lines = unstatic("doctor", "--model", tiny_model).out.splitlines()
    assert [line for line in lines if line.startswith("ok  model")]
    assert not [line for line in lines if line.startswith("FIX")]


def test_a_broken_model_is_found(unstatic: Command, tiny_model: Path, tmp_path: Path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / "transformer.safetensors").write_bytes(b"nothing")
    ran = unstatic("doctor", "--model", model, "--json")
    found = findings(ran)
    assert ran.code == 1
    assert found["model"]["ok"] is False
    assert "transformer.safetensors" in found["model"]["value"]
    assert found["video codec"]["ok"], "one broken thing hides the others"


def test_every_installed_model_is_tried(
    unstatic: Command, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("one", "two"):
        shutil.copytree(tiny_model, tmp_path / "weights" / name)
    (tmp_path / "weights/one/model.json").write_text("{}")
    monkeypatch.setattr(manifest, "EMBEDDED_MODELS", tmp_path / "weights")
    ran = unstatic("doctor")
    assert ran.code == 1
    assert [line[:9] for line in ran.out.splitlines() if "model  " in line] == ["FIX model", "ok  model"]


def test_no_model_at_all_is_something_to_mend(
    unstatic: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(manifest, "EMBEDDED_MODELS", tmp_path)
    ran = unstatic("doctor")
    assert ran.code == 1
    assert [line for line in ran.out.splitlines() if line.startswith("FIX model") and "install" in line]
