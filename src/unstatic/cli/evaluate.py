"""`unstatic eval`: what a model can do, in numbers, each beside what the real renders score."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unstatic.cli.options import AsJson, Device, Steps
from unstatic.cli.output import stopping
from unstatic.core.errors import InputError
from unstatic.core.files import ensure_writable
from unstatic.core.threads import SHORT_SPINS, quiet_threads

if TYPE_CHECKING:
    from unstatic.generate.native import NativeEngine
    from unstatic.models.manifest import Manifest
    from unstatic.presets.evaluation import EvaluationPlan


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name or folder.")],
    suite: Annotated[
        list[str] | None,
        typer.Option(help="Only this part, a suite of prompts or a measurement; may be given again."),
    ] = None,
    prompts: Annotated[
        int, typer.Option(min=1, max=10_000, help="At most so many prompts, or clips, of a part.")
    ] = 1_000,
    steps: Steps = None,
    few_steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=100,
            help="The steps of a second column, instead of a distilled model's own; 0 leaves it out.",
        ),
    ] = None,
    slow_prompts: Annotated[
        int,
        typer.Option(
            min=1,
            max=10_000,
            help="So many prompts of a suite, at most, in other steps than a distilled model's own.",
        ),
    ] = 50,
    fvd: Annotated[
        bool,
        typer.Option("--fvd", help="FVD and LPIPS too; their networks come by scripts/fetch_networks.py."),
    ] = False,
    device: Device = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A folder for the report; what is in it is not measured again."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what a model can do, beside what real renders score.

    Prints tables in Markdown: how often a clip shows what its prompt says, whether impossible films surprise
    the model, and how well its autoencoder gives pictures back. With --output, report.html has the clips.
    """
    quiet_threads(spins=SHORT_SPINS)
    from unstatic.core.commit import current_version
    from unstatic.generate.native import load_native
    from unstatic.models.manifest import find_model
    from unstatic.presets.evaluation import EvaluationPlan, check_plan

    # Check everything, then load
    installed = find_model(model)
    todo = EvaluationPlan(
        model=model,
        parts=_parts(suite or (), installed.manifest),
        prompts=prompts,
        slow_prompts=slow_prompts,
        steps=steps,
        few_steps=few_steps,
        folder=output,
        digest=installed.digest(),
        commit=current_version(),
        networks=fvd,
    )
    check_plan(installed.manifest, todo)
    if output is not None:
        _prepare(output)
    engine = load_native(installed, device=device)
    goes_on = stopping("stopped; the same command goes on at the film where it was")
    with nullcontext() if output is None else goes_on:
        _measure(engine, todo.on(engine.device), as_json=as_json)


def _measure(engine: "NativeEngine", todo: "EvaluationPlan", *, as_json: bool) -> None:
    """Measure, and tell each part as it is done."""
    from unstatic.presets.evaluation import run_evaluation
    from unstatic.presets.evaluation_report import head_of, write_report

    name = engine.manifest.name
    facts = head_of(todo, name)
    for part, table, found in run_evaluation(engine, todo):
        facts[part] = found
        if not as_json:
            typer.echo(f"{table}\n")
        if todo.folder is not None:
            write_report(todo, name)
    if as_json:
        typer.echo(json.dumps(facts))


def _parts(asked: Sequence[str], manifest: "Manifest") -> tuple[str, ...]:
    """Return the parts that were asked for, or all that the model can be measured by."""
    from unstatic.presets.evaluation import PARTS, parts_of

    known = ("first-light", *PARTS)
    for name in asked:
        if name not in known:
            raise InputError(f"suite {name!r} is unknown: take one of {', '.join(known)}")
    return tuple(asked) or parts_of(manifest)


def _prepare(folder: Path) -> None:
    """Make the folder for the results, or say at once why that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the folder {folder}: {error.strerror}, choose another place"
        ) from error
    ensure_writable(folder / "evaluation.json")
