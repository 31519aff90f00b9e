"""A job becomes files: its spec a plan, the plan frames, the frames a film, pictures and a preview."""

import io
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.generate import edit
from unstatic.generate.api import EditOptions, Model, Task, repaint_file
from unstatic.generate.defaults import DEFAULT_SECONDS
from unstatic.generate.engine import Frames, Preview, Progress, Warned
from unstatic.generate.footage import Footage, Span, read_source
from unstatic.generate.image import open_image
from unstatic.generate.request import Plan, Request, plan
from unstatic.generate.storyboard import IN_REQUEST, Card, Storyboard, on_board
from unstatic.media.fragments import FragmentWriter
from unstatic.media.sheets import SheetMaker
from unstatic.media.write import VideoWriter
from unstatic.models.manifest import Manifest
from unstatic.server.characters import goes_on, look_in, recast
from unstatic.server.spec import ONE_FRAME, Role, Spec
from unstatic.server.storage import Storage, StorageError

VIDEO, THUMBNAIL, SHEET, PICTURE = "video.mp4", "thumbnail.webp", "spritesheet.jpg", "picture.png"
PREVIEW, LOOK = "preview", "look.webp"
LOOKS_PER_S = 0.5
# What a character's clip shows before the film begins: about a second, in whole latent frames
CHARACTER_FRAMES = 17
IMAGE_STRENGTH = 0.8

Local = Callable[[str], Path]


class Filmed(NamedTuple):
    """Facts of what was made, and what the client should know."""

    facts: dict[str, Any]
    warnings: tuple[str, ...]


def plan_of(spec: Spec, model: Model, local: Local) -> Plan:
    """Return what shall be done, with files that `local` finds by their keys. Raises InputError."""
    made = _plan_of(spec, model, local)
    if made.frames == 1 and spec.task != "image":  # a film that was sent is shorter than it said
        raise InputError(ONE_FRAME)
    return made


def _plan_of(spec: Spec, model: Model, local: Local) -> Plan:
    manifest = model.manifest
    if spec.task in ("create", "storyboard", "image"):
        asked, said = _asked(spec, manifest, local)
        made = plan(asked, manifest)
        return replace(made, warnings=(*said, *made.warnings))
    keys = [key for key in (spec.video, spec.other) if key is not None]
    task = _task(spec, [local(key) for key in keys], local)
    keep = None if spec.keep is None else Span(*spec.keep)
    films = [local(key) for key in keys]
    return model.plan_edit(task, *films, prompt=spec.prompt, keep=keep, **_options(spec))


def _asked(spec: Spec, manifest: Manifest, local: Local) -> tuple[Request, tuple[str, ...]]:
    """Return the request of what is not made of one film or two, and warnings."""
    still = spec.task == "image"
    image = None if spec.image is None else open_image(local(spec.image))
    asked = Request(
        prompt=spec.prompt,
        seconds=0 if still else DEFAULT_SECONDS if spec.seconds is None else spec.seconds,
        size=None if spec.size is None else Size.parse(spec.size),
        fps=spec.fps,
        seed=spec.seed,
        variation=spec.variation,
        steps=spec.steps,
        guidance=spec.guidance,
        negative=spec.negative,
        step_cache=spec.step_cache,
        image=None if still else image,
        last_image=None if spec.last_image is None else open_image(local(spec.last_image)),
        expand=spec.expand,
    )
    if still and image is not None:
        strength = IMAGE_STRENGTH if spec.strength is None else spec.strength
        return replace(asked, source=image[None], strength=strength), ()
    if spec.cards:
        cards = tuple(
            Card(
                at=card.at,
                prompt=card.prompt,
                cut=card.cut,
                image=None if card.image is None else local(card.image),
                video=None if card.video is None else local(card.video),
            )
            for card in spec.cards
        )
        board = Storyboard(cards=cards, seconds=spec.seconds)
        return on_board(asked, board, manifest, naming=IN_REQUEST)
    return _cast(asked, spec.characters, manifest, local)


def _cast(
    asked: Request, roles: tuple[Role, ...], manifest: Manifest, local: Local
) -> tuple[Request, tuple[str, ...]]:
    """Let a film show its characters, and return warnings: what was read in their clips.

    Words say how they look, which leaves the scene to the prompt. Without words the film goes on from the
    clips, scene and all.
    """
    looks = {role.name: role.description for role in roles if role.description is not None}
    read: dict[str, str] = {}
    for role in roles:
        if role.name not in looks and not goes_on(role, manifest):
            read[role.name] = look_in(read_source(local(role.clip), manifest).frames)
    asked = replace(asked, prompt=recast(asked.prompt, looks | read))
    clips = [local(role.clip) for role in roles if goes_on(role, manifest)]
    said = (f"{name} is filmed as {look}: its clip shows that" for name, look in read.items())
    return _after(asked, clips, manifest), tuple(said)


