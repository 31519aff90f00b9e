"""Let people judge, blind, what a model makes of thirty sentences that newcomers typed.

    python scripts/judge_free_prompts.py make nano -o judged
    python scripts/judge_free_prompts.py score judged judged/anna.json judged/ben.json judged/cleo.json

`make` films the prompts of `evals/suites/free.json`, with expansion, and writes sheets of frames with numbers
and questions.json: four of the prompts for every clip, one of which is the right one. A judge sees nothing
else, and answers with a file of JSON such as {"1": "B", "2": "D", ...}. `score` counts a clip as right if
most judges picked the right prompt, and writes free-prompts.jpg, the contact sheet, with every verdict.
Someone who guesses gets a quarter of the answers, and a majority of three in 16% of the clips.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unstatic.core.threads import SHORT_SPINS, quiet_threads

quiet_threads(spins=SHORT_SPINS)

import numpy as np  # noqa: E402
from jaxtyping import UInt8  # noqa: E402
from PIL import Image  # noqa: E402

from unstatic.core.errors import InputError  # noqa: E402
from unstatic.core.log import progress  # noqa: E402
from unstatic.core.seeds import numpy_generator  # noqa: E402
from unstatic.generate.engine import whole_film  # noqa: E402
from unstatic.generate.native import NativeEngine, load_native  # noqa: E402
from unstatic.generate.request import Request, plan  # noqa: E402
from unstatic.media.enlarge import enlarge  # noqa: E402
from unstatic.media.frames import contact_sheet, strip  # noqa: E402
from unstatic.models.manifest import find_model  # noqa: E402

PROMPTS: list[str] = json.loads(
    (Path(__file__).parents[1] / "src/unstatic/evals/suites/free.json").read_text(encoding="utf-8")
)
LETTERS = "ABCD"
SECONDS, SIDE = 4.0, 128
CLIPS_PER_SHEET, FRAMES_PER_CLIP = 6, 8

Frames = UInt8[np.ndarray, "t h w 3"]


@dataclass(frozen=True, slots=True)
class Question:
    """Which of four prompts is this clip of? `right` is the letter."""

    options: tuple[str, ...]
    right: str


def questions(prompts: Sequence[str], seed: int = 0) -> list[Question]:
    """Draw three wrong prompts for each, and an order; everybody gets the same."""
    asked: list[Question] = []
    for number, prompt in enumerate(prompts):
        rng = numpy_generator("free prompts", seed, number)
        wrong = [each for each in prompts if each != prompt]
        options = [prompt, *(wrong[each] for each in rng.choice(len(wrong), 3, replace=False))]
        options = [options[each] for each in rng.permutation(len(LETTERS))]
        asked.append(Question(tuple(options), LETTERS[options.index(prompt)]))
    return asked


def film(engine: NativeEngine, prompt: str) -> Frames:
    """Make the clip that a newcomer would get."""
    made = plan(Request(prompt=prompt, seconds=SECONDS, expand=True), engine.manifest)
    frames = whole_film(engine, made)
    return enlarge(frames, max(1, SIDE // frames.shape[1]))


def write_sheets(clips: Sequence[Frames], prompts: Sequence[str], folder: Path) -> None:
    """Write what a judge sees, the clips themselves for `score`, and nothing that gives an answer away."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = {
        str(number): dict(zip(LETTERS, each.options, strict=True))
        for number, each in enumerate(questions(prompts), 1)
    }
    (folder / "questions.json").write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")
    for start in range(0, len(clips), CLIPS_PER_SHEET):
        some = clips[start : start + CLIPS_PER_SHEET]
        numbers = [f"clip {number}" for number in range(start + 1, start + 1 + len(some))]
        sheet = contact_sheet(some, numbers, columns=1, frames_per_clip=FRAMES_PER_CLIP)
        Image.fromarray(sheet).save(folder / f"sheet-{start // CLIPS_PER_SHEET + 1}.png")
    for number, clip in enumerate(clips, 1):
        Image.fromarray(strip(clip, FRAMES_PER_CLIP)).save(folder / f"strip-{number:02d}.png")


def votes(answers: Sequence[Mapping[str, str]], prompts: Sequence[str]) -> list[int]:
    """Count for every clip how many judges picked the right prompt. Raises InputError for missing answers."""
    counted: list[int] = []
    for number, question in enumerate(questions(prompts), 1):
        given = [str(each.get(str(number), "")).strip().upper() for each in answers]
        if any(each not in tuple(LETTERS) for each in given):
            raise InputError(f"clip {number} has answers {given}: each judge must give one of A, B, C, D")
        counted.append(given.count(question.right))
    return counted


def score(folder: Path, files: Sequence[Path]) -> str:
    """Write the contact sheet with its verdicts and return the result in a line of Markdown."""
    counted = votes([json.loads(path.read_text(encoding="utf-8")) for path in files], PROMPTS)
    right = [2 * each > len(files) for each in counted]
    strips = [_picture(folder / f"strip-{number:02d}.png") for number in range(1, len(PROMPTS) + 1)]
    captions = [
        f"{'right' if each else 'WRONG'} ({count} of {len(files)}): {prompt}"
        for each, count, prompt in zip(right, counted, PROMPTS, strict=True)
    ]
    sheet = contact_sheet([each[None] for each in strips], captions, columns=2, frames_per_clip=1)
    Image.fromarray(sheet).save(folder / "free-prompts.jpg", quality=85)
    return f"{sum(right)} of {len(PROMPTS)} free prompts right, judged blind by {len(files)}"


def _picture(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    with Image.open(path) as image:
        return np.asarray(image)


def main() -> None:
    """Make the sheets, or count the answers."""
    parser = argparse.ArgumentParser(description="Judge free prompts, blind.")
    parts = parser.add_subparsers(dest="part", required=True)
    make = parts.add_parser("make", help="film the prompts and write the sheets")
    make.add_argument("model", help="a model's name or folder")
    make.add_argument("-o", "--output", type=Path, required=True)
    count = parts.add_parser("score", help="count the judges' answers")
    count.add_argument("folder", type=Path, help="what `make` wrote")
    count.add_argument("answers", type=Path, nargs="+", help="one file a judge")
    options = parser.parse_args()
    if options.part == "score":
        print(score(options.folder, options.answers))
        return
    engine = load_native(find_model(options.model))
    clips: list[Frames] = []
    with progress("filming", len(PROMPTS)) as bar:
        for prompt in PROMPTS:
            clips.append(film(engine, prompt))
            bar.advance()
    write_sheets(clips, PROMPTS, options.output)


if __name__ == "__main__":
    main()
