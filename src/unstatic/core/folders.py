"""Where files lie that can be fetched again."""

import os
from pathlib import Path

VARIABLE = "UNSTATIC_CACHE"


def cache_folder() -> Path:
    """Return the user's folder for files that can be fetched again; it may not exist yet.

    UNSTATIC_CACHE names it; without that it is "unstatic" in XDG_CACHE_HOME, or in ~/.cache.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "unstatic"
