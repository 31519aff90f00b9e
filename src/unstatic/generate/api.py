"""The public Python API: `unstatic.generate("...")` makes a video, `unstatic.load()` a model for many."""

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from operator import index
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from jaxtyping import UInt8

from unstatic.core.shapes import Size
from unstatic.diffusion.condition import Condition, Cue
from unstatic.generate import edit
from unstatic.generate.defaults import DEFAULT_MODEL
from unstatic.generate.engine import Engine, Event, Frames, Warned
from unstatic.generate.finish import Finisher
from unstatic.generate.footage import Pixels, Span, read_mask
from unstatic.generate.image import open_image
from unstatic.generate.load import find, load_engine
from unstatic.generate.prompts.language_model import rewriter
from unstatic.generate.request import Plan, Request, plan, read_sources
from unstatic.generate.storyboard import on_board, read_storyboard
from unstatic.media.read import Video
from unstatic.models.manifest import Manifest


class EditOptions(TypedDict, total=False):
    """How something is made; what is not given is the model's own choice, the seed is 0.

    `size` is "WIDTHxHEIGHT", `guidance` 1 is none and leads away from the prompt `negative`, with a
    `guidance_interval` (0.2, 0.8) only above its first level of static and up to its second;
    `skip_layer_guidance` 0.5 makes outlines straighter, for another pass a step; `step_cache` 4
    asks it at one of four of many steps, which is twice as fast; `variation` 1, 2 and so on are other takes
    of a seed. `conditions` say what else is known beforehand (`unstatic.diffusion.condition`). `expand`
    (True) rewrites the prompt in words that the model was trained on, where it has an expander: `Model.plan`
    shows them; before that the language model `expander` rewrites it, URL#MODEL of a chat server or a folder.
    `upscaler` and `interpolator` make more pixels and frames than the model does
    (`unstatic.generate.finish`).
    """

    size: str
    fps: int
    seed: int
    variation: int
    steps: int
    guidance: float | int
    guidance_interval: tuple[float | int, float | int]
    skip_layer_guidance: float | int
    negative: str
    solver: str
    step_cache: int
    conditions: tuple[Condition, ...]
    expand: bool
    expander: str
    upscaler: str
    interpolator: str


class Options(EditOptions, total=False):
    """What can be asked for besides the prompt.

    `seconds` 0 is a still. The video begins with `image` and ends with `last_image`, files or arrays; without
    a size it takes the shape nearest to theirs. `cues` change the prompt on the way.
    """

    seconds: float | int
    image: Path | str | UInt8[np.ndarray, "h w 3"]
    last_image: Path | str | UInt8[np.ndarray, "h w 3"]
    cues: tuple[Cue, ...]


Task = Callable[..., Request]
"""A function of `unstatic.generate.edit` that lacks only the request, the videos and the manifest."""


