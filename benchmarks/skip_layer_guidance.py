"""What skip layer guidance costs, and what it does to see.

    python benchmarks/skip_layer_guidance.py -o led.png
    python benchmarks/skip_layer_guidance.py -o led.png --model wan2.1-1.3b --device cuda --prompts 3

Makes films of held-out prompts with the model's own guidance and in the ways of WAYS, with the same seeds, in
one process, several times in turn. Prints a Markdown table: as many ratios of times as repeats, each of all
films together (computing time on a CPU, on the clock elsewhere). Draws a few frames of every film.
"""

import argparse
from pathlib import Path

from films import PROMPTS, in_turn

from unstatic.generate.load import load_engine
from unstatic.generate.native import NativeEngine
from unstatic.generate.request import Request
from unstatic.media.frames import contact_sheet
from unstatic.media.write import write_picture
from unstatic.models.manifest import find_model

# Guidance, and skip layer guidance
WAYS = ((None, 0.0), (None, 0.5), (3.0, 0.5), (None, 1.0))


def main() -> None:
    """Make all films in all ways in turn, then print and draw what came of them."""
    options = parsed()
    engine = load_engine(find_model(options.model), device=options.device)
    assert isinstance(engine, NativeEngine), "others have no blocks to leave out"
    prompts = PROMPTS[: options.prompts]

    def asked(seed: int, guidance: float | None, amount: float) -> Request:
        return Request(
            prompt=prompts[seed],
            seconds=options.seconds,
            seed=seed,
            guidance=guidance,
            skip_layer_guidance=amount,
        )

    numbers = range(len(prompts))
    asked_in = {way: [asked(seed, *way) for seed in numbers] for way in WAYS}
    times, films = in_turn(engine, asked_in, options.repeats)

    own = engine.manifest.defaults.guidance
    print(f"| guidance | skip layer guidance | time, {options.repeats} times |")
    print("|---|---|---|")
    for way in WAYS:
        ratios = ", ".join(f"{a / b:.2f}" for a, b in zip(times[way], times[WAYS[0]], strict=True))
        print(f"| {way[0] or own:g} | {way[1]:g} | {ratios} |")
    shown = [(seed, way) for seed in numbers for way in WAYS]
    captions = [f"{prompts[seed]}: {way[0] or own:g}, {way[1]:g}" for seed, way in shown]
    write_picture(options.output, contact_sheet([films[way, seed] for seed, way in shown], captions))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure what skip layer guidance costs, and draw films.")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
