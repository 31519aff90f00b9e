"""`unstatic bench`: how fast a model makes films on this machine, and how much memory that takes."""

import json
from typing import Annotated

import typer

from unstatic.cli.options import AsJson, Device, number
from unstatic.generate.defaults import DEFAULT_MODEL


def bench(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name or folder.")] = DEFAULT_MODEL,
    seconds: Annotated[
        list[float] | None,
        typer.Option(
            parser=number, metavar="NUMBER", help="A film's length; may be given again. 5, 15 and 60."
        ),
    ] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast films are made here, and the memory it takes.

    Films of 5, 15 and 60 seconds, each in a process of its own, beside the rate of plain matrix products.
    """
    from unstatic.core.log import progress
    from unstatic.generate.request import Request, plan
    from unstatic.models.manifest import find_model
    from unstatic.presets.bench import LENGTHS_S, PROMPT, bench_lengths, facts, table

    lengths = tuple(seconds or LENGTHS_S)
    manifest = find_model(model).manifest
    for length in lengths:
        plan(Request(prompt=PROMPT, seconds=length), manifest)
    with progress("films", len(lengths)) as bar:
        found = list(bench_lengths(model, lengths, device, bar.advance))
    if as_json:
        typer.echo(json.dumps(facts(found)))
        return
    typer.echo(table(found))
    rate, load_s = found[0].machine_gflops, found[0].load_s
    typer.echo(f"\nmatrix products of nano's size: {rate:.0f} GFLOP/s; loading {load_s:.2f} s")
