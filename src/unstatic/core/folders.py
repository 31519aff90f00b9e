"""Where files of the user lie: those that can be fetched again, models, and what a server keeps."""

import os
from pathlib import Path

from unstatic.core.errors import InputError

VARIABLE, MODELS_VARIABLE = "UNSTATIC_CACHE", "UNSTATIC_MODELS"


def cache_folder() -> Path:
    """Return the user's folder for files that can be fetched again; it may not exist yet.

    UNSTATIC_CACHE names it; without that it is "unstatic" in XDG_CACHE_HOME, or in ~/.cache.
    """
    if named := os.environ.get(VARIABLE):
        return _at_home(Path(named))
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else _at_home(Path("~/.cache"))) / "unstatic"


def models_folder() -> Path:
    """Return the user's folder for models that were pulled; it may not exist yet.

    UNSTATIC_MODELS names it; without that it is "unstatic/models" in XDG_DATA_HOME, or in ~/.local/share.
    """
    if named := os.environ.get(MODELS_VARIABLE):
        return _at_home(Path(named))
    return _data_folder() / "models"


def server_folder() -> Path:
    """Return the user's folder for what a server keeps, "unstatic/server" beside the models."""
    return _data_folder() / "server"


def _data_folder() -> Path:
    parent = os.environ.get("XDG_DATA_HOME")
    return (Path(parent) if parent else _at_home(Path("~/.local/share"))) / "unstatic"


def _at_home(path: Path) -> Path:
    """Put a folder for "~". Raises InputError for a user who has none."""
    try:
        return path.expanduser()
    except RuntimeError:
        fix = f"set HOME, or {MODELS_VARIABLE}, {VARIABLE} and UNSTATIC_SERVE_DATA"
        raise InputError(f"there is no home folder for {path}: {fix}") from None
