"""What somebody asks for: one frozen `Request`, checked in one place before any work is done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from unstatic.core.errors import InputError
from unstatic.core.shapes import Compression, Size, chunk_lengths
from unstatic.diffusion.condition import Condition, Cue
from unstatic.generate.defaults import DEFAULT_SECONDS, INTERPOLATOR, UPSCALER, WORLD_UPSCALER
from unstatic.generate.finish import Finish, check_finish
from unstatic.generate.footage import (
    Footage,
    Source,
    Span,
    check_footage,
    covered,
    kept_warnings,
    lasting,
    placed,
    read_source,
    skipped,
)
from unstatic.generate.image import MIN_SIDE, Images, check_images, cut_warnings, nearest_size, size_of
from unstatic.generate.prompts.language_model import Rewriter
from unstatic.generate.texts import Reader, checked_cues, checked_prompt, texts_of
from unstatic.generate.ways import check_range, choose_way
from unstatic.media.frames import fit, fit_mask, nearest_shape, share_cut, shown_numbers
from unstatic.models.manifest import Manifest

MAX_FPS = 120
SHAPE_CUT_UNSAID = 0.1
MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """One video or still to be made.

    `seconds` 0 asks for a still. `size`, `fps`, `steps`, `guidance`, `negative` (the prompt that guidance
    leads away from) and `solver` are the model's own when None, but with pictures the size is the one whose
    shape is nearest to theirs. With a `guidance_interval` there is guidance above its first level of static
    and up to its second, both from 0 to 1. `skip_layer_guidance` leads away from what the model says without
    one of its blocks, by so many times the difference; 0 is none, None the model's own choice. The model is
    asked at one of `step_cache` steps. `image` is the first frame and `last_image` the last. `footage` is
    what the video has at other places, `source` what it starts from: noised to `strength`, or outside `mask`
    (true where all is made anew) kept as it is. The first `lead` frames are made, and footage counts from
    them, but not shown. A film that `loops` is shown again and again. `cues` change the prompt on the way,
    and those that leave it open begin a new scene if they name something new, as far as the model's expander
    understands them. `conditions` say what else is known about the result (`unstatic.diffusion.condition`).
    The variations 1, 2, ... resemble what the seed makes, variation 0. With `expand` prompts are rewritten,
    by `rewriter` if there is one and then in words of the model's training if it has an expander; that one
    adds nothing where pictures show what there is. `upscaler` and `interpolator` make what the file has
    beyond the model; films of the world are enlarged by what learned from its renders unless another is
    named.
    """

    prompt: str
    seconds: float | int = DEFAULT_SECONDS
    size: Size | None = None
    fps: int | None = None
    seed: int = 0
    variation: int = 0
    steps: int | None = None
    guidance: float | int | None = None
    guidance_interval: tuple[float | int, float | int] | None = None
    skip_layer_guidance: float | int | None = None
    negative: str | None = None
    solver: str | None = None
    step_cache: int = 1
    image: UInt8[np.ndarray, "first_h first_w 3"] | None = None
    last_image: UInt8[np.ndarray, "last_h last_w 3"] | None = None
    footage: tuple[Footage, ...] = ()
    source: UInt8[np.ndarray, "t source_h source_w 3"] | None = None
    strength: float = 1.0
    mask: Bool[np.ndarray, "mask_h mask_w"] | None = None
    lead: int = 0
    loops: bool = False
    cues: tuple[Cue, ...] = ()
    conditions: tuple[Condition, ...] = ()
    expand: bool = False
    rewriter: Rewriter | None = None
    upscaler: str | None = None
    interpolator: str = INTERPOLATOR

    @property
    def shows(self) -> bool:
        """Whether pictures show what there is, so that a prompt may be empty and nothing is added to it."""
        pictures = self.image is not None or self.last_image is not None or self.source is not None
        return pictures or bool(self.footage) or bool(self.conditions)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plan:
    """A `Request` with nothing left open: what an engine really does.

    `prompt` and `cues` are what was asked for, and `texts` what the model reads, and from which frame on: the
    same, or what it was expanded to. Those of the numbers `cuts` begin a new scene, with the shown frames
    `cut_frames`. The model works at its own size and frame rate, and `finish` says what becomes of its
    `frames`; the last of them is the last that the file shows. Before them `skip` more are made: the
    request's `lead`, and a few that make footage fall on whole latent frames. The model denoises latent
    frames in chunks of the lengths `chunks`; what they hold beyond is cut off. Pictures are cut and scaled to
    the native size, footage counts from the first frame that is made, and `warnings` say what the user should
    know beforehand. A server decides what is `left_open`, whatever stands here for it.
    """

    prompt: str
    cues: tuple[str, ...]
    texts: tuple[tuple[int, str], ...]
    cuts: frozenset[int]
    cut_frames: frozenset[int]
    frames: int
    loops: bool
    chunks: tuple[int, ...]
    finish: Finish
    seed: int
    variation: int
    steps: int
    guidance: float | int
    late_guidance: float | int | None
    guidance_interval: tuple[float | int, float | int] | None
    skip_layer_guidance: float | int
    negative: str
    solver: str
    step_cache: int
    image: UInt8[np.ndarray, "h w 3"] | None
    last_image: UInt8[np.ndarray, "h w 3"] | None
    footage: tuple[Footage, ...]
    source: UInt8[np.ndarray, "t h w 3"] | None
    strength: float
    mask: Bool[np.ndarray, "h w"] | None
    skip: int
    conditions: tuple[Condition, ...]
    warnings: tuple[str, ...]
    left_open: frozenset[str] = frozenset()

    @property
    def native(self) -> Size:
        """The size that the model makes."""
        return self.finish.native

    @property
    def size(self) -> Size:
        """The size of the file."""
        return self.finish.size

    @property
    def fps(self) -> int:
        """The frame rate of the file."""
        return self.finish.fps

    @property
    def text(self) -> str:
        """What the model reads at the beginning."""
        return self.texts[0][1]

    @property
    def made(self) -> int:
        """How many frames are made, shown or not."""
        return self.skip + self.frames

    @property
    def total_steps(self) -> int:
        """How many denoising steps all chunks take together."""
        return len(self.chunks) * self.steps


def plan(request: Request, manifest: Manifest) -> Plan:
    """Answer `request` with the model of `manifest`. Raises InputError naming value and fix."""
    way = choose_way(request, manifest)
    fps = manifest.fps if request.fps is None else request.fps
    _check_numbers(request, fps)
    upscaler = request.upscaler or (WORLD_UPSCALER if manifest.expander else UPSCALER)
    check_finish(upscaler, request.interpolator)
    if any(isinstance(condition, Cue) for condition in request.conditions):
        raise InputError("conditions hold a Cue: give it among the cues")

    # Pictures
    manifest = _answering(request, manifest)
    length = frame_count(request.seconds, manifest)
    frames = _frames_to_make(request, manifest, length, fps)
    pictures = pictures_of(request)
    check_images(pictures, frames)
    check_footage(request.footage, request.lead + frames)
    size = request.size or nearest_size(pictures, manifest)
    native = native_size(size, manifest)
    if length > 1:
        check_even(size)
    aligning = aligned(request, manifest)
    skip = request.lead + aligning
    source = request.source
    if source is not None:
        source = lasting(fit(source, native), len(source) + skip, before=skip)
    end, compression = skip + frames, manifest.compression
    footage = tuple(
        placed(each, aligning, native, end=end, compression=compression) for each in request.footage
    )

    # Words
    prompt = checked_prompt(request.prompt, may_be_empty=request.shows)
    said = [Cue(at=0.0, prompt=prompt), *checked_cues(request.cues, length, manifest)]
    chunks = whole_chunks(end, manifest)
    known = _known(request, footage, end, compression)
    texts = texts_of(said, _reader(request, manifest), skip=skip, chunks=chunks, known=known)
    return Plan(
        prompt=prompt,
        cues=tuple(cue.prompt for cue in said[1:]),
        texts=tuple((first, each.text) for first, each in zip(texts.firsts, texts.wordings, strict=True)),
        cuts=texts.cuts,
        cut_frames=frozenset(compression.frames(texts.starts[cut]) - skip for cut in texts.cuts),
        frames=frames,
        loops=request.loops,
        chunks=chunks,
        finish=Finish(
            native=native,
            native_fps=manifest.fps,
            size=size,
            fps=fps,
            upscaler=upscaler,
            interpolator=request.interpolator,
        ),
        seed=request.seed,
        variation=request.variation,
        steps=way.steps,
        guidance=way.guidance,
        late_guidance=manifest.defaults.late_guidance if request.guidance is None else None,
        guidance_interval=request.guidance_interval,
        skip_layer_guidance=way.skip_layer_guidance,
        negative=checked_prompt(way.negative, may_be_empty=True),
        solver=way.solver,
        step_cache=request.step_cache,
        image=None if request.image is None else fit(request.image[None], native)[0],
        last_image=None if request.last_image is None else fit(request.last_image[None], native)[0],
        footage=footage,
        source=source,
        strength=request.strength,
        mask=None if request.mask is None else fit_mask(request.mask, native),
        skip=skip,
        conditions=request.conditions,
        warnings=(
            *texts.warnings(manifest),
            *kept_warnings(footage, manifest),
            *shape_warnings(native, size, manifest),
            *cut_warnings(_unfitted(pictures, native), size),
        ),
        left_open=way.left_open,
    )


def _check_numbers(request: Request, fps: int) -> None:
    check_range("fps", fps, 1, MAX_FPS)
    check_range("seed", request.seed, 0, MAX_SEED)
    check_range("variation", request.variation, 0, MAX_SEED)


def _reader(request: Request, manifest: Manifest) -> Reader:
    if request.rewriter is not None and not request.expand:
        raise InputError("there is an expander and --no-expand: leave one of them out")
    return Reader(
        manifest=manifest,
        expand=request.expand,
        rewriter=request.rewriter,
        seed=request.seed,
        filling=not request.shows,
    )


def pictures_of(request: Request) -> Images:
    """Return a picture of everything that is shown to the model, by what a user calls it."""
    found: dict[str, UInt8[np.ndarray, "_ _ 3"] | None] = {
        "image": request.image,
        "last_image": request.last_image,
        "source": None if request.source is None else request.source[0],
    }
    found |= {f"footage {number}": each.frames[0] for number, each in enumerate(request.footage, 1)}
    return {name: picture for name, picture in found.items() if picture is not None}


def _unfitted(pictures: Images, native: Size) -> Images:
    """Return the pictures without footage that has the model's size: who fitted it has said what that cut."""
    images = ("image", "last_image")
    return {name: each for name, each in pictures.items() if name in images or size_of(each) != native}


