"""`unstatic video` and `unstatic image`: a sentence in, a file out."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unstatic.cli.options import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    AsJson,
    Device,
    Expand,
    Expander,
    FramesPerSecond,
    Guidance,
    GuidanceInterval,
    Image,
    Interpolator,
    LastImage,
    Loras,
    MaybePrompt,
    Metadata,
    ModelName,
    Negative,
    Offload,
    Output,
    Preview,
    Prompt,
    Quantise,
    Seed,
    SizeText,
    SkipLayerGuidance,
    SolverName,
    StepCacheEvery,
    Steps,
    Storyboard,
    Stream,
    Tiles,
    Upscaler,
    Variation,
    levels,
    number,
    pixels,
)
from unstatic.cli.output import STDOUT, check_pipe, output_path, report, stdout_pipe, warn
from unstatic.core.errors import InputError
from unstatic.core.processes import Place, this_process
from unstatic.core.threads import SHORT_SPINS, quiet_threads
from unstatic.generate.defaults import DEFAULT_MODEL, DEFAULT_SECONDS, INTERPOLATOR

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from unstatic.cli.preview import Filmstrip
    from unstatic.generate.api import Model
    from unstatic.generate.engine import Engine
    from unstatic.generate.engines.remote import RemoteModel
    from unstatic.generate.prompts.language_model import Rewriter
    from unstatic.generate.request import Plan, Request
    from unstatic.models.manifest import InstalledModel

    Stretch = UInt8[np.ndarray, "t h w 3"]

PREVIEWS_PER_S = 4

Seconds = Annotated[
    float | None,
    typer.Option(parser=number, metavar="NUMBER", help="How long it is; 4, or as its storyboard says."),
]


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model makes it, where, changed by which LoRAs, and how memory is saved."""

    name: str
    device: str | None
    loras: tuple[str, ...]
    quantise: str | None
    offload: bool
    tiled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """Where the result goes, and what is seen until then; without an output it is named after `words`."""

    output: Path | None
    suffixes: tuple[str, ...]
    as_json: bool
    metadata: bool
    words: str = ""
    stream: bool = False
    preview: bool = False


def video(
    prompt: MaybePrompt = None,
    output: Output = None,
    seconds: Seconds = None,
    size: SizeText = None,
    fps: FramesPerSecond = None,
    seed: Seed = 0,
    variation: Variation = 0,
    model: ModelName = DEFAULT_MODEL,
    lora: Loras = None,
    quantise: Quantise = None,
    offload: Offload = False,
    tiles: Tiles = False,
    steps: Steps = None,
    guidance: Guidance = None,
    guidance_interval: GuidanceInterval = None,
    skip_layer_guidance: SkipLayerGuidance = None,
    negative: Negative = None,
    solver: SolverName = None,
    step_cache: StepCacheEvery = 1,
    image: Image = None,
    last_image: LastImage = None,
    storyboard: Storyboard = None,
    stream: Stream = False,
    preview: Preview = False,
    expand: Expand = True,
    expander: Expander = None,
    upscaler: Upscaler = None,
    interpolator: Interpolator = INTERPOLATOR,
    device: Device = None,
    metadata: Metadata = True,
    as_json: AsJson = False,
) -> None:
    """Make a video of what a sentence says."""
    quiet_threads(spins=SHORT_SPINS)
    from unstatic.generate.image import open_image
    from unstatic.generate.request import Request

    if seconds == 0:
        raise InputError("seconds is 0: a video needs more, and `unstatic image` makes a still")
    if output == STDOUT:
        check_pipe(as_json=as_json)
    if prompt is None and storyboard is None:
        raise InputError("there is no prompt: say what to film, in quotes, or give a --storyboard")
    request = Request(
        prompt=prompt or "",
        seconds=DEFAULT_SECONDS if seconds is None else seconds,
        size=pixels(size),
        fps=fps,
        seed=seed,
        variation=variation,
        steps=steps,
        guidance=guidance,
        guidance_interval=levels(guidance_interval),
        skip_layer_guidance=skip_layer_guidance,
        negative=negative,
        solver=solver,
        step_cache=step_cache,
        image=None if image is None else open_image(image),
        last_image=None if last_image is None else open_image(last_image),
        expand=expand,
        rewriter=rewriter_of(expander),
        upscaler=upscaler,
        interpolator=interpolator,
    )
    if storyboard is not None:
        request = _on_board(request, storyboard, model, seconds)
    delivery = Delivery(
        output=output,
        suffixes=VIDEO_SUFFIXES,
        as_json=as_json,
        metadata=metadata,
        stream=stream or output == STDOUT,
        preview=preview,
    )
    make(request, ModelChoice(model, device, tuple(lora or ()), quantise, offload, tiles), delivery)


