"""`unstatic video` and `unstatic image`: a sentence in, a file out."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstatic.cli.options import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    AsJson,
    Device,
    Guidance,
    ModelName,
    Output,
    Prompt,
    Seed,
    SizeText,
    SolverName,
    Steps,
    number,
    whole,
)
from unstatic.cli.output import output_path, report, warn
from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.core.threads import quiet_threads
from unstatic.generate.defaults import DEFAULT_MODEL, DEFAULT_SECONDS

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from unstatic.generate.api import Model
    from unstatic.generate.request import Plan, Request


def video(
    prompt: Prompt,
    output: Output = None,
    seconds: Annotated[
        float, typer.Option(parser=number, metavar="NUMBER", help="How long the video is.")
    ] = DEFAULT_SECONDS,
    size: SizeText = None,
    fps: Annotated[
        int | None,
        typer.Option(parser=whole, metavar="INTEGER", help="Frames a second; the model's own by default."),
    ] = None,
    seed: Seed = 0,
    model: ModelName = DEFAULT_MODEL,
    steps: Steps = None,
    guidance: Guidance = None,
    solver: SolverName = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Make a video of what a sentence says."""
    quiet_threads()
    from unstatic.generate.request import Request

    if seconds == 0:
        raise InputError("seconds is 0: a video needs more, and `unstatic image` makes a still")
    request = Request(
        prompt=prompt,
        seconds=seconds,
        size=_size(size),
        fps=fps,
        seed=seed,
        steps=steps,
        guidance=guidance,
        solver=solver,
    )
    _make(request, model, device, output, VIDEO_SUFFIXES, as_json=as_json)


def image(
    prompt: Prompt,
    output: Output = None,
    size: SizeText = None,
    seed: Seed = 0,
    model: ModelName = DEFAULT_MODEL,
    steps: Steps = None,
    guidance: Guidance = None,
    solver: SolverName = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Make a still picture of what a sentence says."""
    quiet_threads()
    from unstatic.generate.request import Request

    request = Request(
        prompt=prompt,
        seconds=0,
        size=_size(size),
        seed=seed,
        steps=steps,
        guidance=guidance,
        solver=solver,
    )
    _make(request, model, device, output, PICTURE_SUFFIXES, as_json=as_json)


def _size(text: str | None) -> Size | None:
    return None if text is None else Size.parse(text)


def _make(
    request: "Request",
    model_name: str,
    device: str | None,
    output: Path | None,
    suffixes: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Check everything, then load, then sample, then print where the file is."""
    from unstatic.generate.api import Model
    from unstatic.generate.native import load_native
    from unstatic.generate.request import plan as plan_request
    from unstatic.models.manifest import find_model

    installed = find_model(model_name)
    plan = plan_request(request, installed.manifest)
    path = output_path(output, plan.prompt, suffixes)

    started = time.perf_counter()
    model = Model(load_native(installed, device=device))
    loaded = time.perf_counter()
    _write(path, plan.fps, _frames(model, plan))
    seconds = {"load_s": round(loaded - started, 2), "sample_s": round(time.perf_counter() - loaded, 2)}
    report(path, {"model": model.manifest.name, **plan_facts(plan), **seconds}, as_json=as_json)


def plan_facts(plan: "Plan") -> dict[str, Any]:
    """Return what a plan says, for JSON."""
    facts = asdict(plan) | {"native": str(plan.native), "size": str(plan.size)}
    del facts["conditions"]
    return facts


def _write(path: Path, fps: int, stretches: "Iterator[UInt8[np.ndarray, 't h w 3']]") -> None:
    """Write a video, or a picture of one frame; on any error and on Ctrl-C nothing is left behind."""
    from unstatic.media.write import VideoWriter, write_picture

    if path.suffix.lower() in PICTURE_SUFFIXES:
        (still,) = stretches
        write_picture(path, still[0])
        return
    with VideoWriter(path, fps=fps) as writer:
        for frames in stretches:
            writer.write(frames)


def _frames(model: "Model", plan: "Plan") -> "Iterator[UInt8[np.ndarray, 't h w 3']]":
    """Sample, with a bar on stderr, handing out frames as soon as they are final."""
    from unstatic.core.log import progress
    from unstatic.generate.engine import Frames, Progress, Warned

    done = 0
    with progress("sampling", plan.total_steps) as bar:
        for event in model.stream_plan(plan):
            match event:
                case Progress():
                    bar.advance(event.done - done)
                    done = event.done
                case Warned():
                    warn(event.message)
                case Frames():
                    yield event.frames
