"""What open weights in a folder can do, as diffusers lays them out: an index, and a folder for every part.

Sizes are read from the folder's own config files, the rest of what a manifest says is known of the published
models of these sizes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from unstatic.core.errors import InputError
from unstatic.core.files import read_object
from unstatic.core.shapes import Compression, Size
from unstatic.models.bridged import bridged_manifest
from unstatic.models.manifest import INDEX_NAME, Given, Manifest, SamplingDefaults, Window

RECORD = "pulled.json"  # what `pull.py` writes of where a model is from
STUDENTS = ("WanCausalDMDPipeline", "CausalForcingPipeline")
PIPELINES = ("WanPipeline", "WanImageToVideoPipeline", *STUDENTS)
# What transformers that stream are called, by FastVideo and SGLang, and by Self-Forcing itself
CAUSAL = ("CausalWanTransformer3DModel", "CausalWanModel")
STUDENTS_SCHEDULER = "SelfForcingFlowMatchScheduler"
# Translated from what Wan's own code takes (github.com/Wan-Video, wan/configs/shared_config.py)
NEGATIVE = (
    "Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static, "
    "overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, "
    "poorly drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, still "
    "picture, messy background, three legs, many people in the background, walking backwards"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What is known of a published model beside its sizes: how its publishers sample it.

    `shift` is that of their own code, `small_shift` that for 480p where it is another. A pair has a
    `boundary`.
    """

    sizes: tuple[Size, ...]
    steps: int
    guidance: float
    shift: float
    small_shift: float | None = None
    late_guidance: float | None = None
    boundary: float | None = None
    fps: int = 16
    frames: int = 81


class Streaming(NamedTuple):
    """How a student makes a film: chunks of so many latent frames, and what each sees."""

    chunk: int
    window: Window
    rolls: bool = False


class Shape(NamedTuple):
    """What tells published models from each other."""

    width: int
    channels: int
    pair: bool
    given: Given


PORTRAIT_480, PORTRAIT_720 = Size(480, 832), Size(720, 1280)
LANDSCAPE_480, LANDSCAPE_720 = Size(832, 480), Size(1280, 720)
SMALL_SIZES = (LANDSCAPE_480, PORTRAIT_480, Size(624, 624))
LARGE_SIZES = (LANDSCAPE_480, PORTRAIT_480, LANDSCAPE_720, PORTRAIT_720, Size(624, 624), Size(960, 960))
SMALL = Published(sizes=SMALL_SIZES, steps=50, guidance=6.0, shift=8.0)
LARGE = Published(sizes=LARGE_SIZES, steps=50, guidance=5.0, shift=5.0)
PAIR = Published(sizes=LARGE_SIZES, steps=40, guidance=4.0, late_guidance=3.0, shift=12.0, boundary=0.875)
PICTURES = Published(sizes=LARGE_SIZES, steps=40, guidance=3.5, late_guidance=3.5, shift=5.0, boundary=0.9)
# Of 2.1, which see pictures by CLIP too: the first, or the first and the last
START = Published(sizes=LARGE_SIZES, steps=40, guidance=5.0, shift=5.0, small_shift=3.0)
ENDS = Published(
    sizes=(LANDSCAPE_720, PORTRAIT_720, LANDSCAPE_480, PORTRAIT_480), steps=50, guidance=5.0, shift=16.0
)
FRAMES = Published(
    sizes=(Size(1280, 704), Size(704, 1280)), steps=50, guidance=5.0, shift=5.0, fps=24, frames=121
)
# What diffusers' converter writes for nearly all of Wan, whatever its publishers take: nobody chose it
PLACEHOLDER_SHIFT = 3.0
UNKNOWN_LICENCE = "see its model card"
# Self-Forcing and its kin (guandeh17/Self-Forcing, configs/self_forcing_dmd.yaml); they were taught landscape
STUDENT = Published(sizes=(LANDSCAPE_480, PORTRAIT_480), steps=4, guidance=1.0, shift=5.0)
ROLLING_SECONDS = 60.0  # a window that rolls on knows no end
FRAMES_CHANNELS = 48  # of the latents of the model that is told a level for every frame


def published(shape: Shape) -> Published:
    """Return what is known of the published model that is most like this one."""
    if shape.channels == FRAMES_CHANNELS:
        return FRAMES
    if shape.pair:
        return PAIR if shape.given == "nothing" else PICTURES
    if shape.given in ("start", "ends"):
        return START if shape.given == "start" else ENDS
    return SMALL if shape.width < 5120 else LARGE


def _shift(said: Any, folder: Path) -> float:
    """Read a schedule's shift. Raises InputError for what is no number."""
    try:
        return float(said)
    except (TypeError, ValueError):
        raise InputError(f"the scheduler in {folder} has the shift {said!r}: pull the model again") from None


