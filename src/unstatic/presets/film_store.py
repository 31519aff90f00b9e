"""Films of the part of an evaluation that is being measured: stopped and begun again, it goes on from there.

A film takes seconds to minutes, a part up to hours. What reads films is fast, so films alone are kept: each
in a file of its own, lossless, with the time that it took, until its part is done.
"""

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from unstatic.core.files import atomic_path
from unstatic.evals.follow import Make
from unstatic.evals.prompts import Prompt
from unstatic.evals.readings import Frames
from unstatic.evals.speed import FilmTimes


@dataclass(frozen=True, slots=True)
class FilmStore:
    """Films on disk if there is a `folder`, which is theirs alone; those of another `key` are not found."""

    folder: Path | None
    key: str

    def keeping(self, part: str, column: str, make: Make, times: FilmTimes) -> Make:
        """Return what makes the same films, each but once, and counts the time that it took then."""

        def kept(prompt: Prompt) -> Frames:
            path = self.path_of(part, column, prompt)
            found = None if path is None else _read(path)
            if found is None:
                started = time.perf_counter()
                frames = make(prompt)
                found = frames, time.perf_counter() - started
                if path is not None:
                    _write(path, *found)
            frames, seconds = found
            times.add(column, seconds)
            return frames

        return kept

    def path_of(self, part: str, column: str, prompt: Prompt) -> Path | None:
        """Return where a film lies, or would lie."""
        if self.folder is None:
            return None
        asked = json.dumps([self.key, column, prompt.text, prompt.spec.seed])
        return self.folder / part / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.npz"

    def forget(self, part: str) -> None:
        """Delete the films of a part that is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder / part, ignore_errors=True)


def _read(path: Path) -> tuple[Frames, float] | None:
    """Return a film and its time; None if it is not there, or damaged."""
    try:
        with path.open("rb") as file, np.load(file) as kept:
            return kept["frames"], float(kept["seconds"])
    except (OSError, BadZipFile, KeyError, ValueError, EOFError):
        return None


def _write(path: Path, frames: Frames, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, frames=frames, seconds=seconds)
