"""Which clips a folder of videos has, and what they show: a line for each, written the moment it is whole."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from unstatic.core.errors import InputError
from unstatic.core.files import atomic_path

NAME = "clips.jsonl"


class ClipIndex:
    """FOLDER/clips.jsonl; made by `open_index`. Scenes are told and compared as JSON."""

    def __init__(self, folder: Path, scenes: dict[str, Any], file: IO[str]) -> None:
        self.folder, self.scenes, self.file = folder, scenes, file

    def has(self, name: str, scene: str) -> bool:
        """Return whether a clip is there. Raises InputError if the one of this name shows another scene."""
        if name not in self.scenes:
            return False
        if self.scenes[name] != json.loads(scene):
            raise InputError(f"{self.folder / name} shows another scene: take another folder")
        return (self.folder / name).exists()

    def add(self, name: str, caption: str, scene: str) -> None:
        """Write the line of a clip whose file is there."""
        if name in self.scenes:  # it was, and its file had gone
            return
        self.scenes[name] = json.loads(scene)
        line = {"file": name, "caption": caption, "scene": self.scenes[name]}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


@contextmanager
def open_index(folder: Path) -> Generator[ClipIndex]:
    """Read the index of a folder, or begin one. Raises InputError if the folder has videos but no index.

    A last line that was not written to its end is left out: its clip is made again.
    """
    path = folder / NAME
    if not path.exists() and any(folder.glob("*.mp4")):
        raise InputError(f"{folder} has videos of something else: take another folder")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    try:
        scenes = {each["file"]: each["scene"] for each in map(json.loads, whole)}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged: take another folder") from None
    with atomic_path(path) as temporary:
        temporary.write_text("".join(whole), encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        yield ClipIndex(folder, scenes, file)
