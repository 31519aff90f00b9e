"""Names that overwrite nothing, though their files come minutes later and others look for names meanwhile.

Whoever was given a name holds a lock on a hidden file beside it. Locks end with their process: what is left
of one that was killed claims nothing.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from unstatic.core.errors import InputError

_claims: dict[Path, int] = {}


def unused_path(directory: Path, stem: str, suffix: str) -> Path:
    """Return the first of stem.suffix, stem-2.suffix, stem-3.suffix, ... not yet in `directory`.

    No other process is given the same until `release_names`.
    """
    path = directory / f"{stem}{suffix}"
    for number in count(2):
        if not path.exists() and _claim(path):
            break
        path = directory / f"{stem}-{number}{suffix}"
    return path


def release_names() -> None:
    """Let go of all names that this process was given: their files are there, or never will be."""
    for claim, handle in _claims.items():
        claim.unlink(missing_ok=True)
        os.close(handle)
    _claims.clear()


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Keep other processes out of `folder` during the block. Raises InputError if one is in it."""
    path = folder / "in-use"
    if not _claim(path):
        raise InputError(f"another process works in {folder}: wait until it ends, or take another folder")
    try:
        yield
    finally:
        if (handle := _claims.pop(_beside(path), None)) is not None:
            _beside(path).unlink(missing_ok=True)
            os.close(handle)


def _claim(path: Path) -> bool:
    """Return whether a name is this process's now; where nothing can be written, others will say so."""
    claim = _beside(path)
    if claim in _claims:
        return True
    try:
        # On Windows the file goes with its last handle, and nobody else may open it
        handle = os.open(claim, os.O_RDWR | os.O_CREAT | getattr(os, "O_TEMPORARY", 0), 0o600)
    except OSError:
        return os.name == "posix" or not claim.exists()
    _claims[claim] = handle
    if os.name == "posix" and not (_lock(handle) and _is(claim, handle)):
        os.close(_claims.pop(claim))
        return False
    return not path.exists()  # whoever held the name before may have used it


def _beside(path: Path) -> Path:
    return path.absolute().with_name(f".{path.name}.claim")


def _lock(handle: int) -> bool:
    """Lock an open file, and return whether no other process had; some network file systems have no locks."""
    import fcntl

    with suppress(OSError):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _is(path: Path, handle: int) -> bool:
    """Tell whether a path is the file that is open: whoever held it may have removed it meanwhile."""
    return path.exists() and os.path.samestat(path.stat(), os.fstat(handle))
