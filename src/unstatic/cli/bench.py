"""`unstatic bench`: how fast a model makes films on this machine, and how much memory that takes."""

import json
from typing import Annotated

import typer

from unstatic.cli.options import AsJson, Device, number, whole
from unstatic.generate.defaults import DEFAULT_MODEL


def bench(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name or folder.")] = DEFAULT_MODEL,
    seconds: Annotated[
        list[float] | None,
        typer.Option(
            parser=number, metavar="NUMBER", help="A film's length; may be given again. 5, 15 and 60."
        ),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Width x height in pixels; the model's own by default.")
    ] = None,
    fps: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="INTEGER", help="Frames a second; the model's own by default."),
    ] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast films are made here, and the memory it takes.

    Films of 5, 15 and 60 seconds, each in a process of its own, beside the rates of plain matrix products and
    convolutions.
    """
    from unstatic.core.device import pick_device
    from unstatic.core.log import progress
    from unstatic.models.manifest import find_model
    from unstatic.presets.bench import LENGTHS_S, bench_films, facts, planned, table

    films = [{"seconds": length, "size": size, "fps": fps} for length in seconds or LENGTHS_S]
    manifest = find_model(model).manifest
    for options in films:
        planned(options, manifest)
    pick_device(device)
    with progress("films", len(films)) as bar:
        found = list(bench_films(model, films, device, bar.advance))
    if as_json:
        typer.echo(json.dumps(facts(found)))
        return
    typer.echo(table(found))
    first, last = found[0], found[-1]
    typer.echo(f"\nloading {first.load_s:.2f} s")
    if first.machine_gflops:  # measured of CPUs
        rates = f"{first.machine_gflops:.0f} and {first.machine_conv_gflops:.0f} GFLOP/s"
        typer.echo(f"matrix products and convolutions alone: {rates}")
    if last.growth_mb is not None:
        typer.echo(f"memory in the film of {last.film_s:g} s: {last.growth_mb:+.1f} MB a minute")
