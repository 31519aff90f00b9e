"""Edits of real renders by a model, to be measured: every task on the same two seconds of film."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import numpy as np

from unstatic.core.shapes import Size
from unstatic.evals.edits import EditedVideo, Kept
from unstatic.evals.prompts import Prompt, load_suite
from unstatic.evals.readings import Frames
from unstatic.generate import edit
from unstatic.generate.engine import whole_film
from unstatic.generate.image import size_of
from unstatic.generate.native import NativeEngine
from unstatic.generate.request import Request, plan
from unstatic.media.frames import fit, nearest_shape
from unstatic.models.manifest import Manifest
from unstatic.presets.film_store import Keep
from unstatic.world.clip import make_clip

SOURCE_FRAMES, NEW_SECONDS = 33, 2  # 1 + a multiple of 4 frames: nothing of it is left over

Copy = Callable[[Frames], Frames]
Make = Callable[[Request], Frames]


def edit_prompts(count: int) -> list[Prompt]:
    """Return prompts of objects and animals in turn."""
    objects, animals = (load_suite(name).prompts for name in ("objects", "animals"))
    return [prompt for pair in zip(objects, animals, strict=False) for prompt in pair][:count]


def edited_videos(
    engine: NativeEngine,
    prompts: list[Prompt],
    copy: Copy,
    *,
    enlarge: int,
    keep: Keep = lambda _, make: make,
    advance: Callable[[], object],
) -> Iterator[EditedVideo]:
    """Edit the beginning of every prompt's real render in every way; `copy` is the autoencoder alone."""
    before: Frames | None = None
    for prompt in prompts:
        uncut = source_of(prompt, engine.manifest, enlarge=enlarge)
        source = uncut[:SOURCE_FRAMES]
        make = _numbered(engine, prompt, keep)
        for edited in edits_of(make, engine.manifest, prompt, source, before, copy):
            yield replace(edited, uncut=uncut)
        before = source
        advance()


def edits_of(
    make: Make, manifest: Manifest, prompt: Prompt, source: Frames, before: Frames | None, copy: Copy
) -> Iterator[EditedVideo]:
    """Edit one source in every way; a way leads to it from `before`, another of its size."""
    request = Request(prompt=prompt.text, seed=prompt.spec.seed)
    yield extended(make, request, source, copy, manifest)
    yield extended(make, request, source, copy, manifest, backward=True)
    yield looped(make, request, source, copy, manifest)
    yield recut(make, request, source, copy, manifest)
    yield from pictured(make, request, source, copy)
    yield repainted(make, request, source, copy, manifest)
    if before is not None and before.shape == source.shape:
        yield blended(make, request, before, source, copy, manifest)


def check_edits(manifest: Manifest) -> None:
    """Raise InputError if a model does not make every one of these edits: all are planned, none is made."""
    (prompt,) = edit_prompts(1)
    size = nearest_shape(Size(prompt.spec.height, prompt.spec.width), manifest.sizes)
    source = np.zeros((SOURCE_FRAMES, size.height, size.width, 3), np.uint8)

    def planned(request: Request) -> Frames:
        return np.zeros((plan(request, manifest).frames, *source.shape[1:]), np.uint8)

    for _ in edits_of(planned, manifest, prompt, source, source, lambda frames: frames):
        pass


def source_of(prompt: Prompt, manifest: Manifest, *, enlarge: int) -> Frames:
    """Render what a prompt asks for, in a size that the model has."""
    frames = make_clip(prompt.spec, enlarge=enlarge).frames
    native = nearest_shape(size_of(frames[0]), manifest.sizes)
    return frames if size_of(frames[0]) == native else fit(frames, native)


def _numbered(engine: NativeEngine, prompt: Prompt, keep: Keep) -> Make:
    """Return what makes a prompt's edits; they come in one order, so a number names each."""
    numbers = count()

    def made(request: Request) -> Frames:
        planned = plan(request, engine.manifest)
        return keep(f"edit {next(numbers)}", lambda _: whole_film(engine, planned))(prompt)

    return made


