"""Files that appear whole or not at all."""

import json
import os
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from unstatic.core.errors import InputError, UnstaticError

UNFINISHED = re.compile(r"\.[0-9a-f]{12}\.part(\..*)?")


class WriteError(UnstaticError):
    """A file could not be written, for example on a disk that is full."""


@contextmanager
def writing_to(path: Path) -> Generator[None]:
    """Turn what the system says while the block writes into a WriteError about `path`."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}, choose another place") from error


@contextmanager
def atomic_path(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path` with the same suffix; it becomes `path` when the block ends well.

    The data is on disk before the name appears. After any exception, Ctrl-C included, nothing is left and a
    file that was there before is untouched.
    """
    temporary = _temporary(path)
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        _flush(path.parent)


def make_folders(folder: Path) -> None:
    """Make a folder and those it lies in, on disk before this returns; only the user can look into them."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        if os.name == "posix":
            _flush(each.parent)


def ensure_writable(path: Path) -> None:
    """Raise InputError now if a file could not be written at `path` later; leaves nothing behind."""
    try:
        if not path.parent.is_dir():
            raise InputError(f"cannot write {path}: the folder {path.parent} does not exist, create it first")
        if path.is_dir():
            raise InputError(f"cannot write {path}: it is a folder, name a file in it")
        temporary = _temporary(path)
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}, choose another place") from error


def read_object(path: Path, fix: str) -> dict[str, Any]:
    """Read a JSON object. Raises InputError, with how to mend it, when it is missing or is something else."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {fix}") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not JSON ({reason}): {fix}") from None
    if not isinstance(fields, dict):
        raise InputError(f"{path} holds no JSON object but a {type(fields).__name__}: {fix}")
    return cast(dict[str, Any], fields)


def human_size(size_bytes: int) -> str:
    """Write a size the way people say it, in powers of 1000: 987 bytes, 1.2 MB, 43 GB."""
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.5:
            return f"{size:.1f} {unit}" if size < 9.95 else f"{size:.0f} {unit}"
    return f"{size / 1000:.1f} TB"


def clear_unfinished(folder: Path) -> None:
    """Delete what processes that were killed had begun to write in a folder; nobody may be writing there."""
    for path in folder.rglob(".*.part*"):
        if UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    # See UNFINISHED. Hidden and short: the name of `path` may already be as long as the file system allows.
    return path.with_name(f".{secrets.token_hex(6)}.part{path.suffix}")


def _flush(path: Path) -> None:
    """Wait until the file, or the names in the folder, are on disk."""
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
