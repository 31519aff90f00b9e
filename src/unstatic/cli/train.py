"""`unstatic train`: run a preset, from nothing to a model that can be used."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from unstatic.cli.options import Device
from unstatic.cli.output import make_folder, report, stopping
from unstatic.core.errors import InputError
from unstatic.core.threads import quiet_threads


def train(
    preset: Annotated[str | None, typer.Argument(metavar="PRESET", help="What to train: see --list.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Changes, e.g. diffusion.training.samples=1000."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder to work in; runs/PRESET by default.")
    ] = None,
    device: Device = None,
    list_presets: Annotated[bool, typer.Option("--list", help="List the presets and exit.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the path.")
    ] = False,
) -> None:
    """Train a model, from rendering its world to the finished weights.

    Prints the folder of the finished model. A run that was stopped goes on where it was: same preset, same
    folder.
    """
    quiet_threads()
    from unstatic.core.config import override
    from unstatic.presets.nano import PRESETS
    from unstatic.presets.nano import preset as find_preset
    from unstatic.presets.stages import run_preset

    if list_presets:
        for name, make in PRESETS.items():
            typer.echo(f"{name:12} {make().summary}")
        return
    if preset is None:
        raise InputError(
            f"no preset is named: take one of {', '.join(PRESETS)},"
            f" e.g. `unstatic train {next(iter(PRESETS))}`"
        )

    chosen = override(find_preset(preset), settings or [])
    folder = output or Path("runs") / chosen.name
    make_folder(folder)
    again = shlex.join(["unstatic", "train", preset, *(settings or []), "-o", str(folder)])
    with stopping(f"stopped; go on from what is saved with: {again}"):
        model = run_preset(chosen, folder, device=device)
    report(model, {"preset": chosen.name}, as_json=as_json)
