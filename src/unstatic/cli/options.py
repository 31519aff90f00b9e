"""Options that several commands share: one name, one meaning, one help text.

Numbers have parsers of their own, so that a mistake names the value: "'soon' is not a number".
"""

from pathlib import Path
from typing import Annotated

import typer

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.core.times import seconds_of

VIDEO_SUFFIXES = (".mp4",)
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def number(value: str | float | int) -> float:
    """Read a number; what it may be is checked where it is used."""
    try:
        return float(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not a number, give one like 2.5") from None


def whole(value: str | int) -> int:
    """Read a whole number; what it may be is checked where it is used."""
    try:
        return int(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not a whole number, give one like 8") from None


def span(text: str, name: str, *, of: str) -> tuple[float, float]:
    """Read two numbers; what they may be is checked where they are used. Raises InputError for others."""
    try:
        start, end = map(float, text.split(":"))
    except ValueError:
        raise InputError(f"{name} {text!r} is not {of}") from None
    return start, end


def kept_span(text: str) -> tuple[float, float | None]:
    """Read START:END or START-END, in seconds, M:S or H:M:S; without END it is open.

    What they may be is checked where they are used. Raises InputError for others, and for what may be two:
    0:03:10 is from 0 to 3:10, or from 0:03 to 10.
    """
    mark = "-" if "-" in text else ":"
    found: list[tuple[float, float | None]] = []
    for at in (at for at, character in enumerate(text) if character == mark):
        start, end, is_open = seconds_of(text[:at]), seconds_of(text[at + 1 :]), at == len(text) - 1
        if start is not None and (end is not None or is_open):
            found.append((start, end))
    if len(found) > 1:
        found = [(start, end) for start, end in found if end is None or start < end]
    if len(found) > 1:
        raise InputError(f"keep {text!r} may be two spans: put a hyphen where it is divided, as in 0:05-1:30")
    if not found:
        raise InputError(
            f"keep {text!r} is not START:END in seconds, for example 0.5:3, nor 1:30-2:00 or 90: to the end"
        )
    return found[0]


def pixels(text: str | None) -> Size | None:
    """Read a size, if there is one. Raises InputError for what is none."""
    return None if text is None else Size.parse(text)


def levels(text: str | None) -> tuple[float, float] | None:
    """Read a guidance interval, if there is one. Raises InputError for what is none."""
    return None if text is None else span(text, "guidance interval", of="LOW:HIGH, for example 0.2:0.8")


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the path.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; the best one by default.")]
Expand = Annotated[
    bool,
    typer.Option("--expand/--no-expand", help="Rewrite the prompt in words that the model was trained on."),
]
Expander = Annotated[
    str | None,
    typer.Option(
        "--expander",
        metavar="NAME",
        help="A language model that rewrites the prompt: URL#MODEL, or a folder.",
    ),
]
FramesPerSecond = Annotated[
    int | None,
    typer.Option(parser=whole, metavar="INTEGER", help="Frames a second; the model's own by default."),
]
Guidance = Annotated[
    float | None,
    typer.Option(parser=number, metavar="NUMBER", help="How strictly to follow the prompt; 1 is off."),
]
GuidanceInterval = Annotated[
    str | None,
    typer.Option(
        "--guidance-interval",
        metavar="LOW:HIGH",
        help="Guide between these levels of static only, from 0 to 1: 0.2:0.8 is faster.",
    ),
]
Image = Annotated[
    Path | None, typer.Option("--image", metavar="FILE", help="A picture: the first frame of the video.")
]
Interpolator = Annotated[
    str,
    typer.Option(
        "--interpolator",
        metavar="NAME",
        help="Makes more frames, and smooths joints: rife; repeat does neither.",
    ),
]
LastImage = Annotated[
    Path | None, typer.Option("--last-image", metavar="FILE", help="A picture: the last frame of the video.")
]
Loras = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="FILE@WEIGHT", help="A LoRA for the model; may be given again."),
]
MaybePrompt = Annotated[str | None, typer.Argument(metavar="PROMPT", help="What to film, in a sentence.")]
Metadata = Annotated[
    bool,
    typer.Option(
        "--metadata/--no-metadata", help="Write into the file what it was made from: prompt, seed and so on."
    ),
]
ModelName = Annotated[
    str,
    typer.Option("--model", help="A model's name (`unstatic models list`), folder, or address: URL#MODEL."),
]
Negative = Annotated[
    str | None, typer.Option("--negative", metavar="TEXT", help="What guidance leads away from.")
]
Offload = Annotated[
    bool,
    typer.Option("--offload", help="Fetch the transformer block by block, where memory is short."),
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="The file to write; a new name by default.")
]
Preview = Annotated[
    bool, typer.Option("--preview", help="Draw the video in the terminal while it takes shape.")
]
Prompt = Annotated[str, typer.Argument(metavar="PROMPT", help="What to film, in a sentence.")]
Quantise = Annotated[
    str | None,
    typer.Option("--quantise", metavar="KIND", help="Keep the transformer in 8 bits: int8 or fp8."),
]
Seed = Annotated[
    int, typer.Option(parser=whole, metavar="INTEGER", help="The same seed gives the same frames again.")
]
SizeText = Annotated[
    str | None,
    typer.Option("--size", metavar="WxH", help="Width x height in pixels; nano's are 384x384 by default."),
]
SkipLayerGuidance = Annotated[
    float | None,
    typer.Option(
        "--skip-layer-guidance",
        parser=number,
        metavar="NUMBER",
        help="Straighter outlines, for one more pass a step: 0.5, say; 0 is off.",
    ),
]
SolverName = Annotated[
    str | None,
    typer.Option(
        "--solver",
        help="ancestral, ddim, euler, heun, adams, multistep, unipc or consistency; some models: distilled.",
    ),
]
Stream = Annotated[
    bool, typer.Option("--stream", help="Write a file that can be played while it grows; -o - is stdout.")
]
Steps = Annotated[
    int | None,
    typer.Option(parser=whole, metavar="INTEGER", help="Denoising steps: more is slower and finer."),
]
StepCacheEvery = Annotated[
    int,
    typer.Option(
        "--step-cache",
        parser=whole,
        metavar="INTEGER",
        help="Of tens of steps, ask the model at one of so many: 4 is twice as fast.",
    ),
]
Storyboard = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Cards with times, in YAML or JSON; may replace the prompt."),
]
Tiles = Annotated[
    bool,
    typer.Option(
        "--tiles", help="Encode and decode in tiles that fade into each other, where memory is short."
    ),
]
Upscaler = Annotated[
    str | None,
    typer.Option(
        "--upscaler",
        metavar="NAME",
        help="Enlarges the model's pictures: nano (those of nano by default), realesr or bicubic.",
    ),
]
Variation = Annotated[
    int,
    typer.Option(
        "--variation", parser=whole, metavar="INTEGER", help="1, 2, ...: other takes of the same seed."
    ),
]