def _answering(request: Request, manifest: Manifest) -> Manifest:
    """Return a model as it will film, a server's as it is asked to. Raises InputError for what it cannot."""
    _check_engine(request, manifest)
    _check_frames(request, manifest)
    if manifest.engine != "remote":
        return manifest
    sizes = manifest.sizes if request.size is None else (request.size,)
    return replace(manifest, sizes=sizes, fps=manifest.fps if request.fps is None else request.fps)


def _check_engine(request: Request, manifest: Manifest) -> None:
    """Raise InputError for what the engine of a model, or a model that makes all at once, does not know."""
    name = manifest.name
    if manifest.chunk is None and request.cues:
        raise InputError(f"{name} makes a film in one piece: it knows one prompt, leave cues and cards out")
    if manifest.engine == "native":
        return
    where, fix = "run by diffusers", "leave it out"
    wanted = {
        "a source to start from": request.source is not None,
        "conditions": bool(request.conditions),
        "variations of a seed": bool(request.variation),
        "guidance": request.guidance is not None and not manifest.defaults.guidance,
    }
    if manifest.engine == "remote":
        where, fix = "on a server", "leave it out, or take a model of this machine"
        wanted |= {"footage": bool(request.footage), "a last image": request.last_image is not None}
    for what, asked in wanted.items():
        if asked:
            raise InputError(f"{name} is {where}, which does not know {what}: {fix}")