def extended(
    make: Make, request: Request, source: Frames, copy: Copy, manifest: Manifest, *, backward: bool = False
) -> EditedVideo:
    """Go on after the source, or before it."""
    frames = make(edit.extend(request, source, manifest, seconds=NEW_SECONDS, backward=backward))
    first = len(frames) - len(source) if backward else 0
    return EditedVideo(
        task="backward" if backward else "extend",
        frames=frames,
        kept=(_kept(first, source, copy),),
        joints=(first if backward else len(source),),
    )


def looped(make: Make, request: Request, source: Frames, copy: Copy, manifest: Manifest) -> EditedVideo:
    """Go on after the source until it can begin again."""
    asked = edit.loop(request, source, manifest, seconds=NEW_SECONDS)
    frames, lead = make(asked), asked.lead
    kept = (
        _kept(0, source, copy, after=lead),
        _kept(len(frames) - lead, source[: lead + 1], copy, until=lead),
    )
    joints = (len(source) - lead, len(frames) - lead, 0)
    return EditedVideo(task="loop", frames=frames, kept=kept, joints=joints, is_loop=True)


def recut(make: Make, request: Request, source: Frames, copy: Copy, manifest: Manifest) -> EditedVideo:
    """Keep the middle of the source and make both sides anew."""
    start, stop, side = 8, 25, manifest.fps
    frames = make(edit.recut(request, source[start:stop], manifest, before=1, after=1))
    # Of footage in the middle whole latent frames are kept: all but the last frame
    kept = (_kept(side, source[start:stop], copy, until=16),)
    return EditedVideo(task="recut", frames=frames, kept=kept, joints=(side, side + 16))


def pictured(make: Make, request: Request, source: Frames, copy: Copy) -> Iterator[EditedVideo]:
    """Begin with the source's first frame, end with its last, and both."""
    asked, begin, end = replace(request, seconds=NEW_SECONDS), source[:1], source[-1:]
    for task, first, last in (
        ("image", True, False),
        ("last image", False, True),
        ("both images", True, True),
    ):
        frames = make(replace(asked, image=begin[0] if first else None, last_image=end[0] if last else None))
        final = len(frames) - 1
        kept = ([_kept(0, begin, copy)] if first else []) + ([_kept(final, end, copy)] if last else [])
        joints = (1,) * first + (final,) * last
        yield EditedVideo(task=task, frames=frames, kept=tuple(kept), joints=joints)


def repainted(make: Make, request: Request, source: Frames, copy: Copy, manifest: Manifest) -> EditedVideo:
    """Make the upper half of the source anew."""
    height, width = source.shape[1:3]
    mask = np.zeros((height, width), bool)
    mask[: height // 2] = True
    frames = make(edit.repaint(request, source, mask, manifest))
    copied = copy(source)
    kept = Kept(first=0, given=source[: len(copied)], copy=copied, top=height // 2)
    return EditedVideo(task="repaint", frames=frames, kept=(kept,), joints=())


def blended(
    make: Make, request: Request, one: Frames, other: Frames, copy: Copy, manifest: Manifest
) -> EditedVideo:
    """Lead from one source to the next."""
    frames = make(edit.blend(request, one, other, manifest, seconds=NEW_SECONDS))
    first = len(frames) - len(other)
    kept = (_kept(0, one, copy), _kept(first, other, copy))
    return EditedVideo(task="blend", frames=frames, kept=kept, joints=(len(one), first))


def _kept(first: int, given: Frames, copy: Copy, *, after: int = 0, until: int | None = None) -> Kept:
    """Return what was given, of whole latent frames: the frames from number `after` to before `until`."""
    copied = copy(given)
    return Kept(first=first, given=given[: len(copied)][after:until], copy=copied[after:until])
