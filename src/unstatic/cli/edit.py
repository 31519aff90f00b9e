"""`unstatic extend`, `loop`, `blend`, `remix`, `repaint`, `recut`: videos in, a video out."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unstatic.cli.generate import Delivery, ModelChoice, make, rewriter_of
from unstatic.cli.options import (
    VIDEO_SUFFIXES,
    AsJson,
    Device,
    Expand,
    Expander,
    FramesPerSecond,
    Guidance,
    GuidanceInterval,
    Interpolator,
    Loras,
    Metadata,
    ModelName,
    Negative,
    Offload,
    Output,
    Preview,
    Quantise,
    Seed,
    SizeText,
    SkipLayerGuidance,
    SolverName,
    StepCacheEvery,
    Steps,
    Stream,
    Tiles,
    Upscaler,
    Variation,
    kept_span,
    levels,
    number,
    pixels,
)
from unstatic.cli.output import STDOUT, check_pipe, warn
from unstatic.core.threads import SHORT_SPINS, quiet_threads
from unstatic.generate.defaults import DEFAULT_MODEL, INTERPOLATOR

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from unstatic.generate.footage import Span
    from unstatic.generate.request import Request
    from unstatic.models.manifest import Manifest

    Pixels = UInt8[np.ndarray, "t h w 3"]

VideoFile = Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.")]
Prompt = Annotated[str, typer.Argument(metavar="PROMPT", help="What the new video shows.")]
NewPrompt = Annotated[str, typer.Option("--prompt", help="What the new part shows; left open by default.")]
NewSeconds = Annotated[
    float, typer.Option("--seconds", parser=number, metavar="NUMBER", help="How long the new part is.")
]
Strength = Annotated[
    float,
    typer.Option("--strength", parser=number, metavar="NUMBER", help="How much changes, from 0 to 1."),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """The options that all edits have."""

    output: Output = None
    size: SizeText = None
    fps: FramesPerSecond = None
    seed: Seed = 0
    variation: Variation = 0
    model: ModelName = DEFAULT_MODEL
    lora: Loras = None
    quantise: Quantise = None
    offload: Offload = False
    tiles: Tiles = False
    steps: Steps = None
    guidance: Guidance = None
    guidance_interval: GuidanceInterval = None
    skip_layer_guidance: SkipLayerGuidance = None
    negative: Negative = None
    solver: SolverName = None
    step_cache: StepCacheEvery = 1
    stream: Stream = False
    preview: Preview = False
    expand: Expand = True
    expander: Expander = None
    upscaler: Upscaler = None
    interpolator: Interpolator = INTERPOLATOR
    device: Device = None
    metadata: Metadata = True
    as_json: AsJson = False


def sharing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Shared`, which it gets as one argument, `shared`."""
    common = inspect.signature(Shared).parameters
    own = [each for each in inspect.signature(command).parameters.values() if each.name != "shared"]

    def run(**given: Any) -> None:
        shared = Shared(**{name: given.pop(name) for name in common})
        command(**given, shared=shared)

    run.__signature__ = inspect.Signature([*own, *common.values()])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*own, *common.values())}
    run.__doc__, run.__name__ = command.__doc__, command.__name__
    return run


class Desk:
    """The videos of one edit, read as the model would make them, and what is to be made of them."""

    def __init__(
        self,
        shared: Shared,
        prompt: str,
        paths: list[Path],
        *,
        keep: tuple[float, float | None] | None = None,
    ) -> None:
        quiet_threads(spins=SHORT_SPINS)
        from unstatic.generate.footage import Span
        from unstatic.generate.load import find
        from unstatic.generate.request import Request

        if shared.output == STDOUT:
            check_pipe(as_json=shared.as_json)
        self.shared = shared
        self.manifest: Manifest = find(shared.model).manifest
        self.request: Request = Request(
            prompt=prompt,
            size=pixels(shared.size),
            fps=shared.fps,
            seed=shared.seed,
            variation=shared.variation,
            steps=shared.steps,
            guidance=shared.guidance,
            guidance_interval=levels(shared.guidance_interval),
            skip_layer_guidance=shared.skip_layer_guidance,
            negative=shared.negative,
            solver=shared.solver,
            step_cache=shared.step_cache,
            expand=shared.expand,
            rewriter=rewriter_of(shared.expander),
            upscaler=shared.upscaler,
            interpolator=shared.interpolator,
        )
        self.videos: list[Pixels] = self._read(paths, None if keep is None else Span(*keep))

    def _read(self, paths: list[Path], keep: "Span | None") -> "list[Pixels]":
        """Read the videos, all in the shape that is asked for, or else in that of the first."""
        from unstatic.core.log import progress
        from unstatic.generate.footage import expected_frames
        from unstatic.generate.request import read_sources

        expected = sum(expected_frames(path, self.manifest, keep) for path in paths)
        with progress("reading", expected) as bar:
            sources = read_sources(paths, self.request, self.manifest, keep=keep, on_frame=bar.advance)
            bar.resize(sum(len(source.frames) for source in sources))
        for warning in (warning for source in sources for warning in source.warnings):
            warn(warning)
        return [source.frames for source in sources]

    def make(self, request: "Request", words: str) -> None:
        """Make the video and print where it is; unless it has a name, it is named after `words`."""
        shared = self.shared
        delivery = Delivery(
            output=shared.output,
            suffixes=VIDEO_SUFFIXES,
            as_json=shared.as_json,
            metadata=shared.metadata,
            words=words,
            stream=shared.stream or shared.output == STDOUT,
            preview=shared.preview,
        )
        loras = tuple(shared.lora or ())
        saves = shared.quantise, shared.offload, shared.tiles
        choice = ModelChoice(shared.model, shared.device, loras, *saves)
        make(request, choice, delivery)


