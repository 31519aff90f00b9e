"""A run on disk: one safetensors file with every tensor, and clock and config as JSON in its metadata.

One file, because a file appears whole or not at all. No pickle: loading a checkpoint runs no code.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unstatic.core.config import to_dict
from unstatic.core.errors import InputError
from unstatic.core.files import atomic_path
from unstatic.training.loop import Clock, Run

FORMAT = 1


def save_checkpoint(folder: Path, run: Run, *, keep: int = 2) -> Path:
    """Write `run` to `folder`/checkpoint-SAMPLES.safetensors and delete all but the last `keep` of them."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"format": FORMAT, "clock": asdict(run.clock), "config": to_dict(run.config)}
    tensors = {name: tensor.detach().contiguous() for name, tensor in run.state_dict().items()}

    path = folder / f"checkpoint-{run.clock.samples:012d}.safetensors"
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"unstatic": json.dumps(about)})
    for old in checkpoints(folder)[:-keep]:
        if old != path:
            old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints in `folder`, oldest first; empty if there is no such folder."""
    return sorted(folder.glob("checkpoint-*.safetensors"))


def load_checkpoint(path: Path, run: Run) -> None:
    """Bring `run`, built as for the saved one, to the state in `path`.

    The config of `run` stays as it is: learning rate or length may differ on purpose. Raises InputError for a
    file that is damaged or belongs to a run with other tensors.
    """
    try:
        with safe_open(path, framework="pt", device=str(run.device)) as file:
            about = _about(path, file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(
            f"{path} is damaged ({error}); delete it: the run goes on from the one before"
        ) from error
    _check_same_run(path, tensors, run.state_dict())
    run.load_state_dict(tensors)
    run.clock = Clock(**about["clock"])


def _check_same_run(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    # Moments appear with a parameter's first gradient, so only they may be more than expected
    strange = [name for name in found.keys() - expected.keys() if not name.startswith("optimiser.")]
    wrong = [name for name in expected if name not in found or found[name].shape != expected[name].shape]
    for name in sorted(strange + wrong):
        has, wants = (
            tuple(tensors[name].shape) if name in tensors else "none" for tensors in (found, expected)
        )
        raise InputError(
            f"{path} is of another run: {name} is {has} there and {wants} here; resume with the config it had"
        )


def _about(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    about = json.loads((metadata or {}).get("unstatic", "{}"))
    if about.get("format") != FORMAT:
        raise InputError(f"{path} has checkpoint format {about.get('format')}, this version reads {FORMAT}")
    return about