def _check_frames(request: Request, manifest: Manifest) -> None:
    """Raise InputError for frames given to a model that has not learned to go on from them, or not given."""
    name, pictures = manifest.name, request.image is not None or request.last_image is not None
    if manifest.begins_with_picture and request.image is None:
        raise InputError(f"{name} begins with a picture: give it an image, or take another model")
    if manifest.given == "start" and request.last_image is not None:
        raise InputError(f"{name} has not learned to end with a picture: leave the last image out")
    if manifest.given == "ends" and request.last_image is None:
        raise InputError(f"{name} goes from one picture to another: give it a last image too")
    if manifest.given == "beginning":
        _check_beginning(request, manifest)
    elif (manifest.given == "nothing" and pictures) or (manifest.given != "frames" and request.footage):
        raise InputError(f"{name} cannot go on from what is given: take another model, or remix it")
    if request.image is not None and request.lead + aligned(request, manifest):
        raise InputError(
            "what is given comes before the film: leave it out, or the image to begin with"
            if request.lead
            else f"with an image to begin with footage begins at frame 1 + a multiple of"
            f" {manifest.compression.time}: move it"
        )


def _check_beginning(request: Request, manifest: Manifest) -> None:
    """Raise InputError for frames that are not at the beginning, or do not fill the first chunk there."""
    name, first = manifest.name, manifest.first_chunk
    if request.last_image is not None or any(each.first > 0 for each in request.footage):
        raise InputError(f"{name} goes forward only: take another model to arrive at what is given")
    if request.image is not None and first > 1:
        frames = manifest.compression.frames(first)
        raise InputError(f"{name} begins with {frames} frames at once, not with one: extend a film instead")


