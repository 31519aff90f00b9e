"""Where files of the user lie: those that can be fetched again, models, and what a server keeps."""

import os
from pathlib import Path

VARIABLE, MODELS_VARIABLE = "UNSTATIC_CACHE", "UNSTATIC_MODELS"


def cache_folder() -> Path:
    """Return the user's folder for files that can be fetched again; it may not exist yet.

    UNSTATIC_CACHE names it; without that it is "unstatic" in XDG_CACHE_HOME, or in ~/.cache.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "unstatic"


def models_folder() -> Path:
    """Return the user's folder for models that were pulled; it may not exist yet.

    UNSTATIC_MODELS names it; without that it is "unstatic/models" in XDG_DATA_HOME, or in ~/.local/share.
    """
    if named := os.environ.get(MODELS_VARIABLE):
        return Path(named).expanduser()
    return _data_folder() / "models"


def server_folder() -> Path:
    """Return the user's folder for what a server keeps, "unstatic/server" beside the models."""
    return _data_folder() / "server"


def _data_folder() -> Path:
    parent = os.environ.get("XDG_DATA_HOME")
    return (Path(parent) if parent else Path.home() / ".local" / "share") / "unstatic"
