"""`unstatic doctor`: what this machine has, how fast it is, and what to do about what is missing."""

import importlib.util
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from unstatic import __version__
from unstatic.core.errors import UnstaticError
from unstatic.core.threads import quiet_threads

OPTIONAL = {
    "mujoco": ("simulate training scenes", "world"),
    "warp": ("render training scenes", "world"),
    "tensorboard": ("plot training runs", "train"),
}
MARKS = {True: "ok ", False: "FIX", None: "   "}


class Finding(NamedTuple):
    """One thing looked at.

    `ok` is None for plain information; `fix` says what to do where something is missing.
    """

    name: str
    value: str
    ok: bool | None = None
    fix: str = ""


def doctor(
    model: Annotated[
        str | None,
        typer.Option("--model", help="A model's name or folder; all that are installed by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this machine and this installation.

    Exits 1 if something that is needed does not work.
    """
    quiet_threads()
    findings = [*_machine(), _codec(), *_models(model), *_optional()]
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings]))
    else:
        for finding in findings:
            fix = f"  ->  {finding.fix}" if finding.fix else ""
            typer.echo(f"{MARKS[finding.ok]} {finding.name:12} {finding.value}{fix}")
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


def _machine() -> list[Finding]:
    import torch

    from unstatic.core.device import compute_dtype, gemm_rate, pick_device

    device = pick_device()
    dtype = compute_dtype(device)
    findings = [
        Finding("unstatic", __version__),
        Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Finding("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        Finding("device", f"{device}, computing in {str(dtype).removeprefix('torch.')}"),
    ]
    if device.type == "cpu":
        findings.append(Finding("speed", f"{gemm_rate(dtype):.0f} GFLOP/s in matrix products of nano's size"))
    return findings


def _codec() -> Finding:
    """Write one second of video and read it back."""
    import numpy as np

    from unstatic.media.read import read_video
    from unstatic.media.write import write_video

    frames = np.full((16, 64, 64, 3), 128, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.mp4"
        try:
            write_video(path, frames, fps=16)
            found = len(read_video(path).frames)
        except UnstaticError as error:
            return Finding("video codec", str(error), False, f"{_pip()} install --force-reinstall av")
    return Finding("video codec", f"wrote {len(frames)} frames, read {found}", found == len(frames))


def _models(name: str | None) -> list[Finding]:
    """Try one model, or all that are installed."""
    from unstatic.models.manifest import installed_folders

    names = [folder.name for folder in installed_folders()] if name is None else [name]
    if not names:
        return [Finding("model", "none is installed", False, f"{_pip()} install --force-reinstall unstatic")]
    return [_model(each) for each in names]


def _model(name: str) -> Finding:
    """Load a model and make a still with it."""
    from unstatic.generate.api import load

    try:
        started = time.perf_counter()
        model = load(name)
        loaded = time.perf_counter()
        model.generate("a red ball", seconds=0)
        made = time.perf_counter()
    except UnstaticError as error:
        return Finding("model", str(error), False)
    times = f"loaded in {loaded - started:.1f} s, a still in {made - loaded:.1f} s"
    return Finding("model", f"{name}: {model.manifest.summary}; {times}", True)


def _optional() -> list[Finding]:
    return [
        Finding(module, f"installed: can {purpose}", True)
        if importlib.util.find_spec(module)
        else Finding(
            module, f"not installed: cannot {purpose}", None, f'{_pip()} install "unstatic[{extra}]"'
        )
        for module, (purpose, extra) in OPTIONAL.items()
    ]


def _pip() -> str:
    return f"{Path(sys.executable).name} -m pip"
