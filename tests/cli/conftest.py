"""The command line as tests see it: arguments in; exit code, output and files out."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from unstatic.cli.main import run


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str
    files: list[str]

    @property
    def complaint(self) -> str:
        """The one line on stderr of a command that failed."""
        assert self.out == "", "a failed command printed a result"
        (line,) = self.err.splitlines()
        return line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty folder that commands run in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def unstatic(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Return a function that runs `unstatic` with the given arguments."""

    def command(*arguments: object) -> Ran:
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ran(code, out, err, sorted(path.name for path in folder.rglob("*")))

    return command
