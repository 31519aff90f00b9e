"""Shards: numbered pairs of files that hold many clips or many latents, read at random without loading them.

    clips-00012.safetensors      frames uint8 [n t h w c], ids uint8 [n t h w]
    clips-00012.jsonl            one scene per line, in the same order
    latents-00012.safetensors    latents float16 [n t c h w], objects bool [n t h w], with the same lines

Clips that are windows of longer scenes have two arrays more: `openings`, the first frame of each scene, as
frames or latents with t = 1, and `starts` int64 [n 1], how many frames or latent frames after it they begin.

A shard exists once its safetensors file does, and that file is renamed into place last: what a killed writer
leaves is never read, and any number of writers may share a folder as long as their shard numbers differ.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from unstatic.core.errors import InputError
from unstatic.core.files import atomic_path

Kind = Literal["clips", "latents", "pairs"]


def shard_path(folder: Path, kind: Kind, number: int) -> Path:
    """Name the tensors' file of shard `number`."""
    return folder / f"{kind}-{number:05d}.safetensors"


def write_shard(
    folder: Path,
    kind: Kind,
    number: int,
    arrays: Mapping[str, NDArray[Any]],
    lines: Sequence[str],
    *,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write one shard atomically and return its path.

    Every array has one entry per line along its first axis. `about` is any JSON about the whole shard.
    """
    counts = {name: len(array) for name, array in arrays.items()}
    assert set(counts.values()) == {len(lines)}, f"{counts} for {len(lines)} lines"
    assert all("\n" not in line for line in lines), "a line must be one line"

    folder.mkdir(parents=True, exist_ok=True)
    path = shard_path(folder, kind, number)
    with atomic_path(path.with_suffix(".jsonl")) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with atomic_path(path) as temporary:
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, temporary, metadata={"unstatic": json.dumps(dict(about or {}))})
    return path


class Shard:
    """One shard, memory-mapped: only what is asked for is read."""

    def __init__(self, path: Path):
        """Open the shard. Raises InputError if a file of it is damaged or missing."""
        self.path = path
        try:
            self._file: Any = safe_open(path, framework="numpy")
        except (SafetensorError, FileNotFoundError) as error:
            raise InputError(
                f"{path} is not a whole shard ({error}); delete it and write it again"
            ) from error
        self._slices = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118
        self.shapes: dict[str, tuple[int, ...]] = {
            name: tuple(piece.get_shape()) for name, piece in self._slices.items()
        }

    def __len__(self) -> int:
        return next(iter(self.shapes.values()))[0]

    def read(self, name: str, index: int, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Copy frames `start` to `stop` of entry `index` of the array `name`."""
        stop = self.shapes[name][1] if stop is None else stop
        return self._slices[name][index : index + 1, start:stop][0]

    @cached_property
    def lines(self) -> list[str]:
        """The scene of every entry, as one line of JSON."""
        path = self.path.with_suffix(".jsonl")
        if not path.is_file():
            raise InputError(f"{path} is missing; delete {self.path.name} and write the shard again")
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        if len(lines) != len(self):
            raise InputError(f"{path} has {len(lines)} lines for {len(self)} entries; write the shard again")
        return lines

    @property
    def about(self) -> dict[str, Any]:
        """What the writer said about the whole shard."""
        metadata: dict[str, str] = self._file.metadata() or {}
        return json.loads(metadata.get("unstatic", "{}"))


def open_shards(folder: Path, kind: Kind, names: Sequence[str] | None = None) -> list[Shard]:
    """Open all shards of `kind` in `folder` in order of number, or exactly the files in `names`.

    A resumed run passes the names it began with (`shard.path.name`): the folder may have grown meanwhile.
    Raises InputError if there are none.
    """
    if names is None:
        names = sorted(path.name for path in folder.glob(f"{kind}-*.safetensors"))
    if not names:
        raise InputError(f"no {kind} shards in {folder}; write some there first")
    return [Shard(folder / name) for name in names]
