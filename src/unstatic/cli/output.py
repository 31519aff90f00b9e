"""What commands print: the result on stdout, as a path or as JSON; everything else on stderr."""

import json
import os
import re
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.files import ensure_writable
from unstatic.core.names import unused_path
from unstatic.core.processes import this_process

STEM_CHARACTERS = 48
STDOUT = Path("-")


class StoppedError(UnstaticError):
    """Ctrl-C stopped something that can go on later; the message says how."""

    exit_code: int = 130


@contextmanager
def stopping(said: str) -> Generator[None]:
    """Raise StoppedError with these words where Ctrl-C stops what is inside."""
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError(said) from None


def output_path(chosen: Path | None, words: str, suffixes: tuple[str, ...]) -> Path:
    """Return where the result goes: `chosen`, or an unused name made of `words` in this folder.

    A file that was named is replaced when the new one is whole. Raises InputError if the suffix is none of
    `suffixes` or the place cannot be written.
    """
    if chosen is None:
        stem = "-".join(re.findall(r"[a-z0-9]+", words.lower()))[:STEM_CHARACTERS].strip("-")
        name = stem or "unstatic"
        follows = this_process().rank > 0  # several processes make one film, and the first writes it
        chosen = Path(f"{name}{suffixes[0]}") if follows else unused_path(Path(), name, suffixes[0])
    elif chosen.suffix.lower() not in suffixes:
        raise InputError(f"output {chosen} must end in {' or '.join(suffixes)}")
    ensure_writable(chosen)
    return chosen


def check_pipe(*, as_json: bool) -> None:
    """Raise InputError if a video on stdout would meet something else there: a person, or JSON."""
    if as_json:
        raise InputError("--json and -o - both write to stdout: leave one of them out")
    if sys.stdout.isatty():
        raise InputError("-o - would write the video into the terminal: add `| ffplay -`, or name a file")


@contextmanager
def stdout_pipe() -> Generator[Callable[[bytes], None]]:
    """Yield a function that writes bytes to stdout at once; a reader that has had enough ends it quietly."""
    try:
        with stopping("stopped, what was written until then can be played"):
            yield _write_stdout
    except BrokenPipeError:
        raise typer.Exit(UnstaticError.exit_code) from None
    except OSError as error:
        raise UnstaticError(f"cannot write to stdout: {error.strerror}") from error


def _write_stdout(data: bytes) -> None:
    # Past Python's buffer: what a broken pipe left in there would be a complaint when Python ends
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def make_folder(folder: Path) -> None:
    """Create a folder to write into unless it is there. Raises InputError if that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}, choose another folder") from None


def report(path: Path, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the path of the result, or one JSON object that holds it and the facts."""
    typer.echo(json.dumps({"path": str(path), **facts}) if as_json else str(path))


def warn(message: str) -> None:
    """Tell the user something that does not stop the work; of several processes the first one does."""
    if this_process().rank:
        return
    # Not typer.echo: it finds the way past a live bar, which then does not step aside
    print(f"unstatic: {message}", file=sys.stderr)
