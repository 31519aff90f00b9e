"""Pulling from a server of this machine that speaks as the hub does, and sometimes lies or falls silent."""

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import tiny_wan
from fake_hub import REVISION, FakeHub, serving

from unstatic.core.errors import InputError, UnstaticError
from unstatic.models import pull
from unstatic.models.manifest import find_model, installed_folders
from unstatic.models.pull import OFFERS, RECORD, Parcel, check_name, check_place, fetch, find_offer, inspect

REPOSITORY = "someone/tiny-wan"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda _: None)
    folder = tiny_wan.saved("2.1", tmp_path)
    (folder / "README.md").write_text("a model")
    (folder / "LICENSE.txt").write_text("Apache")
    (folder / "vae" / "old.bin").write_bytes(b"\x80\x04.")
    (folder / "model.json").write_text("{}")
    (folder / "tokenizer" / "spiece.model").write_bytes(b"pieces")
    (folder / "extra").mkdir()
    for stray in ("whole", "extra/more", "vae/diffusion_pytorch_model.fp16"):
        (folder / f"{stray}.safetensors").write_bytes(b"not wanted")
    with serving(FakeHub(folder)) as hub:
        yield hub


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNSTATIC_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def parcel(hub: FakeHub) -> Parcel:
    return inspect(REPOSITORY, endpoint=hub.url)


def test_a_parcel_says_what_would_come(hub: FakeHub) -> None:
    found = parcel(hub)
    assert (found.revision, found.licence) == (REVISION, "apache-2.0")
    assert {"model_index.json", "LICENSE.txt", "tokenizer/tokenizer.json"} <= found.files.keys()
    assert "tokenizer/spiece.model" in found.files
    unwanted = {"README.md", "vae/old.bin", "model.json", "whole.safetensors", "extra/more.safetensors"}
    assert not {*unwanted, "vae/diffusion_pytorch_model.fp16.safetensors"} & found.files.keys()
    assert found.size_bytes == sum((hub.folder / name).stat().st_size for name in found.files)


def test_a_pulled_model_is_installed(hub: FakeHub, models: Path) -> None:
    told: list[int] = []
    found = parcel(hub)
    fetch(found, models / "mine", advance=told.append)
    assert sum(told) == found.size_bytes
    assert find_model("mine").manifest.name == "mine"
    assert models / "mine" in installed_folders()
    assert json.loads((models / "mine" / RECORD).read_text())["revision"] == REVISION
    assert {each.name for each in models.iterdir()} == {"mine"}
    assert not (models / "mine" / ".cache").exists()
    asked = [each for each in hub.asked if "/resolve/" in each]
    assert "model_index.json" in asked[0]
    assert find_model("mine").manifest.licence == "apache-2.0"
    with pytest.raises(InputError, match="exists: it was pulled before"):
        fetch(found, models / "mine")


def test_what_was_interrupted_goes_on_where_it_stopped(hub: FakeHub, models: Path) -> None:
    """Ctrl-C between two pieces of a large file; the second time only the rest is asked for."""
    with (hub.folder / "vae" / "diffusion_pytorch_model.safetensors").open("ab") as file:
        file.truncate(25_000_000)

    arrived: list[int] = []

    def interrupt(size_bytes: int) -> None:
        arrived.append(size_bytes)
        if sum(arrived) > 15_000_000:
            raise KeyboardInterrupt

    found = parcel(hub)
    with pytest.raises(KeyboardInterrupt):
        fetch(found, models / "mine", advance=interrupt)
    assert not (models / "mine").exists()
    assert [each for each in installed_folders() if each.parent == models] == []
    told: list[int] = []
    fetch(found, models / "mine", advance=told.append)
    assert sum(told) == found.size_bytes
    assert any("vae/" in each and "bytes=" in each for each in hub.asked), "only the rest was asked for"


def test_a_connection_that_breaks_is_taken_up_again(hub: FakeHub, models: Path) -> None:
    hub.cut_after = 100_000
    fetch(parcel(hub), models / "mine")
    assert any("bytes=100000-" in each for each in hub.asked)
    assert find_model("mine").manifest.name == "mine"


