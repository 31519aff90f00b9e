"""What models say about themselves, and how they are found."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.models import manifest
from unstatic.models.manifest import (
    InstalledModel,
    Window,
    find_model,
    installed_folders,
    open_model,
    read_manifest,
    write_manifest,
)


@pytest.fixture
def installed(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the tiny model as "one" and as "two"."""
    root = tmp_path / "weights"
    for name in ("one", "two"):
        shutil.copytree(tiny_model, root / name)
    (root / "minilm").mkdir()
    monkeypatch.setattr(manifest, "EMBEDDED_MODELS", root)
    return root


def test_a_manifest_survives_being_written(tiny_model: Path, tmp_path: Path):
    changed = replace(
        read_manifest(tiny_model), summary="other", sizes=(Size(64, 48),), prediction="velocity"
    )
    write_manifest(tmp_path, changed)
    assert read_manifest(tmp_path) == changed


def test_a_manifest_from_before_there_were_expanders_still_loads(tiny_model: Path, tmp_path: Path):
    fields = json.loads((tiny_model / "model.json").read_text())
    del fields["expander"]
    (tmp_path / "model.json").write_text(json.dumps(fields))
    assert read_manifest(tmp_path).expander == ""


def test_a_manifest_from_before_there_were_students_still_loads(tiny_model: Path, tmp_path: Path):
    fields = json.loads((tiny_model / "model.json").read_text())
    del fields["window"], fields["defaults"]["levels"], fields["defaults"]["damped"]
    del fields["defaults"]["waypoints"]
    (tmp_path / "model.json").write_text(json.dumps(fields))
    old = read_manifest(tmp_path)
    assert old == read_manifest(tiny_model)
    assert (old.first_chunk, old.defaults.damped, old.defaults.waypoints) == (1, True, True)


@pytest.mark.parametrize(
    ("window", "chunk", "history", "sinks"),
    [
        (Window(first=3), 3, 6, 0),
        (Window(first=1), 1, 20, 0),
        (Window(first=1), 4, 5, 0),  # 21 frames end with a first chunk of one
        (Window(first=3, frames=12, sinks=3), 3, 2, 1),
        (Window(first=1, frames=14, sinks=5), 4, 2, 2),
    ],
)
def test_a_window_is_counted_in_chunks(window: Window, chunk: int, history: int, sinks: int):
    assert (window.history_chunks(chunk), window.sink_chunks(chunk)) == (history, sinks)


def test_a_window_cuts_no_chunk(tiny_model: Path):
    manifest = replace(read_manifest(tiny_model), chunk=3, window=Window(first=3, frames=9))
    assert manifest.first_chunk == 3
    for frames in (3, 10):
        with pytest.raises(
            InputError, match=f"a window of {frames} latent frames.* cuts a chunk of 3 in two"
        ):
            replace(manifest, window=Window(first=3, frames=frames))
    for sinks in (1, 4):
        with pytest.raises(InputError, match=f"sinks of {sinks} latent frames are no whole chunks of 3"):
            replace(manifest, window=Window(first=3, frames=9 + sinks, sinks=sinks))


def test_the_default_size_is_the_first_one_enlarged(tiny_model: Path):
    assert read_manifest(tiny_model).default_size == Size(64, 64)


def test_installed_models_are_named_by_their_folders(installed: Path):
    assert installed_folders() == [installed / "one", installed / "two"]
    assert find_model("two").folder == installed / "two"


def test_a_model_can_be_named_by_any_folder(installed: Path, tiny_model: Path):
    assert installed.is_dir()
    assert find_model(str(tiny_model)) == open_model(tiny_model)


def test_an_installed_name_comes_before_a_folder_here(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "one").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model("one").folder == installed / "one"


def test_one_broken_model_does_not_hide_the_others(installed: Path):
    (installed / "one/model.json").write_text("{}")
    assert find_model("two").manifest.name == "tiny"
    with pytest.raises(InputError, match=r"one.model\.json does not fit .* missing setting: name"):
        find_model("one")


def test_an_unknown_name_is_told_the_nearest(installed: Path):
    assert installed.is_dir()
    with pytest.raises(InputError, match="there is no model 'tow': did you mean two"):
        find_model("tow")


def test_an_address_is_no_installed_model():
    with pytest.raises(InputError, match="is a server: for this a model is needed that is on this machine"):
        find_model("http://127.0.0.1:8000/v1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": []}, "at least one size"),
        ({"fps": 0}, "one frame a second"),
        ({"prediction": "noise"}, "prediction='noise' is not one of x0, velocity, eps"),
        ({"max_seconds": "long"}, "max_seconds='long' is not a finite number"),
        ({"colour": "red"}, "unknown setting 'colour'"),
        ({"expander": "moon"}, "expander='moon' is not one of"),
    ],
)
def test_impossible_manifests_are_refused(
    tiny_model: Path, tmp_path: Path, changes: dict[str, object], message: str
):
    fields = json.loads((tiny_model / "model.json").read_text()) | changes
    (tmp_path / "model.json").write_text(json.dumps(fields))
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path)


def test_a_folder_without_a_manifest_is_no_model(tmp_path: Path):
    with pytest.raises(InputError, match=r"is not a model: it has no model\.json"):
        open_model(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b""])
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.json is not JSON") as caught:
        read_manifest(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_the_size_on_disk_counts_every_file_of_weights(tiny_model: Path):
    files = [tiny_model / "transformer.safetensors", tiny_model / "autoencoder.safetensors"]
    assert open_model(tiny_model).size_bytes() == sum(len(file.read_bytes()) for file in files)


def test_a_model_that_can_be_pulled_says_how():
    with pytest.raises(InputError, match=r"not here yet: fetch it with `unstatic models pull wan2\.1-1\.3b`"):
        find_model("wan2.1-1.3b")


def test_a_weight_that_links_to_nothing_is_left_to_loading(tmp_path: Path):
    (tmp_path / "autoencoder.safetensors").symlink_to(tmp_path / "unplugged" / "autoencoder.safetensors")
    model = InstalledModel(tmp_path, find_model("nano").manifest)
    assert (len(model.digest()), model.size_bytes()) == (16, 0)
