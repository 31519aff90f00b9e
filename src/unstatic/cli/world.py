"""`unstatic world`: look at, and write, clips of the physical world that nano learns."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unstatic.cli.options import AsJson, Device, number, whole
from unstatic.cli.output import make_folder, output_path, report, stopping
from unstatic.core.errors import InputError
from unstatic.core.shapes import Size

if TYPE_CHECKING:
    from unstatic.world.clip import Clip
    from unstatic.world.mix import Mix
    from unstatic.world.spec import SceneSpec

app = typer.Typer(no_args_is_help=True, help="Look at, and write, clips of the world that nano learns.")

FPS = 16
MAX_SECONDS = 60.0
MAX_SIDE = 2048
MAX_CLIPS = 1_000_000
MAX_SHEET_CLIPS = 200
MAX_ENLARGE = 8

ClipSize = Annotated[str, typer.Option("--size", metavar="WxH", help="Width x height in pixels.")]
Seconds = Annotated[float, typer.Option(parser=number, metavar="NUMBER", help="How long each clip is.")]
FirstSeed = Annotated[
    int,
    typer.Option(
        "--seed", parser=whole, metavar="INTEGER", help="The first clip's seed; the next ones follow."
    ),
]
MixName = Annotated[
    str,
    typer.Option(
        "--mix", help="What is drawn: default, whole, taught, lively, balanced, first-light, toybox."
    ),
]
EventName = Annotated[str | None, typer.Option("--event", help="Only this event: roll, bounce, spin, ...")]


@app.command("sample")
def sample(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The picture to write.")] = None,
    clips: Annotated[int, typer.Option(parser=whole, metavar="INTEGER", help="How many clips.")] = 12,
    size: ClipSize = "64x64",
    seconds: Seconds = 4.0,
    seed: FirstSeed = 0,
    mix: MixName = "default",
    event: EventName = None,
    enlarge: Annotated[
        int, typer.Option(parser=whole, metavar="INTEGER", help="Enlarge frames so many times.")
    ] = 1,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Draw a contact sheet of clips with their captions."""
    from unstatic.core.device import pick_device, warp_device
    from unstatic.media.enlarge import enlarge as enlarged
    from unstatic.media.frames import contact_sheet
    from unstatic.media.write import write_picture
    from unstatic.world.clip import make_clip

    _check_range("clips", clips, 1, MAX_SHEET_CLIPS)
    _check_range("enlarge", enlarge, 1, MAX_ENLARGE)
    scenes = _drawn(range(seed, seed + clips), Size.parse(size), seconds, _mix(mix, event))
    path, rays = output_path(output, "world", (".png",)), warp_device(pick_device(device))
    drawn = [make_clip(spec, device=rays) for spec in scenes]
    captions = [_caption(clip) for clip in drawn]
    write_picture(path, contact_sheet([enlarged(clip.frames, enlarge) for clip in drawn], captions))
    report(path, {"clips": clips, "captions": captions}, as_json=as_json)


@app.command("render")
def render(
    clips: Annotated[int, typer.Argument(parser=whole, metavar="N", help="How many clips.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write into.")],
    size: ClipSize = "128x128",
    seconds: Seconds = 4.0,
    seed: FirstSeed = 0,
    mix: MixName = "default",
    event: EventName = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Write N clips with their captions and scenes into a folder.

    Clips are mp4 files, named by their seeds; clips.jsonl has a line for each, with its file, its caption and
    its whole scene. Stopped, the same command goes on; more clips of other seeds may come into the folder.
    """
    from unstatic.core.device import pick_device, warp_device
    from unstatic.core.names import alone_in
    from unstatic.data.clip_index import open_index
    from unstatic.media.write import write_video
    from unstatic.world.clip import make_clip

    _check_range("N", clips, 1, MAX_CLIPS)
    seeds = range(seed, seed + clips)
    drawn = _drawn(seeds, Size.parse(size), seconds, _mix(mix, event))
    rays = warp_device(pick_device(device))
    make_folder(output)
    stopped = f"stopped; {output} has the clips so far, and the same command goes on"
    with alone_in(output), open_index(output) as index, stopping(stopped):
        for number, spec in zip(seeds, drawn, strict=True):
            name = f"{number:06d}.mp4"
            if index.has(name, spec.to_json()):
                continue
            clip = make_clip(spec, device=rays)
            write_video(output / name, clip.frames, fps=FPS)
            index.add(name, _caption(clip), spec.to_json())
    report(output, {"clips": clips}, as_json=as_json)


def _mix(name: str, event: str | None) -> "Mix":
    from unstatic.world.mix import MIXES
    from unstatic.world.spec import EVENTS, MOTIONS

    if name not in MIXES:
        raise InputError(f"mix {name!r} is unknown: take one of {', '.join(MIXES)}")
    if event is not None and event not in EVENTS + MOTIONS:
        raise InputError(f"event {event!r} is unknown: take one of {', '.join(EVENTS + MOTIONS)}")
    return MIXES[name] if event is None else replace(MIXES[name], events={event: 1.0})


def _drawn(seeds: range, size: Size, seconds: float, mix: "Mix") -> "Iterator[SceneSpec]":
    """Check everything now, then draw one scene after the other, with a bar on stderr."""
    from unstatic.world.scenes import SHORTEST_CLIP_S

    if not 0 < seconds <= MAX_SECONDS:
        raise InputError(f"seconds is {seconds:g}: take more than 0 and at most {MAX_SECONDS:g}")
    if round(seconds * FPS) < SHORTEST_CLIP_S * FPS:
        raise InputError(f"seconds is {seconds:g}: nothing happens in less than {SHORTEST_CLIP_S:g}")
    if size.width % 2 or size.height % 2 or max(size.width, size.height) > MAX_SIDE:
        raise InputError(f"size {size} must be even on both sides and at most {MAX_SIDE}x{MAX_SIDE}")
    _check_range("seed", seeds.start, 0, 2**63 - MAX_CLIPS)
    return _scenes(seeds, size, round(seconds * FPS), mix)


def _scenes(seeds: range, size: Size, frames: int, mix: "Mix") -> "Iterator[SceneSpec]":
    from unstatic.core.log import progress
    from unstatic.world.scenes import sample_near

    shape = {"width": size.width, "height": size.height}
    with progress("rendering", len(seeds)) as bar:
        for seed in seeds:
            yield sample_near(seed, frames=frames, fps=FPS, mix=mix, **shape).spec
            bar.advance()


def _caption(clip: "Clip") -> str:
    from unstatic.world.captions import captions

    (text,) = captions(clip.spec, 0, 1)
    return text


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} is {value}: it must be between {low} and {high}")
