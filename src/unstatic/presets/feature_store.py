"""I3D features of the clips of an evaluation, kept beside its parts: what FVD is computed from."""

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from safetensors import safe_open
from safetensors.numpy import save_file

from unstatic.core.files import atomic_path
from unstatic.evals.distribution import DistributionResult, measure_distribution
from unstatic.evals.follow import REAL, RECONSTRUCTION
from unstatic.world.mix import WHOLE_MIX
from unstatic.world.relations import hero
from unstatic.world.scenes import sample_scene
from unstatic.world.spec import MOTIONS, SceneSpec

Frames = UInt8[np.ndarray, "t h w 3"]
Vector = Float[np.ndarray, "d"]
# The suites whose clips are compared: films of one thing each, as training shows them.
COMPARED = ("objects", "animals")
OTHERS = "other renders"  # of such things in such motions: how far apart two sets of real clips are
OTHER_SEEDS = 50_000_000  # so far from a prompt's own


@dataclass(frozen=True, slots=True)
class DistributionTable:
    """The distance of every column's clips from the real renders'."""

    columns: dict[str, DistributionResult]

    def to_markdown(self) -> str:
        """Return a table with a row for every column but the real one."""
        count = next(iter(self.columns.values())).real if self.columns else 0
        lines = [f"| {count} clips against as many real renders | FVD | KVD |", "|---|---|---|"]
        for name, each in self.columns.items():
            kernel = "" if each.kernel is None else f"{each.kernel:.3f}"
            lines.append(f"| {name} | {each.frechet:.1f} | {kernel} |")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return everything that was measured."""
        return {name: each.to_json() for name, each in self.columns.items()}


@dataclass(slots=True)
class FeatureStore:
    """Features by suite and column, of a `network` from clips to vectors; on disk if there is a `folder`.

    `key` says which weights and plan the clips are of: features with another key are not read.
    """

    network: Callable[[Frames], Vector]
    key: str
    folder: Path | None = None
    features: dict[str, dict[str, list[Vector]]] = field(default_factory=dict[str, dict[str, list[Vector]]])

    def add(self, suite: str, column: str, frames: Frames) -> None:
        """Look at one clip, if its suite is compared."""
        if suite in COMPARED:
            self.features.setdefault(suite, {}).setdefault(column, []).append(self._look(suite, frames))

    def has(self, suite: str) -> bool:
        """Return whether the features of a suite are there, or are not needed; reads them from disk."""
        path = self._path(suite)
        if suite not in self.features and path is not None and path.exists():
            with safe_open(path, framework="numpy") as file:
                if file.metadata() == {"key": self.key}:
                    self.features[suite] = {name: list(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        return suite not in COMPARED or suite in self.features

    def save(self, suite: str) -> None:
        """Write the features of a suite."""
        path = self._path(suite)
        if path is None or suite not in self.features:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            save_file(
                {name: np.stack(rows) for name, rows in self.features[suite].items()},
                temporary,
                {"key": self.key},
            )
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)

    def measure(self) -> DistributionTable:
        """Compare every column with the real renders, over all suites together.

        A column of fewer clips is left out: the fewer, the larger the distance, whatever they show.
        """
        rows: dict[str, list[Vector]] = {}
        for columns in self.features.values():
            for name, vectors in columns.items():
                rows.setdefault(name, []).extend(vectors)
        sets = {name: np.stack(vectors) for name, vectors in rows.items()}
        real = sets.pop(REAL)
        whole = {name: made for name, made in sets.items() if len(made) == len(real)}
        return DistributionTable(
            {
                name: measure_distribution(real, made, independent=name != RECONSTRUCTION)
                for name, made in sorted(whole.items(), key=lambda each: each[0] != OTHERS)
            }
        )

    def _look(self, suite: str, frames: Frames) -> Vector:
        """Return the features of a clip; those of a suite that was interrupted are on disk."""
        whole = self._path(suite)
        if whole is None:
            return self.network(frames)
        clip = hashlib.blake2b(f"{self.key} {frames.shape} ".encode() + frames.tobytes(), digest_size=16)
        path = whole.with_suffix("") / f"{clip.hexdigest()}.npy"
        with suppress(FileNotFoundError):
            return np.load(path)
        vector = self.network(frames)
        with suppress(FileNotFoundError):  # another process has done the suite meanwhile
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.save(file, vector)
        return vector

    def _path(self, suite: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{suite}-features.safetensors"


def another(spec: SceneSpec) -> SceneSpec:
    """Return another scene in which such a thing does the same, as the suites that are compared draw them."""
    thing = hero(spec)
    kind = {"animals": {thing.shape: 1.0}} if spec.event in MOTIONS else {"shapes": {thing.shape: 1.0}}
    mix = replace(
        WHOLE_MIX,
        num_objects=(1.0,),
        companions=0.0,
        cameras={"still": 1.0},
        events={spec.event: 1.0},
        **kind,
    )
    return sample_scene(
        spec.seed + OTHER_SEEDS,
        frames=spec.frames,
        fps=spec.fps,
        width=spec.width,
        height=spec.height,
        mix=mix,
    )