def _after(asked: Request, clips: list[Path], manifest: Manifest) -> Request:
    """Let a film go on from clips, which are not shown."""
    group, lead = manifest.compression.time, 0
    footage: list[Footage] = []
    for clip in clips:
        frames = read_source(clip, manifest).frames[:CHARACTER_FRAMES]
        whole = (
            frames[: len(frames) - (len(frames) - 1) % group]
            if not lead
            else frames[: len(frames) // group * group]
        )
        footage.append(Footage(first=lead, frames=whole))
        lead += len(whole)
    return replace(asked, footage=tuple(footage), lead=lead)


def _task(spec: Spec, videos: list[Path], local: Local) -> Task:
    """Return the function of `generate.edit` that a spec names, with all but the videos."""
    new_s = DEFAULT_SECONDS if spec.seconds is None else spec.seconds
    match spec.task:
        case "extend":
            return partial(edit.extend, seconds=new_s, backward=spec.backward)
        case "loop":
            return partial(edit.loop, seconds=new_s)
        case "blend":
            return partial(edit.blend, seconds=new_s)
        case "recut":
            return partial(edit.recut, before=spec.before, after=spec.after)
        case "repaint":
            assert spec.mask is not None, "what is repainted has a mask"
            strength = 1.0 if spec.strength is None else spec.strength
            return partial(repaint_file, mask=local(spec.mask), video=videos[0], strength=strength)
        case _:
            return partial(edit.remix, strength=edit.STRENGTH if spec.strength is None else spec.strength)


def _options(spec: Spec) -> EditOptions:
    """Return what a spec says of how it is made; what is None is left out."""
    options: EditOptions = {
        "seed": spec.seed,
        "variation": spec.variation,
        "step_cache": spec.step_cache,
        "expand": spec.expand,
    }
    if spec.size is not None:
        options["size"] = spec.size
    if spec.fps is not None:
        options["fps"] = spec.fps
    if spec.steps is not None:
        options["steps"] = spec.steps
    if spec.guidance is not None:
        options["guidance"] = spec.guidance
    if spec.negative is not None:
        options["negative"] = spec.negative
    return options


def film(
    model: Model, made: Plan, storage: Storage, prefix: str, folder: Path, tell: Callable[[int], None]
) -> Filmed:
    """Do what was planned and put the files under `prefix`, by way of `folder`.

    `tell` gets the hundredths that are done after every step; what it raises stops the work.
    """
    said: list[str] = []
    reel = Reel(made, storage, prefix, folder)
    looks_per_s = LOOKS_PER_S if made.frames > 1 else 0
    with reel, closing(model.stream_plan(made, previews_per_s=looks_per_s)) as events:
        for event in events:
            match event:
                case Progress(done, total):
                    tell(100 * done // total)
                case Preview(_, frames):
                    with suppress(StorageError):  # only to be looked at meanwhile
                        storage.put_bytes(f"{prefix}/{LOOK}", picture_bytes(frames[-1], "WEBP"))
                case Warned(message):
                    said.append(message)
                case Frames(_, frames):
                    reel.add(frames)
                    tell(0)
    return Filmed(reel.publish(tell), tuple(said))


class Reel:
    """The files of one attempt, while they are written."""

    def __init__(self, made: Plan, storage: Storage, prefix: str, folder: Path) -> None:
        self.plan, self.storage, self.prefix, self.folder = made, storage, prefix, folder
        self.still: UInt8[np.ndarray, "h w 3"] | None = None
        self.frames, self.pieces = 0, 0
        if made.frames > 1:
            expected = max(1, round(made.frames * made.fps / made.finish.native_fps))
            self.sheet = SheetMaker(expected)
            self.preview = FragmentWriter(self._put_piece, fps=made.fps)
            self.writer = VideoWriter(folder / VIDEO, fps=made.fps)

    def __enter__(self) -> "Reel":
        if self.plan.frames > 1:
            self.writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.plan.frames > 1:
            self.writer.__exit__(*error)

    def add(self, frames: UInt8[np.ndarray, "t h w 3"]) -> None:
        """Write the next frames, where watchers see them at once."""
        self.frames += len(frames)
        if self.plan.frames == 1:
            self.still = frames[0]
            return
        self.preview.write(frames)
        self.writer.write(frames)
        self.sheet.add(frames)

    def _put_piece(self, data: bytes) -> None:
        self.storage.put_bytes(f"{self.prefix}/{PREVIEW}/{self.pieces:06}", data)
        self.pieces += 1

    def publish(self, tell: Callable[[int], None]) -> dict[str, Any]:
        """Put the finished files into the storage, and return their facts; nobody is shown them yet."""
        tell(0)
        if self.still is not None:
            self.storage.put_bytes(f"{self.prefix}/{PICTURE}", picture_bytes(self.still, "PNG"))
            return {"size": str(self.plan.size)}
        self.storage.put_file(f"{self.prefix}/{VIDEO}", self.folder / VIDEO)
        self.storage.put_bytes(f"{self.prefix}/{THUMBNAIL}", self.sheet.thumbnail())
        self.storage.put_bytes(f"{self.prefix}/{SHEET}", self.sheet.sheet())
        seconds = self.frames / self.plan.fps
        return {"size": str(self.plan.size), "fps": self.plan.fps, "frames": self.frames, "seconds": seconds}


def picture_bytes(picture: UInt8[np.ndarray, "h w 3"], kind: str) -> bytes:
    """Return a picture as the bytes of a PNG or WebP file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind)
    return buffer.getvalue()
