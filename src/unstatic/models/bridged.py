"""What models of other families can do, which the package diffusers runs (`generate/engines/bridge.py`).

What the publishers of a family sample it with stands here; for one that does not, its pipeline is asked for
the defaults of its call.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from unstatic.core.errors import InputError
from unstatic.core.files import read_object
from unstatic.core.shapes import Compression, Size
from unstatic.models.manifest import Given, Manifest, SamplingDefaults

ADVICE = "pip install 'unstatic[hub]'"
PIPELINES_OWN = "pipeline"  # what samples is a part of the model
FRAME_COUNTS = ("num_frames", "video_length", "frames")  # what pipelines call how many they make


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """How films of a pipeline are made.

    Its frames are 1 and a multiple of `time` (Latte makes 16 and Helios 132, and no others), its sides
    multiples of `space`. Guidance 0 is none: the pipeline has a guider of its own.
    """

    sizes: tuple[Size, ...]
    fps: int
    frames: int
    steps: int
    guidance: float
    time: int = 4
    space: int = 16
    licence: str = "see its model card"


COGVIDEO = Family(sizes=(Size(720, 480),), fps=8, frames=49, steps=50, guidance=6.0)
# What the transformer of 1.5 says of itself alone: its patches are of several frames
PATCHES_OF_FRAMES = "patch_size_t"
COGVIDEO_15 = Family(sizes=(Size(1360, 768), Size(768, 1360)), fps=16, frames=81, steps=50, guidance=6.0)
HUNYUAN = Family(sizes=(Size(1280, 720), Size(720, 1280)), fps=24, frames=129, steps=50, guidance=6.0)
LTX = Family(
    sizes=(Size(704, 512), Size(512, 704)), fps=24, frames=161, steps=50, guidance=3.0, time=8, space=32
)
FAMILIES: Mapping[str, Family] = {
    "CogVideoXPipeline": COGVIDEO,
    "CogVideoXImageToVideoPipeline": COGVIDEO,
    "HunyuanVideoPipeline": HUNYUAN,
    "HunyuanVideo15Pipeline": Family(
        sizes=(Size(832, 480), Size(480, 832)), fps=24, frames=121, steps=50, guidance=0.0
    ),
    "HeliosPipeline": Family(sizes=(Size(640, 384),), fps=24, frames=132, steps=50, guidance=5.0, time=131),
    "Kandinsky5T2VPipeline": Family(sizes=(Size(768, 512),), fps=24, frames=121, steps=50, guidance=5.0),
    "LattePipeline": Family(
        sizes=(Size(512, 512),), fps=8, frames=16, steps=50, guidance=7.5, time=15, licence="Apache-2.0"
    ),
    "LTXPipeline": LTX,
    "LTXImageToVideoPipeline": LTX,
    "LTX2Pipeline": Family(
        sizes=(Size(768, 512),), fps=24, frames=121, steps=30, guidance=3.0, time=8, space=32
    ),
    "MochiPipeline": Family(
        sizes=(Size(848, 480),), fps=30, frames=85, steps=64, guidance=4.5, time=6, licence="Apache-2.0"
    ),
    "SanaVideoPipeline": Family(
        sizes=(Size(832, 480), Size(480, 832)), fps=16, frames=81, steps=50, guidance=6.0, space=32
    ),
}


def bridged_manifest(folder: Path, pipeline: str) -> Manifest:
    """Say what the model in a folder can do, whose pipeline in diffusers has that name.

    Raises InputError for a pipeline that makes no video of words, or that this diffusers does not have.
    """
    family = FAMILIES.get(pipeline)
    config = folder / "transformer" / "config.json"
    if family is COGVIDEO and config.is_file():
        told = read_object(config, "pull the model again")
        family = COGVIDEO_15 if told.get(PATCHES_OF_FRAMES) else family
    given: Given = "pictures" if "ImageToVideo" in pipeline else "nothing"
    if family is None:
        family, given = _asked(pipeline)
    return Manifest(
        name=folder.name,
        preset="",
        summary=f"{pipeline} of diffusers",
        licence=family.licence,
        text_encoder="",
        prediction="velocity",
        compression=Compression(time=family.time, space=family.space),
        chunk=None,
        sizes=family.sizes,
        fps=family.fps,
        max_seconds=family.frames / family.fps,
        enlarge=1,
        max_enlarge=4,
        defaults=SamplingDefaults(
            steps=family.steps, guidance=family.guidance, solver=PIPELINES_OWN, shift=1.0, history_sigma=0.0
        ),
        given=given,
        engine="diffusers",
    )


def pipeline_class(name: str) -> Any:
    """Return a pipeline of diffusers. Raises InputError when there is none of that name, or no diffusers."""
    try:
        package = import_module("diffusers")
    except ImportError:
        raise InputError(f"this model needs the package diffusers: {ADVICE}") from None
    found = getattr(package, name, None)
    if found is None:
        version = package.__version__
        raise InputError(f"diffusers {version} has no {name}: a newer one may, {ADVICE} --upgrade")
    return found


def _asked(name: str) -> tuple[Family, Given]:
    """Read a family off the defaults of its pipeline's call."""
    parameters = inspect.signature(pipeline_class(name).__call__).parameters
    counts = [parameters[each].default for each in FRAME_COUNTS if each in parameters]
    if "prompt" not in parameters or not counts:
        raise InputError(f"{name} makes no video of words: only such pipelines can be run")

    def default(key: str, otherwise: float | int) -> Any:
        value = parameters[key].default if key in parameters else None
        return value if isinstance(value, int | float) else otherwise

    size = Size(int(default("width", 832)), int(default("height", 480)))
    frames = counts[0] if isinstance(counts[0], int) else 49
    needs = "image" in parameters and parameters["image"].default is inspect.Parameter.empty
    family = Family(
        sizes=(size,),
        fps=16,
        frames=frames,
        steps=int(default("num_inference_steps", 50)),
        guidance=float(default("guidance_scale", 5.0)),
    )
    return family, "pictures" if needs else "nothing"