def manifest_of(folder: Path) -> Manifest:
    """Say what the open weights in a folder of diffusers' layout can do, from its config files alone.

    Weights of another family are diffusers' to run. Raises InputError where those make no video of words.
    """
    index = read_json(folder / INDEX_NAME)
    pipeline = index.get("_class_name")
    if not isinstance(pipeline, str):
        raise InputError(f"{folder / INDEX_NAME} names no pipeline: pull the model again")
    if pipeline not in PIPELINES:
        return bridged_manifest(folder, pipeline)
    transformer, autoencoder = read_config(folder / "transformer"), read_config(folder / "vae")
    try:
        shape = Shape(
            width=int(transformer["num_attention_heads"]) * int(transformer["attention_head_dim"]),
            channels=int(transformer["out_channels"]),
            pair=index.get("boundary_ratio") is not None,
            given=given_to(
                beside=transformer["in_channels"] > transformer["out_channels"],
                sees=bool(transformer.get("image_dim")),
                both=bool(transformer.get("pos_embed_seq_len")),
            ),
        )
        compression = Compression(
            time=2 ** sum(autoencoder["temperal_downsample"]),
            space=2 ** len(autoencoder["temperal_downsample"]) * (autoencoder.get("patch_size") or 1),
        )
    except (KeyError, TypeError, ValueError) as wrong:
        what = f"{wrong} is missing" if isinstance(wrong, KeyError) else f"{wrong}"
        raise InputError(f"the config files in {folder} are not those of Wan: {what}") from None
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    causal = {"_class_name": CAUSAL[0]} if pipeline in STUDENTS else {}
    licence, streaming = licence_of(folder), streaming_of(transformer | causal)
    if streaming is not None:
        check_student(shape, folder)
        taught = scheduler if scheduler.get("_class_name") == STUDENTS_SCHEDULER else {}
        student = replace(STUDENT, shift=_shift(taught.get("shift", STUDENT.shift), folder))
        return make_student(folder.name, student, compression, streaming, licence)
    known = replace(published(shape), boundary=index.get("boundary_ratio"))
    said = _shift(scheduler.get("flow_shift") or scheduler.get("shift") or PLACEHOLDER_SHIFT, folder)
    if said != PLACEHOLDER_SHIFT:  # who tuned a model says how it is sampled
        known = replace(known, shift=said, small_shift=None)
    # With `expand_timesteps` it is told a level for every frame: some may be clean
    given = "frames" if index.get("expand_timesteps") else shape.given
    return make_manifest(folder.name, known, compression, given, licence)


def given_to(*, beside: bool, sees: bool, both: bool) -> Given:
    """Tell what a transformer is given: with pictures `beside` its latent, or seen by CLIP, one or `both`."""
    if sees:
        return "ends" if both else "start"
    return "pictures" if beside else "nothing"


def streaming_of(config: Mapping[str, Any]) -> Streaming | None:
    """Read how a transformer streams off its config, in the words of its publishers; None if it does not.

    What is not said is as in FastVideo's and Self-Forcing's code. Raises InputError for a kind that is not
    understood.
    """
    if config.get("_class_name") not in CAUSAL:
        return None
    chunk = config.get("num_frames_per_block", config.get("num_frame_per_block", 3))
    seen, sinks = config.get("local_attn_size", -1), config.get("sink_size", 0)
    if sinks and config.get("rope_cache_policy", "absolute") != "absolute":
        raise InputError("its sinks move along with the film: only sinks that stay are supported")
    if seen != -1 and (seen - sinks) % chunk:
        raise InputError(f"its window of {seen} latent frames cuts a chunk of {chunk} in two as it rolls")
    whole = config.get("sliding_window_num_frames", 21) if seen == -1 else seen
    first = 1 if config.get("independent_first_frame") else chunk
    return Streaming(chunk, Window(first=first, frames=whole, sinks=sinks), rolls=seen != -1)


def check_student(shape: Shape, folder: Path) -> None:
    """Raise InputError for a student of another kind than those that can be run."""
    if shape.pair or shape.given != "nothing":
        kind = "a pair" if shape.pair else "made for pictures"
        raise InputError(f"{folder} streams and is {kind}: take a student that makes films of text alone")


def make_student(
    name: str,
    known: Published,
    compression: Compression,
    streaming: Streaming,
    licence: str = UNKNOWN_LICENCE,
) -> Manifest:
    """Say what a student can do that streams, and how it goes from level to level."""
    plain = make_manifest(name, known, compression, "beginning", licence)
    defaults = replace(plain.defaults, solver="consistency", schedule="shifted", damped=False)
    return replace(
        plain,
        chunk=streaming.chunk,
        window=streaming.window,
        defaults=defaults,
        max_seconds=ROLLING_SECONDS if streaming.rolls else plain.max_seconds,
    )


def licence_of(folder: Path) -> str:
    """Return the licence that was stated where a folder was pulled from, or where to look for it."""
    record = folder / RECORD
    return str(read_json(record).get("licence", UNKNOWN_LICENCE)) if record.is_file() else UNKNOWN_LICENCE


def make_manifest(
    name: str, known: Published, compression: Compression, given: Given, licence: str = UNKNOWN_LICENCE
) -> Manifest:
    """Say what open weights can do that are sampled as is known of published ones."""
    return Manifest(
        name=name,
        preset="",
        summary="open weights of the Wan family",
        licence=licence,
        text_encoder="umt5",
        prediction="velocity",
        compression=compression,
        chunk=None,
        sizes=known.sizes,
        fps=known.fps,
        max_seconds=known.frames / known.fps,
        enlarge=1,
        max_enlarge=4,
        defaults=SamplingDefaults(
            steps=known.steps,
            guidance=known.guidance,
            solver="unipc",
            shift=known.shift,
            small_shift=known.small_shift,
            history_sigma=0.0,
            schedule="wan",
            negative=NEGATIVE,
            late_guidance=known.late_guidance,
        ),
        given=given,
        boundary=known.boundary,
    )


def read_config(part: Path) -> dict[str, Any]:
    """Read the config file of a part. Raises InputError as `read_json` does."""
    return read_json(part / "config.json")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that was pulled. Raises InputError when it is missing or is something else."""
    return read_object(path, "pull the model again")