def image(
    prompt: Prompt,
    output: Output = None,
    size: SizeText = None,
    seed: Seed = 0,
    variation: Variation = 0,
    model: ModelName = DEFAULT_MODEL,
    lora: Loras = None,
    quantise: Quantise = None,
    offload: Offload = False,
    tiles: Tiles = False,
    steps: Steps = None,
    guidance: Guidance = None,
    guidance_interval: GuidanceInterval = None,
    skip_layer_guidance: SkipLayerGuidance = None,
    negative: Negative = None,
    solver: SolverName = None,
    step_cache: StepCacheEvery = 1,
    expand: Expand = True,
    expander: Expander = None,
    upscaler: Upscaler = None,
    device: Device = None,
    metadata: Metadata = True,
    as_json: AsJson = False,
) -> None:
    """Make a still picture of what a sentence says."""
    quiet_threads(spins=SHORT_SPINS)
    from unstatic.generate.request import Request

    request = Request(
        prompt=prompt,
        seconds=0,
        size=pixels(size),
        seed=seed,
        variation=variation,
        steps=steps,
        guidance=guidance,
        guidance_interval=levels(guidance_interval),
        skip_layer_guidance=skip_layer_guidance,
        negative=negative,
        solver=solver,
        step_cache=step_cache,
        expand=expand,
        rewriter=rewriter_of(expander),
        upscaler=upscaler,
    )
    delivery = Delivery(output=output, suffixes=PICTURE_SUFFIXES, as_json=as_json, metadata=metadata)
    make(request, ModelChoice(model, device, tuple(lora or ()), quantise, offload, tiles), delivery)


def _on_board(request: "Request", path: Path, model: str, seconds: float | None) -> "Request":
    """Lay a request out on a storyboard, which lasts `seconds` if they are given, whatever it says itself."""
    from unstatic.generate.load import find
    from unstatic.generate.storyboard import on_board, read_storyboard

    board = read_storyboard(path)
    if seconds is not None:
        board = replace(board, seconds=seconds)
    request, warnings = on_board(request, board, find(model).manifest)
    for warning in warnings:
        warn(warning)
    return request


def rewriter_of(expander: str | None) -> "Rewriter | None":
    """Return the language model that rewrites prompts, if one is named."""
    from unstatic.generate.prompts.language_model import rewriter

    return None if expander is None else rewriter(expander)


