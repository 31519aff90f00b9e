"""Names overwrite nothing, nor what others make at the same time."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from unstatic.core.names import release_names, unused_path

OTHER = """
import sys
from pathlib import Path
from unstatic.core.names import release_names, unused_path
print(unused_path(Path(sys.argv[1]), "ball", ".mp4").name, flush=True)
for command in sys.stdin:
    exec(command)
"""


@contextmanager
def other(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start another process that wants the same name."""
    program = [sys.executable, "-c", OTHER, str(folder)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    yield
    release_names()


def test_default_names_overwrite_nothing(tmp_path: Path):
    names: list[str] = []
    for _ in range(3):
        path = unused_path(tmp_path, "ball", ".mp4")
        path.touch()
        names.append(path.name)
    assert names == ["ball.mp4", "ball-2.mp4", "ball-3.mp4"]


def test_a_name_that_was_not_used_is_given_again(tmp_path: Path):
    assert unused_path(tmp_path, "ball", ".mp4") == unused_path(tmp_path, "ball", ".mp4")
    release_names()
    assert list(tmp_path.iterdir()) == []


def test_two_processes_never_have_one_name(tmp_path: Path):
    assert unused_path(tmp_path, "ball", ".mp4").name == "ball.mp4"
    with other(tmp_path) as second, other(tmp_path) as third:
        assert {said(second), said(third)} == {"ball-2.mp4", "ball-3.mp4"}
        second.communicate("release_names()\n")
        third.communicate("release_names()\n")
    release_names()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_leaves_claims_nothing(tmp_path: Path):
    with other(tmp_path) as killed:
        assert said(killed) == "ball.mp4"
        killed.kill()
    assert len(list(tmp_path.iterdir())) == 1
    assert unused_path(tmp_path, "ball", ".mp4").name == "ball.mp4"
    release_names()
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_there_is_still_a_name(tmp_path: Path):
    assert unused_path(tmp_path / "missing", "ball", ".mp4").name == "ball.mp4"


def test_where_there_are_no_locks_names_are_given_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of some network file systems `flock` knows nothing."""
    fcntl = pytest.importorskip("fcntl")

    def unknown(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    assert unused_path(tmp_path, "ball", ".mp4").name == "ball.mp4"
    (tmp_path / "ball.mp4").touch()
    assert unused_path(tmp_path, "ball", ".mp4").name == "ball-2.mp4"
    release_names()
    assert [each.name for each in tmp_path.iterdir()] == ["ball.mp4"]
