"""`unstatic eval`: what a model can do, in numbers, each beside what the real renders score."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstatic.cli.options import AsJson, Device, Steps
from unstatic.core.errors import InputError
from unstatic.core.files import ensure_writable
from unstatic.core.threads import SHORT_SPINS, quiet_threads

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from unstatic.evals.follow import FollowResult
    from unstatic.evals.prompts import Prompt
    from unstatic.evals.reconstruction import ReconstructionResult
    from unstatic.generate.native import NativeEngine

    Frames = UInt8[np.ndarray, "t h w 3"]

RECONSTRUCTION = "reconstruction"
SUITES = ("first-light", RECONSTRUCTION)
ANSWERS_SHOWN = 40
SECONDS = 4.0


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's name or folder.")],
    suite: Annotated[
        str | None, typer.Option(help=f"Only this suite: {' or '.join(SUITES)}; all by default.")
    ] = None,
    prompts: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many prompts, or clips, of a suite.")
    ] = 200,
    steps: Steps = None,
    device: Device = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A folder for evaluation.json and answers.png.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what a model can do, beside what real renders score.

    Prints tables in Markdown: how often a clip shows what its prompt says, and how well the model's
    autoencoder gives pictures back.
    """
    quiet_threads(spins=SHORT_SPINS)
    from unstatic.generate.native import load_native
    from unstatic.generate.request import Request, plan
    from unstatic.models.manifest import find_model

    # Check everything, then load
    if suite is not None and suite not in SUITES:
        raise InputError(f"suite {suite!r} is unknown: take {' or '.join(SUITES)}")
    installed = find_model(model)
    plan(Request(prompt="a ball", seconds=SECONDS, steps=steps), installed.manifest)
    if output is not None:
        _prepare(output)
    engine = load_native(installed, device=device)

    # Measure
    results: dict[str, FollowResult | ReconstructionResult] = {}
    for name in (suite,) if suite else SUITES:
        if name == RECONSTRUCTION:
            results[name] = _reconstruction(engine, prompts)
        else:
            results[name] = _following(engine, name, prompts, steps)

    # Tell
    facts: dict[str, Any] = {
        "model": installed.manifest.name,
        "steps": steps or installed.manifest.defaults.steps,
    }
    facts |= {name: result.to_json() for name, result in results.items()}
    if output is not None:
        _write(output, facts, results)
    typer.echo(
        json.dumps(facts) if as_json else "\n\n".join(result.to_markdown() for result in results.values())
    )


def _following(engine: "NativeEngine", suite: str, prompts: int, steps: int | None) -> "FollowResult":
    from unstatic.core.log import progress
    from unstatic.evals.follow import follow
    from unstatic.evals.parser import load_parser
    from unstatic.evals.prompts import SUITES as PROMPT_SUITES

    parser = load_parser()
    drawn = PROMPT_SUITES[suite](prompts)
    makers = {engine.manifest.name: partial(_film, engine, steps)}
    with progress(suite, prompts) as bar:
        return follow(makers, drawn, parser, reconstruct=_there_and_back(engine), advance=bar.advance)


def _reconstruction(engine: "NativeEngine", clips: int) -> "ReconstructionResult":
    from unstatic.core.log import progress
    from unstatic.evals.reconstruction import held_out_clips, measure_reconstruction

    with progress(RECONSTRUCTION, clips) as bar:
        return measure_reconstruction(held_out_clips(clips), _there_and_back(engine), advance=bar.advance)


def _film(engine: "NativeEngine", steps: int | None, prompt: "Prompt") -> "Frames":
    """Let the model make the clip that a prompt asks for, at the frame rate of the world."""
    import numpy as np

    from unstatic.generate.engine import Frames
    from unstatic.generate.request import Request, plan
    from unstatic.media.frames import retime

    request = Request(prompt=prompt.text, seconds=SECONDS, steps=steps, seed=prompt.spec.seed)
    stretches = [
        event.frames for event in engine.stream(plan(request, engine.manifest)) if isinstance(event, Frames)
    ]
    return retime(np.concatenate(stretches), 0, engine.manifest.fps, prompt.spec.fps)


def _there_and_back(engine: "NativeEngine") -> "Callable[[Frames], Frames]":
    """Return the model's autoencoder as a function from frames to frames."""
    import torch

    from unstatic.media.frames import to_frames, to_tensor

    @torch.inference_mode()
    def there_and_back(frames: "Frames") -> "Frames":
        video = to_tensor(frames)[None].to(engine.device)
        return to_frames(engine.autoencoder.decode(engine.autoencoder.encode(video)))[0]

    return there_and_back


def _prepare(folder: Path) -> None:
    """Make the folder for the results, or say at once why that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the folder {folder}: {error.strerror}, choose another place"
        ) from error
    ensure_writable(folder / "evaluation.json")


def _write(
    folder: Path, facts: dict[str, Any], results: "dict[str, FollowResult | ReconstructionResult]"
) -> None:
    """Write all numbers, and pictures of the model's first answers."""
    from unstatic.core.files import atomic_path
    from unstatic.evals.follow import FollowResult, answer_sheet
    from unstatic.media.write import write_picture

    with atomic_path(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for result in results.values():
        if isinstance(result, FollowResult):
            write_picture(folder / "answers.png", answer_sheet(result.columns[-1].answers[:ANSWERS_SHOWN]))