class Model:
    """A loaded model.

    model = unstatic.load("nano")
    for event in model.stream("a red ball bounces", seconds=4):
        match event:
            case Progress(done, total): ...
            case Frames(first, frames): ...     # uint8 [t h w 3], as soon as they are final
            case Preview(first, frames): ...    # what the next ones look like so far, if asked for
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def manifest(self) -> Manifest:
        """What the model can make: sizes, frame rate, longest video, defaults."""
        return self.engine.manifest

    def plan(self, prompt: str, **options: Unpack[Options]) -> Plan:
        """Return what would be done. Raises InputError naming value and fix."""
        return plan(_request(prompt, options), self.manifest)

    def generate(self, prompt: str, **options: Unpack[Options]) -> Video:
        """Make a video and return it whole. Raises InputError naming value and fix."""
        return self.make(self.plan(prompt, **options))

    def make(self, made: Plan) -> Video:
        """Do what was planned and return the video whole; warnings are Python's."""
        stretches: list[UInt8[np.ndarray, "_ h w 3"]] = []
        for event in self.stream_plan(made):
            match event:
                case Frames():
                    stretches.append(event.frames)
                case Warned():
                    warnings.warn(event.message, stacklevel=2)
                case _:
                    pass
        return Video(frames=np.concatenate(stretches), fps=made.fps)

    def plan_edit(
        self,
        task: Task,
        *videos: Path | str,
        prompt: str = "",
        keep: Span | None = None,
        **options: Unpack[EditOptions],
    ) -> Plan:
        """Return what would be done for a task of `unstatic.generate.edit`, with video files or their span.

        model.plan_edit(partial(edit.extend, seconds=4), "clip.mp4", prompt="the ball stops")
        """
        request = _request(prompt, options)
        sources = read_sources([Path(path) for path in videos], request, self.manifest, keep=keep)
        asked = task(request, *(each.frames for each in sources), self.manifest)
        return self._plan_saying(asked, [warning for source in sources for warning in source.warnings])

    def _plan_saying(self, request: Request, warnings: Sequence[str]) -> Plan:
        made = plan(request, self.manifest)
        return replace(made, warnings=(*warnings, *made.warnings))

    def extend(
        self,
        video: Path | str,
        *,
        seconds: float | int,
        backward: bool = False,
        prompt: str = "",
        **options: Unpack[EditOptions],
    ) -> Video:
        """Go on after a video for `seconds`, or show what came before it."""
        task = partial(edit.extend, seconds=seconds, backward=backward)
        return self.make(self.plan_edit(task, video, prompt=prompt, **options))

    def loop(
        self, video: Path | str, *, seconds: float | int = 2, prompt: str = "", **options: Unpack[EditOptions]
    ) -> Video:
        """Go on after a video for `seconds` so that it flows into its own beginning."""
        return self.make(self.plan_edit(partial(edit.loop, seconds=seconds), video, prompt=prompt, **options))

    def blend(
        self,
        one: Path | str,
        other: Path | str,
        *,
        seconds: float | int = 2,
        prompt: str = "",
        **options: Unpack[EditOptions],
    ) -> Video:
        """Join two videos by a new part of `seconds`."""
        task = partial(edit.blend, seconds=seconds)
        return self.make(self.plan_edit(task, one, other, prompt=prompt, **options))

    def remix(
        self,
        video: Path | str,
        prompt: str,
        *,
        strength: float | int = edit.STRENGTH,
        **options: Unpack[EditOptions],
    ) -> Video:
        """Make a video anew from itself: `strength` 0 leaves it as it is, 1 leaves nothing."""
        task = partial(edit.remix, strength=strength)
        return self.make(self.plan_edit(task, video, prompt=prompt, **options))

    def repaint(
        self,
        video: Path | str,
        prompt: str,
        *,
        mask: Path | str,
        strength: float | int = 1,
        **options: Unpack[EditOptions],
    ) -> Video:
        """Make anew what is white in `mask`, a picture of the size of the video; the rest stays."""
        task = partial(repaint_file, mask=Path(mask), video=Path(video), strength=strength)
        return self.make(self.plan_edit(task, video, prompt=prompt, **options))

    def recut(
        self,
        video: Path | str,
        *,
        keep: tuple[float | int, float | int | None],
        before: float | int = 0,
        after: float | int = 0,
        prompt: str = "",
        **options: Unpack[EditOptions],
    ) -> Video:
        """Keep the span `keep` of a video, in seconds, to its end if that is None, and make parts beside it.

        The video may be of any length.
        """
        task = partial(edit.recut, before=before, after=after)
        return self.make(self.plan_edit(task, video, prompt=prompt, keep=Span(*keep), **options))

    def storyboard(
        self,
        board: Path | str,
        *,
        prompt: str = "",
        seconds: float | int | None = None,
        **options: Unpack[EditOptions],
    ) -> Video:
        """Make what the cards of a file say (`unstatic.generate.storyboard`), in `seconds` if given."""
        cards = read_storyboard(Path(board))
        cards = cards if seconds is None else replace(cards, seconds=seconds)
        asked, said = on_board(_request(prompt, options), cards, self.manifest)
        return self.make(self._plan_saying(asked, said))

    def stream(
        self, prompt: str, *, previews_per_s: float | int = 0, **options: Unpack[Options]
    ) -> Iterator[Event]:
        """Make a video, yielding `Progress` after each step and `Frames` as soon as they are final.

        The same seed gives the same frames, with or without previews. Closing the iterator stops the work
        between two steps. Raises InputError naming value and fix, before any work is done.
        """
        return self.stream_plan(self.plan(prompt, **options), previews_per_s=previews_per_s)

    def stream_plan(self, plan: Plan, *, previews_per_s: float | int = 0) -> Generator[Event]:
        """Do what was planned, with frames at the size and the frame rate of the plan."""
        yield from map(Warned, plan.warnings)
        shown, finisher = (
            0,
            Finisher(
                plan.finish, plan.frames, device=self.engine.device, cuts=plan.cut_frames, loops=plan.loops
            ),
        )
        for event in self.engine.stream(plan, previews_per_s=previews_per_s):
            if not isinstance(event, Frames):
                yield event
                continue
            frames = finisher.next(event.frames, event.first)
            if len(frames):
                yield Frames(shown, frames)
                shown += len(frames)


def load(
    name: str = DEFAULT_MODEL,
    *,
    device: str | None = None,
    loras: Sequence[str] = (),
    adaptable: bool = False,
    quantise: str | None = None,
    offload: bool = False,
    tiled: bool = False,
) -> Model:
    """Load an installed model by name, one from its folder, or one on a server by its address.

    `device` is "cpu", "cuda", "cuda:1" or "mps"; None takes the best one. `loras` are files that change the
    model, "FILE@WEIGHT"; `unstatic.models.lora` attaches and detaches them if it shall be `adaptable`, which
    is slower on a CPU. Where memory is short, `quantise` "int8" or "fp8" halves the size of the transformer,
    `offload` lets its blocks come one by one, and large pictures are encoded and decoded `tiled`. Raises
    InputError naming value and fix.
    """
    return Model(
        load_engine(
            find(name),
            device=device,
            loras=loras,
            adaptable=adaptable,
            quantise=quantise,
            offload=offload,
            tiled=tiled,
        )
    )


def generate(prompt: str, *, model: str = DEFAULT_MODEL, **options: Unpack[Options]) -> Video:
    """Make one video; who makes many calls `load` once.

    unstatic.generate("a red ball bounces", seconds=2).save("ball.mp4")
    unstatic.generate("the ball rolls away", image="ball.png").save("away.mp4")
    """
    return load(model).generate(prompt, **options)


def repaint_file(
    request: Request, frames: Pixels, manifest: Manifest, *, mask: Path, video: Path, strength: float | int
) -> Request:
    """Repaint the frames of a video file where a picture of its size is white."""
    where = read_mask(mask, video, frames)
    return edit.repaint(request, frames, where, manifest, strength=strength)


def _request(prompt: str, options: EditOptions) -> Request:
    fields: dict[str, Any] = {**options}
    if fields.get("size") is not None:
        fields["size"] = Size.parse(fields["size"])
    for name in fields.keys() & {"seed", "variation"}:
        fields[name] = index(fields[name])  # of numpy's whole numbers too
    for name in ("image", "last_image"):
        if fields.get(name) is not None:
            fields[name] = open_image(fields[name])
    if (expander := fields.pop("expander", None)) is not None:
        fields["rewriter"] = rewriter(expander)
    return Request(prompt=prompt, **{"expand": True, **fields})