def make(request: "Request", choice: ModelChoice, delivery: Delivery) -> None:
    """Check everything, then load, then sample, then print where the file is.

    Of several processes the first does all that, and the others help it to sample.
    """
    from unstatic.generate.about import about_file, plan_facts
    from unstatic.generate.api import Model
    from unstatic.generate.load import find
    from unstatic.generate.request import plan as plan_request
    from unstatic.generate.together import follow, together

    place = this_process()
    if place.rank:
        follow(lambda: load(find(choice.name), choice, place), place)
        return

    # Check
    found = find(choice.name)
    plan = plan_request(request, found.manifest)
    to_stdout = delivery.stream and delivery.output == STDOUT
    path = (
        STDOUT
        if to_stdout
        else output_path(delivery.output, delivery.words or plan.prompt, delivery.suffixes)
    )
    about = about_file(plan, found, choice.loras, choice.quantise) if delivery.metadata else {}
    strip = _filmstrip() if delivery.preview else None
    for which, (asked, (_, text)) in enumerate(zip([plan.prompt, *plan.cues], plan.texts, strict=True)):
        if asked != text or which in plan.cuts:
            scene = " (a new scene)" if which in plan.cuts else ""
            warn(f"prompt: {asked}{'' if asked == text else f' -> {text}'}{scene}")

    # Load and sample
    started = time.perf_counter()
    with together(load(found, choice, place), place) as engine:
        loaded = time.perf_counter()
        write = _write_stream if delivery.stream else _write
        with closing(_frames(Model(engine), plan, strip)) as stretches:
            write(path, plan.fps, stretches, about)

    # Report
    if not to_stdout:
        seconds = {"load_s": round(loaded - started, 2), "sample_s": round(time.perf_counter() - loaded, 2)}
        facts = {"model": found.manifest.name, **plan_facts(plan), **seconds}
        report(path, facts, as_json=delivery.as_json)


def load(found: "InstalledModel | RemoteModel", choice: ModelChoice, place: Place) -> "Engine":
    """Load the model on the device of one process."""
    from unstatic.generate.load import load_engine
    from unstatic.generate.together import own_device

    return load_engine(
        found,
        device=own_device(choice.device, place),
        loras=choice.loras,
        quantise=choice.quantise,
        offload=choice.offload,
        tiled=choice.tiled,
    )


def _write(path: Path, fps: int, stretches: "Iterator[Stretch]", about: dict[str, str]) -> None:
    """Write a video, or a picture of one frame; on any error and on Ctrl-C nothing is left behind."""
    from unstatic.media.write import VideoWriter, write_picture

    if path.suffix.lower() in PICTURE_SUFFIXES:
        (still,) = stretches
        write_picture(path, still[0], about=about)
        return
    with VideoWriter(path, fps=fps, about=about) as writer:
        for frames in stretches:
            writer.write(frames)


def _write_stream(path: Path, fps: int, stretches: "Iterator[Stretch]", about: dict[str, str]) -> None:
    """Write a video that can be played while it grows; on any error and on Ctrl-C no file is left behind."""
    from unstatic.media.fragments import FragmentWriter, growing_file

    with stdout_pipe() if path == STDOUT else growing_file(path) as append:
        writer = FragmentWriter(append, fps=fps, about=about)
        for number, frames in enumerate(stretches):
            writer.write(frames)
            if number == 0 and path != STDOUT:
                warn(f"{path} can be played while it grows")


def _filmstrip() -> "Filmstrip | None":
    """Return what draws the preview, or None, with a warning, where that cannot be seen."""
    from rich.console import Console

    from unstatic.cli.preview import Filmstrip, can_draw

    console = Console(stderr=True)
    if can_draw(console):
        return Filmstrip(console)
    warn("no preview is drawn: that needs a terminal with colours")
    return None


def _frames(model: "Model", plan: "Plan", strip: "Filmstrip | None") -> "Generator[Stretch]":
    """Sample, with a bar on stderr, handing out frames as soon as they are final."""
    from unstatic.core.log import progress
    from unstatic.generate.engine import Frames, Preview, Progress, Warned

    done = 0
    title, total = "sampling", plan.total_steps
    with progress(title, total) if strip is None else strip.above_bar(title, total) as bar:
        for event in model.stream_plan(plan, previews_per_s=0 if strip is None else PREVIEWS_PER_S):
            match event:
                case Progress():
                    # A large film is enlarged for longer than it is sampled
                    bar.advance(event.done - done, note="finishing" if event.done == total else None)
                    done = event.done
                case Preview():
                    assert strip is not None, "a preview was not asked for"
                    strip.sketch(event.frames)
                case Warned():
                    warn(event.message)
                case Frames():
                    bar.advance(0, note="")
                    if strip is not None:
                        strip.keep(event.frames)
                    yield event.frames
