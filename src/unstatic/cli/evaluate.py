"""`unstatic eval`: what a model can do, in numbers, each beside what the real renders score."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstatic.cli.options import AsJson, Device, Steps
from unstatic.cli.output import StoppedError
from unstatic.core.errors import InputError
from unstatic.core.files import ensure_writable
from unstatic.core.threads import SHORT_SPINS, quiet_threads

if TYPE_CHECKING:
    from unstatic.models.manifest import Manifest
    from unstatic.presets.evaluation import EvaluationPlan

Part = tuple[str, str, dict[str, Any]]
"""Its name, its table in Markdown and its facts."""


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
    from unstatic.presets import evaluation
    from unstatic.presets.evaluation_report import head_of, write_report

    # Check everything, then load
    installed = find_model(model)
    todo = evaluation.EvaluationPlan(
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
    evaluation.check_plan(installed.manifest, todo)
    if output is not None:
        _prepare(output)
    engine = load_native(installed, device=device)
    todo = todo.on(engine.device)

    # Measure, telling each part as it is done
    name = installed.manifest.name
    facts = head_of(todo, name)
    for part, table, found in _going_on(evaluation.run_evaluation(engine, todo), todo):
        facts[part] = found
        if not as_json:
            typer.echo(f"{table}\n")
        if output is not None:
            write_report(todo, name)
    if as_json:
        typer.echo(json.dumps(facts))


def _going_on(parts: Iterator[Part], todo: "EvaluationPlan") -> Iterator[Part]:
    """Yield what is measured; after Ctrl-C, say that what has a folder goes on."""
    try:
        yield from parts
    except KeyboardInterrupt:
        if todo.folder is None:
            raise
        raise StoppedError("stopped; the same command goes on at the film where it was") from None


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
