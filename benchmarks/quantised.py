"""What weights in 8 bits cost and save: films beside those of the same model as it is.

    python benchmarks/quantised.py
    python benchmarks/quantised.py --model wan2.1-1.3b --seconds 5 --device cuda --prompts 3

Makes films of held-out prompts with the model's own steps, all in one process, the ways in turn and with the
same seeds. Prints a Markdown table: what the transformer's weights take, how long a film takes against
the model as it is (median of the ratios), and the PSNR to its films, of the whole run and of the worst film.
The last row is another seed's noise: how far apart films are that have nothing but the prompt in common.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from films import PROMPTS, film
from jaxtyping import UInt8

from unstatic.core.device import compute_dtype, pick_device
from unstatic.core.files import human_size
from unstatic.evals.edits import psnr
from unstatic.generate.engine import Engine
from unstatic.generate.native import load_native
from unstatic.generate.request import Request
from unstatic.models.fitting import Fit
from unstatic.models.manifest import find_model
from unstatic.models.quantise import KINDS
from unstatic.models.room import TRANSFORMERS, weight_bytes

WAYS = (None, *KINDS)


def main() -> None:
    """Make all films in all ways in turn, then print what came of them."""
    options = parsed()
    model, device = find_model(options.model), pick_device(options.device)
    dtype = getattr(torch, options.dtype) if options.dtype else compute_dtype(device)
    engines = {way: load_native(model, device=options.device, dtype=dtype, quantise=way) for way in WAYS}
    for engine in engines.values():
        made(engine, "a white ball", 0, options)  # not timed

    seconds: dict[str | None, list[float]] = {way: [] for way in WAYS}
    found: dict[str | None, list[float]] = {way: [] for way in KINDS}
    elsewhere: list[float] = []
    for seed, prompt in enumerate(PROMPTS[: options.prompts]):
        films: dict[str | None, UInt8[np.ndarray, "t h w 3"]] = {}
        for way, engine in engines.items():
            started = time.perf_counter()
            films[way] = made(engine, prompt, seed, options)
            seconds[way].append(time.perf_counter() - started)
        for way in KINDS:
            found[way].append(psnr([films[way]], [films[None]]))
        other = made(engines[None], prompt, seed + 1000, options)
        elsewhere.append(psnr([other], [films[None]]))

    name = str(dtype).removeprefix("torch.")
    print(
        f"| {options.model}, {name} on {device} | weights | time | PSNR of {len(elsewhere)} films | worst |"
    )
    print("|---|---|---|---|---|")
    for way in WAYS:
        sizes = weight_bytes(model, dtype, Fit(quantise=way))
        size = human_size(sum(each for part, each in sizes.items() if part in TRANSFORMERS))
        ratio = statistics.median(a / b for a, b in zip(seconds[way], seconds[None], strict=True))
        quality = spread(found[way]) if way else "| "
        print(f"| {way or 'as it is'} | {size} | {ratio:.2f} | {quality} |")
    print(f"| another seed | | | {spread(elsewhere)} |")


def made(engine: Engine, prompt: str, seed: int, options: argparse.Namespace) -> UInt8[np.ndarray, "t h w 3"]:
    """Make a film of a prompt in the model's own steps."""
    return film(engine, Request(prompt=prompt, seconds=options.seconds, seed=seed))


def spread(found: list[float]) -> str:
    """Return the mean and the worst of decibels as two cells."""
    return f"{statistics.mean(found):.1f} dB | {min(found):.1f} dB"


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure what weights in 8 bits cost and save.")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device")
    parser.add_argument("--dtype", help="float32 or bfloat16; what is fastest by default")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
