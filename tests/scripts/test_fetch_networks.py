import hashlib
import io
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fetch_networks import fetch

from unstatic.core.errors import InputError
from unstatic.evals.files import PinnedFile, load_arrays

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("UNSTATIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "evals"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return a source archive whose setup must never run."""
    path = tmp_path / "some_net-1.0.tar.gz"
    members = {
        "some_net-1.0/setup.py": b"raise SystemExit('the setup ran')",
        "some_net-1.0/net.ckpt": pickle.dumps({"params": {"kernel": KERNEL}}, 4),
    }
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def pinned(archive: Path) -> PinnedFile:
    return PinnedFile(
        name="some-net",
        project="some-net",
        archive=archive.name,
        sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
        size_bytes=archive.stat().st_size,
        member="some_net-1.0/net.ckpt",
        licence="MIT",
    )


def refuse(_: PinnedFile, __: Path) -> str:
    raise InputError("cannot fetch it (there is no network)")


def test_a_file_is_fetched_once_and_kept_as_safetensors(pinned: PinnedFile, archive: Path, cache: Path):
    def source(_: PinnedFile, target: Path) -> str:
        shutil.copy(archive, target)
        return hashlib.sha256(archive.read_bytes()).hexdigest()

    assert not pinned.is_here
    with pytest.raises(InputError, match="fetch_networks"):
        load_arrays(pinned)
    assert fetch(pinned, source) == pinned.path
    first = load_arrays(pinned)
    assert torch.equal(first["params/kernel"], torch.from_numpy(KERNEL))
    assert [path.name for path in cache.iterdir()] == [f"some-net-{pinned.sha256[:8]}.safetensors"]
    assert fetch(pinned, refuse) == pinned.path


def test_an_archive_put_there_by_hand_is_taken(pinned: PinnedFile, archive: Path, cache: Path):
    cache.mkdir(parents=True)
    shutil.copy(archive, cache)
    fetch(pinned, refuse)
    assert load_arrays(pinned).keys() == {"params/kernel"}


def test_without_a_network_the_error_says_what_to_do(pinned: PinnedFile, cache: Path):
    with pytest.raises(
        InputError, match=r"no network.*index-url, or put some_net-1\.0\.tar\.gz into"
    ) as failed:
        fetch(pinned, refuse)
    assert str(cache) in str(failed.value)
    assert list(cache.iterdir()) == []


def test_another_archive_of_that_name_is_not_used(pinned: PinnedFile, cache: Path):
    cache.mkdir(parents=True)
    (cache / pinned.archive).write_bytes(b"something else")
    with pytest.raises(InputError, match="sha256"):
        fetch(pinned, refuse)
    assert not pinned.is_here


def test_a_folder_that_cannot_be_made_is_an_error(pinned: PinnedFile, cache: Path):
    cache.parent.write_text("in the way")
    with pytest.raises(InputError, match="UNSTATIC_CACHE"):
        fetch(pinned, refuse)
