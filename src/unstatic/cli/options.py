"""Options that several commands share: one name, one meaning, one help text."""

from pathlib import Path
from typing import Annotated

import typer

VIDEO_SUFFIXES = (".mp4",)
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the path.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; the best one by default.")]
Guidance = Annotated[float | None, typer.Option(help="How strictly to follow the prompt; 1 is off.")]
ModelName = Annotated[str, typer.Option("--model", help="A model's name (`unstatic models list`) or folder.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="The file to write; a new name by default.")
]
Prompt = Annotated[str, typer.Argument(metavar="PROMPT", help="What to film, in a sentence.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same frames again.")]
SizeText = Annotated[str | None, typer.Option("--size", metavar="WxH", help="Width x height in pixels.")]
SolverName = Annotated[
    str | None, typer.Option("--solver", help="ancestral, ddim, euler, heun, adams or multistep.")
]
Steps = Annotated[int | None, typer.Option(help="Denoising steps: more is slower and finer.")]