def aligned(request: Request, manifest: Manifest) -> int:
    """Return how many frames are made before the first that is asked for, for the sake of footage."""
    if manifest.given == "beginning" and manifest.chunk is not None:
        first, chunk = manifest.first_chunk, manifest.chunk
        return skipped(request.footage, manifest.compression, first=first, chunk=chunk)
    return skipped(request.footage, manifest.compression)


def _known(request: Request, footage: Sequence[Footage], made: int, compression: Compression) -> set[int]:
    """Return the latent frames of which something is given, of those that cover `made` frames."""
    end = compression.latent_frames_covering(made)
    if request.source is not None:
        return {*range(end)}
    spans = (covered(each.first, each.stop, compression) for each in footage)
    ends = ([0] if request.image is not None else []) + ([end - 1] if request.last_image is not None else [])
    return {time for span in spans for time in range(*span)} | {*ends}


def _frames_to_make(request: Request, manifest: Manifest, length: int, fps: int) -> int:
    """Return how many of `length` frames are made: up to the last that is shown, and all footage."""
    shown = shown_numbers(0, length, manifest.fps, fps)[-1] + 1
    frames = max([shown, *(min(each.stop - request.lead, length) for each in request.footage)])
    if manifest.begins_with_picture and request.last_image is not None:
        # Such a model ends with it where it ends: it learned whole latent frames alone
        return manifest.compression.frames_covering(frames)
    return frames


def frame_count(seconds: float | int, manifest: Manifest) -> int:
    """Return how many frames of the model make `seconds`; 0 seconds are a still of one frame."""
    if not 0 <= seconds <= manifest.max_seconds:  # false for NaN too
        longest = f"{manifest.max_seconds:g}"
        raise InputError(
            f"seconds is {seconds:g}: {manifest.name} makes from 0 (a still) to {longest} seconds"
        )
    return max(1, round(seconds * manifest.fps))


def whole_chunks(frames: int, manifest: Manifest) -> tuple[int, ...]:
    """Return the shortest whole chunks that cover `frames`; models are trained on whole chunks only."""
    latent_frames = manifest.compression.latent_frames_covering(frames)
    if manifest.chunk is None:
        return (latent_frames,)
    _, *later = chunk_lengths(latent_frames, manifest.chunk, manifest.first_chunk)
    return (manifest.first_chunk, *(manifest.chunk for _ in later))


def read_sources(
    paths: Sequence[Path],
    request: Request,
    manifest: Manifest,
    *,
    keep: Span | None = None,
    on_frame: Callable[[], object] | None = None,
) -> list[Source]:
    """Read the videos of an edit, all in the shape that is asked for, or else in that of the first.

    With `keep` that span of each; `on_frame` is called for each frame. Raises InputError as `read_source`.
    """
    size, sources = request.size and native_size(request.size, manifest), list[Source]()
    for path in paths:
        sources.append(read_source(path, manifest, size=size, keep=keep, on_frame=on_frame))
        size = size_of(sources[0].frames[0])
    return sources


def native_size(size: Size, manifest: Manifest) -> Size:
    """Return the model's own size from which `size` is cut and scaled: the one of the nearest shape.

    Raises InputError for a size that is too small or too large for the model.
    """
    native, most = nearest_shape(size, manifest.sizes), manifest.max_enlarge
    largest = Size(native.width * most, native.height * most)
    if min(size.width, size.height) < MIN_SIDE:
        raise InputError(f"size {size} is too small: sides have at least {MIN_SIDE} pixels")
    if size.width > largest.width or size.height > largest.height:
        raise InputError(f"size {size} is too large for {manifest.name}: in this shape up to {largest}")
    return native


def check_even(size: Size) -> None:
    """Raise InputError for a size that codecs of films cannot store."""
    even = Size(size.width + size.width % 2, size.height + size.height % 2)
    if size != even:
        raise InputError(f"size {size} has an odd side: films have even sides, for example {even}")


def shape_warnings(native: Size, size: Size, manifest: Manifest) -> tuple[str, ...]:
    """Say so if much of what the model makes is cut away."""
    cut = share_cut(native, size)
    if cut <= SHAPE_CUT_UNSAID:
        return ()
    return (f"{manifest.name} films in {native}: {cut:.0%} of it is cut away to fill {size}",)
