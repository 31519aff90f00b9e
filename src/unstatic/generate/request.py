"""What somebody asks for: one frozen `Request`, checked in one place before any work is done."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size, chunk_lengths
from unstatic.diffusion.condition import Condition, Cue
from unstatic.diffusion.solver import SOLVERS
from unstatic.generate.defaults import DEFAULT_SECONDS
from unstatic.generate.image import check_images, cut_warnings, nearest_size
from unstatic.generate.prompts.expand import Wording, worded
from unstatic.media.frames import fit, shown_numbers
from unstatic.models.manifest import Manifest

MAX_PROMPT_CHARACTERS = 32_000
MAX_STEPS = 1_000
MAX_GUIDANCE = 30.0
MAX_FPS = 120
MAX_SEED = 2**63 - 1
# The solver of a model that learned to take few steps
DISTILLED = "distilled"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """One video or still to be made.

    `seconds` 0 asks for a still. `size`, `fps`, `steps`, `guidance` and `solver` are the model's own when
    None, but with an image the size is the one whose shape is nearest to it. `image` is the first frame and
    `last_image` the last; `conditions` say what else is known about the result
    (`unstatic.diffusion.condition`). With `expand` the prompt is rewritten in words of the model's training,
    if it has an expander; nothing is added where pictures or conditions show what there is.
    """

    prompt: str
    seconds: float | int = DEFAULT_SECONDS
    size: Size | None = None
    fps: int | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | int | None = None
    solver: str | None = None
    image: UInt8[np.ndarray, "first_h first_w 3"] | None = None
    last_image: UInt8[np.ndarray, "last_h last_w 3"] | None = None
    conditions: tuple[Condition, ...] = ()
    expand: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plan:
    """A `Request` with nothing left open: what an engine really does.

    `prompt` is what was asked for and `text` what the model reads: the same, or what it was expanded to.
    The model works at `native` size and the file has `size`, `enlarge` times as much a side. `frames` are the
    model's own, at the model's frame rate, and the file shows them at `fps`; the last of them is the last
    that it shows. The model denoises latent frames in chunks of the lengths `chunks`; what they hold beyond
    `frames` is cut off. `image` and `last_image` are cut and scaled to the native size, and `warnings` say
    what the user should know beforehand.
    """

    prompt: str
    text: str
    frames: int
    chunks: tuple[int, ...]
    native: Size
    enlarge: int
    fps: int
    seed: int
    steps: int
    guidance: float | int
    solver: str
    image: UInt8[np.ndarray, "h w 3"] | None
    last_image: UInt8[np.ndarray, "h w 3"] | None
    conditions: tuple[Condition, ...]
    warnings: tuple[str, ...]

    @property
    def size(self) -> Size:
        """The size of the file's pictures."""
        return Size(self.native.width * self.enlarge, self.native.height * self.enlarge)

    @property
    def total_steps(self) -> int:
        """How many denoising steps all chunks take together."""
        return len(self.chunks) * self.steps


def plan(request: Request, manifest: Manifest) -> Plan:
    """Answer `request` with the model of `manifest`. Raises InputError naming value and fix."""
    defaults = manifest.defaults
    solver, steps, few = request.solver, request.steps, manifest.distilled
    if solver is None:
        solver = DISTILLED if few else defaults.solver
    if steps is None:
        steps = few.steps if few and solver == DISTILLED else defaults.steps
    guidance = defaults.guidance if request.guidance is None else request.guidance
    fps = manifest.fps if request.fps is None else request.fps

    _check_range("steps", steps, 1, MAX_STEPS)
    _check_range("guidance", guidance, 0.0, MAX_GUIDANCE)
    _check_solver(solver, guidance, manifest)
    _check_range("fps", fps, 1, MAX_FPS)
    _check_range("seed", request.seed, 0, MAX_SEED)
    if any(isinstance(condition, Cue) for condition in request.conditions):
        raise InputError("conditions hold a Cue: give one prompt, it cannot change on the way")

    prompt = checked_prompt(request.prompt)
    frames = shown_numbers(0, frame_count(request.seconds, manifest), manifest.fps, fps)[-1] + 1
    named = {"image": request.image, "last_image": request.last_image}
    images = {name: image for name, image in named.items() if image is not None}
    check_images(images, frames)
    size = request.size or nearest_size(images, manifest)
    native, enlarge = native_size(size, manifest)
    fitted = {name: fit(image[None], native)[0] for name, image in images.items()}
    is_open = not images and not request.conditions
    wording = (
        worded(prompt, manifest, seed=request.seed, filling=is_open) if request.expand else Wording(prompt)
    )
    return Plan(
        prompt=prompt,
        text=wording.text,
        frames=frames,
        chunks=whole_chunks(frames, manifest),
        native=native,
        enlarge=enlarge,
        fps=fps,
        seed=request.seed,
        steps=steps,
        guidance=guidance,
        solver=solver,
        image=fitted.get("image"),
        last_image=fitted.get("last_image"),
        conditions=request.conditions,
        warnings=(*wording.warnings, *cut_warnings(images, size)),
    )


def checked_prompt(prompt: str) -> str:
    """Return the prompt without surrounding white space. Raises InputError for one that cannot be read."""
    text = prompt.strip()
    if not text:
        raise InputError('the prompt is empty: say what to film, e.g. "a red ball bounces on a wooden floor"')
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise InputError(
            f"the prompt has {len(text):,} characters: shorten it to at most {MAX_PROMPT_CHARACTERS:,}"
        )
    # A terminal may hand over bytes that are no text, which Python keeps as surrogates
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"the prompt {text[:40]!a} holds bytes that are no text: write it in UTF-8")
    return text


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
    first, *later = chunk_lengths(latent_frames, manifest.chunk)
    return (first, *(manifest.chunk for _ in later))


def native_size(size: Size, manifest: Manifest) -> tuple[Size, int]:
    """Return the model's own size and the whole factor by which its frames are enlarged to `size`."""
    for native in manifest.sizes:
        factor = size.width // native.width
        if 1 <= factor <= manifest.max_enlarge and size == Size(
            native.width * factor, native.height * factor
        ):
            return native, factor
    offered = ", ".join(str(native) for native in manifest.sizes)
    times = f"2 to {manifest.max_enlarge} times one"
    raise InputError(f"size {size} is not offered by {manifest.name}: take {offered}, or {times}")


def _check_solver(solver: str, guidance: float | int, manifest: Manifest) -> None:
    """Raise InputError for a solver there is not, or one that was not taught what it is asked for."""
    few = manifest.distilled
    known = [DISTILLED, *SOLVERS] if few else [*SOLVERS]
    if solver not in known:
        raise InputError(f"solver {solver!r} is unknown: take one of {', '.join(known)}")
    if few and solver == DISTILLED and not 1 <= guidance <= few.max_guidance:
        other = f"take solver {manifest.defaults.solver} for any other"
        raise InputError(
            f"guidance is {guidance}: {manifest.name} in few steps knows 1 to {few.max_guidance:g}; {other}"
        )


def _check_range(name: str, value: float | int, low: float | int, high: float | int) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"{name} is {value}: it must be between {low:g} and {high:g}")
