"""What guiding between two levels of static only saves, and how far the films are from those guided at all.

    python benchmarks/guidance_interval.py
    python benchmarks/guidance_interval.py --model wan2.1-1.3b --seconds 5 --device cuda --prompts 3

Makes films of held-out prompts, each guided everywhere, in intervals and nowhere, with the same seeds, in one
process, several times in turn. Prints a Markdown table: rows of all passes against those of films guided
everywhere, as many ratios of times as repeats, each of all films together (computing time on a CPU, on the
clock elsewhere), and the PSNR to the films guided everywhere, the mean and of the worst film.
"""

import argparse
import statistics
from dataclasses import dataclass

from films import PROMPTS, in_turn

from unstatic.evals.edits import psnr
from unstatic.generate.load import load_engine
from unstatic.generate.native import NativeEngine
from unstatic.generate.request import Request, plan
from unstatic.models.manifest import find_model


@dataclass(frozen=True, slots=True)
class Way:
    """How films are guided: between two levels, or not at all where `guidance` is 1."""

    name: str
    interval: tuple[float, float] | None = None
    guidance: float | None = None


WAYS = (
    Way("everywhere"),
    *(Way(f"{low:g}:{high:g}", (low, high)) for low, high in ((0.2, 0.8), (0.1, 0.9), (0.3, 1.0))),
    Way("nowhere", guidance=1.0),
)


def main() -> None:
    """Make all films in all ways in turn, then print what came of them."""
    options = parsed()
    engine = load_engine(find_model(options.model), device=options.device)
    assert isinstance(engine, NativeEngine), "others are not guided in an interval"
    asked = {way: requests(engine, way, options) for way in WAYS}
    times, films = in_turn(engine, asked, options.repeats)

    print(f"| guided | rows | time, {options.repeats} times | PSNR, mean of {options.prompts} | worst film |")
    print("|---|---|---|---|---|")
    for way in WAYS:
        ratios = ", ".join(f"{a / b:.2f}" for a, b in zip(times[way], times[WAYS[0]], strict=True))
        numbers = range(options.prompts)
        each = [psnr([films[way, number]], [films[WAYS[0], number]]) for number in numbers]
        quality = f"{statistics.mean(each):.1f} dB | {min(each):.1f} dB" if way != WAYS[0] else "|"
        print(f"| {way.name} | {rows(engine, asked[way][0]):.2f} | {ratios} | {quality} |")


def requests(engine: NativeEngine, way: Way, options: argparse.Namespace) -> list[Request]:
    """Return what is asked for in one way, in two passes a step unless it is guided nowhere."""
    return [
        Request(
            prompt=prompt,
            seconds=options.seconds,
            seed=seed,
            steps=options.steps,
            solver=engine.manifest.defaults.solver,
            guidance=way.guidance,
            guidance_interval=way.interval,
        )
        for seed, prompt in enumerate(PROMPTS[: options.prompts])
    ]


def rows(engine: NativeEngine, request: Request) -> float:
    """Return the rows of a chunk's steps as a share of those of a film that is guided everywhere."""
    sampling = engine.sampling(plan(request, engine.manifest))
    levels = sampling.sigmas[:-1]
    low, high = sampling.guidance_interval or (0.0, 1.0)
    guided = 0 if sampling.in_one_pass else int(((levels > low) & (levels <= high)).sum())
    return (len(levels) + guided) / (2 * len(levels))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure what guidance in an interval saves.")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
