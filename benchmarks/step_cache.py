"""What asking the model at some of its steps only costs and saves, beside taking fewer steps.

    python benchmarks/step_cache.py
    python benchmarks/step_cache.py --model wan2.1-1.3b --seconds 5 --device cuda --prompts 3

Makes films of held-out prompts with all steps, then with step caches and with as many steps as those ask for;
all in one process, with the same seeds. Prints a Markdown table: how often the model is asked, how long
that takes against all steps, and the PSNR to the films of all steps, of the whole run and of the worst film.
"""

import argparse
import statistics
import time
from dataclasses import dataclass

import numpy as np
from films import PROMPTS, film
from jaxtyping import UInt8

from unstatic.diffusion.step_cache import StepCache
from unstatic.evals.edits import psnr
from unstatic.generate.engine import Engine
from unstatic.generate.load import load_engine
from unstatic.generate.request import Request
from unstatic.models.manifest import find_model

EVERY = (2, 3, 4)


@dataclass(frozen=True, slots=True)
class Way:
    """How films are made: with so many steps, the model asked at one of `every`."""

    name: str
    steps: int
    every: int

    @property
    def calls(self) -> int:
        """How often the model is asked for a chunk."""
        return sum(StepCache(self.every).is_asked(step, self.steps) for step in range(self.steps))


def main() -> None:
    """Make all films in all ways in turn, then print what came of them."""
    options = parsed()
    engine = load_engine(find_model(options.model), device=options.device)
    caches = [Way(f"one of {every}", options.steps, every) for every in EVERY]
    fewer = [Way("fewer steps", calls, 1) for calls in sorted({way.calls for way in caches}, reverse=True)]
    whole = Way("all", options.steps, 1)

    seconds: dict[Way, list[float]] = {way: [] for way in (whole, *caches, *fewer)}
    found: dict[Way, list[float]] = {way: [] for way in seconds}
    for number, prompt in enumerate(PROMPTS[: options.prompts]):
        reference = None
        for way in seconds:
            started = time.perf_counter()
            frames = made(engine, prompt, number, way, options)
            seconds[way].append(time.perf_counter() - started)
            reference = frames if reference is None else reference
            found[way].append(psnr([frames], [reference]))
    print_table(whole, seconds, found)


def made(
    engine: Engine, prompt: str, seed: int, way: Way, options: argparse.Namespace
) -> UInt8[np.ndarray, "t h w 3"]:
    """Make a film of a prompt in one way."""
    request = Request(
        prompt=prompt,
        seconds=options.seconds,
        seed=seed,
        steps=way.steps,
        solver=engine.manifest.defaults.solver,
        step_cache=way.every,
    )
    return film(engine, request)


def print_table(whole: Way, seconds: dict[Way, list[float]], found: dict[Way, list[float]]) -> None:
    """Print a row for every way; time is the median over films of the ratio to all steps."""
    print(f"| asked | calls | faster | PSNR, mean of {len(found[whole])} films | worst film |")
    print("|---|---|---|---|---|")
    for way, taken in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[whole], taken, strict=True))
        quality = f"{statistics.mean(found[way]):.1f} dB | {min(found[way]):.1f} dB"
        print(f"| {way.name} | {way.calls} | {ratio:.2f} | {quality} |")


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure what a step cache costs and saves.")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
