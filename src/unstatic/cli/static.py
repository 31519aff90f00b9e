"""`unstatic static`: the chain made visible, from a clip to static and from static to a clip."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unstatic.cli.options import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    AsJson,
    Device,
    ModelName,
    Output,
    Seed,
    whole,
)
from unstatic.cli.output import output_path, report, warn
from unstatic.core.errors import InputError
from unstatic.core.threads import SHORT_SPINS, quiet_threads
from unstatic.generate.defaults import DEFAULT_MODEL
from unstatic.media.containers import SUFFIXES

if TYPE_CHECKING:
    from unstatic.generate.dissolve import Walk
    from unstatic.generate.native import NativeEngine
    from unstatic.models.manifest import Manifest

    Walker = Callable[[NativeEngine], Walk]

FILE_SUFFIXES = SUFFIXES + PICTURE_SUFFIXES
CHAIN_STEPS = 48


def static(
    source: Annotated[str, typer.Argument(metavar="VIDEO|PROMPT", help="A video file, or what to film.")],
    output: Output = None,
    steps: Annotated[
        int | None, typer.Option(parser=whole, metavar="INTEGER", help="How many noise levels are walked.")
    ] = None,
    seed: Seed = 0,
    model: ModelName = DEFAULT_MODEL,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Watch static become a clip, or a clip dissolve into static.

    Writes a video (.mp4), or with `-o FILE.png` a picture: a row for each moment, a column for each noise
    level.
    """
    quiet_threads(spins=SHORT_SPINS)
    from unstatic.generate.native import load_native
    from unstatic.models.manifest import find_model

    # Check everything, then load, walk and write
    installed = find_model(model)
    is_file = os.path.isfile(source)  # unlike Path.is_file, false for a name that is too long
    if not is_file and source.lower().endswith(FILE_SUFFIXES):
        raise InputError(f"there is no file {source}: give the path of a video, or a sentence")
    begin = _dissolving if is_file else _appearing
    walk_with = begin(source, installed.manifest, steps, seed)
    path = output_path(
        output, f"{Path(source).stem if is_file else source} static", VIDEO_SUFFIXES + PICTURE_SUFFIXES
    )

    engine = load_native(installed, device=device)
    walk = walk_with(engine)
    _write(path, engine, walk)
    report(
        path,
        {"model": engine.manifest.name, "levels": len(walk.levels), "frames": walk.frames},
        as_json=as_json,
    )


def _appearing(prompt: str, manifest: "Manifest", steps: int | None, seed: int) -> "Walker":
    """Plan a clip, to be watched as it appears."""
    from unstatic.core.log import progress
    from unstatic.generate.dissolve import Walk, appear
    from unstatic.generate.engine import Progress, Warned
    from unstatic.generate.request import Request, plan

    made = plan(Request(prompt=prompt, steps=steps, seed=seed), manifest)

    def walk_with(engine: "NativeEngine") -> Walk:
        walk: Walk | None = None
        with progress("sampling", made.total_steps) as bar:
            for event in appear(engine, made):
                match event:
                    case Progress():
                        bar.advance()
                    case Warned():
                        warn(event.message)
                    case Walk():
                        walk = event
        assert walk is not None, "the walk comes last"
        return walk

    return walk_with


def _dissolving(path: str, manifest: "Manifest", steps: int | None, seed: int) -> "Walker":
    """Read the beginning of a video, to be watched as it dissolves."""
    from unstatic.core.log import progress
    from unstatic.generate.dissolve import MAX_CLIP_SECONDS, chain_to_static, dissolve
    from unstatic.generate.footage import read_beginning

    chain = chain_to_static(CHAIN_STEPS if steps is None else steps)
    most = round(MAX_CLIP_SECONDS * manifest.fps) + 1
    with progress("reading", most) as bar:
        clip, goes_on = read_beginning(Path(path), manifest, most, on_frame=bar.advance)
        bar.resize(len(clip.frames))
    for warning in clip.warnings:
        warn(warning)
    if goes_on:
        warn(f"{path} is long: only its first {MAX_CLIP_SECONDS:g} seconds are used")

    return lambda engine: dissolve(engine, clip.frames, chain, seed=seed)


def _write(path: Path, engine: "NativeEngine", walk: "Walk") -> None:
    """Decode a walk into a picture or a video, enlarged as the model's videos are."""
    from unstatic.generate.dissolve import film, sheet
    from unstatic.media.enlarge import enlarge
    from unstatic.media.write import VideoWriter, write_picture

    factor = engine.manifest.enlarge
    if path.suffix.lower() in PICTURE_SUFFIXES:
        picture = sheet(engine.autoencoder, walk)
        write_picture(path, enlarge(picture[None], factor, "bicubic")[0])
        return
    with VideoWriter(path, fps=engine.manifest.fps, scale=factor, method="bicubic") as writer:
        for frames in film(engine.autoencoder, walk):
            writer.write(frames)
