import os
from pathlib import Path

import pytest

from unstatic.core.errors import InputError
from unstatic.core.files import (
    atomic_path,
    clear_unfinished,
    ensure_writable,
    human_size,
    make_folders,
    read_object,
)


def test_the_file_appears_only_when_the_block_ends(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert temporary.suffix == ".mp4"
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "clip.mp4"
    path.write_text("old")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_as_long_as_the_file_system_allows_works(tmp_path: Path):
    path = tmp_path / ("n" * 251 + ".mp4")
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert path.is_file()


def test_folders_are_made_for_their_user_and_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    flushed: list[str] = []
    fsync = os.fsync

    def note(handle: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    for _ in range(2):
        make_folders(tmp_path / "a" / "b")
    assert flushed == [str(tmp_path), str(tmp_path / "a")]
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o700] * 2


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path):
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="a"):
        make_folders(tmp_path / "a" / "b")


def test_writable_places_pass_and_stay_empty(tmp_path: Path):
    ensure_writable(tmp_path / "new.mp4")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_places_are_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    cases = {
        tmp_path / "missing" / "clip.mp4": "does not exist",
        tmp_path: "is a folder",
        tmp_path / "file" / "clip.mp4": "does not exist",
        tmp_path / ("n" * 300 + ".mp4"): "too long",
        Path("/proc/clip.mp4"): "choose another place",
    }
    for path, reason in cases.items():
        with pytest.raises(InputError, match=reason):
            ensure_writable(path)


def test_a_folder_that_nobody_may_look_into_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def closed(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", closed)
    with pytest.raises(
        InputError, match=r"cannot write .*film\.mp4: Permission denied, choose another place"
    ):
        ensure_writable(tmp_path / "film.mp4")


def test_sizes_are_written_as_people_say_them():
    sizes = {0: "0 bytes", 999: "999 bytes", 1000: "1.0 kB", 9_960: "10 kB", 999_600: "1.0 MB"}
    sizes |= {48_300_000: "48 MB", 2_500_000_000: "2.5 GB", 7_200_000_000_000: "7.2 TB"}
    for size_bytes, text in sizes.items():
        assert human_size(size_bytes) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "is missing: mend it"), ("{", "is not JSON"), ("[]", "no JSON object but a list: mend it")],
)
def test_what_is_no_json_object_is_said_with_the_fix(tmp_path: Path, text: str | None, said: str):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_object(path, "mend it")
    path.write_text('{"a": 1}')
    assert read_object(path, "mend it") == {"a": 1}


def test_what_killed_writers_left_is_cleared_and_nothing_else(tmp_path: Path):
    clips = tmp_path / "clips"
    clips.mkdir()
    kept = ["clips-00000.safetensors", ".part", ".mine.part.txt", ".0123456789ab.parts", "0123456789ab.part"]
    for name in kept:
        (clips / name).touch()
    with atomic_path(clips / "clips-00001.safetensors") as temporary:
        temporary.touch()
        name = temporary.name
    (clips / name).touch()  # as if its process had been killed
    clear_unfinished(tmp_path)
    assert sorted(path.name for path in clips.iterdir()) == sorted([*kept, "clips-00001.safetensors"])