@sharing
def extend(
    video: VideoFile,
    seconds: NewSeconds = 4.0,
    backward: Annotated[bool, typer.Option("--backward", help="Show what came before it.")] = False,
    prompt: NewPrompt = "",
    *,
    shared: Shared,
) -> None:
    """Go on after the end of a video, or before its beginning."""
    desk = Desk(shared, prompt, [video])
    from unstatic.generate import edit

    asked = edit.extend(desk.request, desk.videos[0], desk.manifest, seconds=seconds, backward=backward)
    desk.make(asked, f"{video.stem} extended")


@sharing
def loop(video: VideoFile, seconds: NewSeconds = 2.0, prompt: NewPrompt = "", *, shared: Shared) -> None:
    """Go on after a video until it flows into its own beginning."""
    desk = Desk(shared, prompt, [video])
    from unstatic.generate import edit

    asked = edit.loop(desk.request, desk.videos[0], desk.manifest, seconds=seconds)
    desk.make(asked, f"{video.stem} loop")


@sharing
def blend(
    one: VideoFile, other: VideoFile, seconds: NewSeconds = 2.0, prompt: NewPrompt = "", *, shared: Shared
) -> None:
    """Join two videos by a part that leads from one to the other."""
    desk = Desk(shared, prompt, [one, other])
    from unstatic.generate import edit

    asked = edit.blend(desk.request, desk.videos[0], desk.videos[1], desk.manifest, seconds=seconds)
    desk.make(asked, f"{one.stem} {other.stem}")


@sharing
def remix(video: VideoFile, prompt: Prompt, strength: Strength = 0.9, *, shared: Shared) -> None:
    """Make a video anew so that it shows what the prompt says."""
    desk = Desk(shared, prompt, [video])
    from unstatic.generate import edit

    desk.make(edit.remix(desk.request, desk.videos[0], desk.manifest, strength=strength), prompt)


@sharing
def repaint(
    video: VideoFile,
    prompt: Prompt,
    mask: Annotated[Path, typer.Option("--mask", metavar="FILE", help="A picture: white is made anew.")],
    strength: Strength = 1.0,
    *,
    shared: Shared,
) -> None:
    """Make a region of a video anew; the rest stays as it is."""
    desk = Desk(shared, prompt, [video])
    from unstatic.generate import edit
    from unstatic.generate.footage import read_mask

    where = read_mask(mask, video, desk.videos[0])
    desk.make(edit.repaint(desk.request, desk.videos[0], where, desk.manifest, strength=strength), prompt)


@sharing
def recut(
    video: VideoFile,
    keep: Annotated[
        str,
        typer.Option(
            "--keep",
            metavar="START:END",
            help="The span that stays: 0.5:3 in seconds, 1:30-2:00, or 90: to the end.",
        ),
    ],
    before: Annotated[
        float, typer.Option(parser=number, metavar="NUMBER", help="How many new seconds come before it.")
    ] = 0.0,
    after: Annotated[
        float, typer.Option(parser=number, metavar="NUMBER", help="How many new seconds come after it.")
    ] = 0.0,
    prompt: NewPrompt = "",
    *,
    shared: Shared,
) -> None:
    """Keep a span of a video and make new parts on its sides."""
    desk = Desk(shared, prompt, [video], keep=kept_span(keep))
    from unstatic.generate import edit

    asked = edit.recut(desk.request, desk.videos[0], desk.manifest, before=before, after=after)
    desk.make(asked, f"{video.stem} recut")