def test_what_is_whole_is_not_fetched_again(hub: FakeHub, models: Path) -> None:
    name = "vae/diffusion_pytorch_model.safetensors"
    hub.damaged = {name}
    with pytest.raises(UnstaticError, match=r"is not what its server states: pull it again"):
        fetch(parcel(hub), models / "mine")
    assert not (models / "mine").exists()
    hub.damaged = set()
    before = len(hub.asked)
    fetch(parcel(hub), models / "mine")
    again = [each for each in hub.asked[before:] if each.startswith("GET") and "/resolve/" in each]
    assert all("transformer/" not in each for each in again)
    assert any(name in each for each in again)


def test_what_cannot_be_had_is_said_in_one_line(hub: FakeHub, models: Path) -> None:
    with pytest.raises(InputError, match="has no revision 'v9': leave it out"):
        inspect(REPOSITORY, revision="v9", endpoint=hub.url)
    with pytest.raises(InputError, match="is no name of a repository"):
        inspect("a/b/c", endpoint=hub.url)
    hub.extra = ("../../evil.json",)
    with pytest.raises(InputError, match="names a file outside of itself"):
        parcel(hub)
    hub.extra, hub.gated = (), True
    with pytest.raises(InputError, match="is gated: accept its terms"):
        parcel(hub)
    hub.gated, hub.gone = False, True
    with pytest.raises(InputError, match="is not there, or closed to you"):
        parcel(hub)
    url, hub.gone = hub.url, False
    (hub.folder / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(InputError, match="holds a FluxPipeline"):
        parcel(hub)
    assert not models.exists()
    (hub.folder / "model_index.json").unlink()
    with pytest.raises(InputError, match="take the repository in diffusers' layout"):
        parcel(hub)
    with pytest.raises(UnstaticError, match="cannot fetch someone/tiny-wan"):
        inspect(REPOSITORY, endpoint=url.replace("127.0.0.1", "127.0.0.1:9").rsplit(":", 1)[0])


def test_too_little_room_is_said_before_anything_is_fetched(
    hub: FakeHub, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = parcel(hub)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    before = len(hub.asked)
    with pytest.raises(InputError, match=r"has room for 1\.0 kB, but .* needed: free some"):
        fetch(found, models / "mine")
    assert len(hub.asked) == before


def test_offers_are_found_by_name_and_any_repository_by_its_own() -> None:
    assert len({offer.name for offer in OFFERS}) == len(OFFERS)
    assert find_offer("wan2.2-5b").repository == "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
    assert find_offer("Someone/Tiny-Wan").name == "tiny-wan"
    with pytest.raises(InputError, match=r"did you mean wan2\.2-5b, or OWNER/NAME"):
        find_offer("wan2.2-5B")


@pytest.mark.parametrize("name", ["../x", "/tmp/x", ".hidden", "a/b", "", "nano"])
def test_a_model_has_a_plain_name_of_its_own(name: str) -> None:
    with pytest.raises(InputError, match=r"--name|choose another name"):
        check_name(name)
    assert check_name("wan2.1-1.3b") == "wan2.1-1.3b"


def test_gated_files_are_not_asked_for_again_and_again(hub: FakeHub, models: Path) -> None:
    """The listing of a gated repository is open, its files are not."""
    found = parcel(hub)
    hub.gated = True
    before = len(hub.asked)
    with pytest.raises(InputError, match="is gated: accept its terms"):
        fetch(found, models / "mine")
    assert len(hub.asked) == before + 1


def test_a_token_goes_to_no_other_hub(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    parcel(hub)
    assert hub.asked
    assert hub.secrets == []


def test_folders_of_other_revisions_are_cleared_away(hub: FakeHub, models: Path) -> None:
    stale, other = models / ".mine.000000000000", models / ".mine.2-14b.000000000000"
    stale.mkdir(parents=True)
    other.mkdir()
    (stale / "model_index.json").write_text("{}")
    fetch(parcel(hub), models / "mine")
    assert {each.name for each in models.iterdir()} == {"mine", other.name}, "another model's goes on"


def test_a_licence_that_is_called_other_is_named() -> None:
    card = {"license": "other", "license_name": "ltx", "license_link": "https://example.org/ltx"}
    assert pull._licence(card) == "ltx https://example.org/ltx"
    assert pull._licence({"license": "mit"}) == "mit"
    assert pull._licence({}) == "not stated"


def test_the_address_of_a_hub_has_its_scheme() -> None:
    with pytest.raises(InputError, match="write http://localhost:8080"):
        inspect(REPOSITORY, endpoint="localhost:8080")


def test_a_place_where_nothing_can_be_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="set UNSTATIC_MODELS to another place"):
        check_place(tmp_path / "file" / "models")
