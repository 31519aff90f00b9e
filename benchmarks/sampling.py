"""How fast the native engine samples a clip, beside what the same machine reaches in plain matrix products.

    python benchmarks/sampling.py --model nano            # an installed model, or a model's folder
    python benchmarks/sampling.py --preset nano-64        # a preset's sizes with random weights: same speed
    python benchmarks/sampling.py --preset nano-64 diffusion.model.depth=12

Every repeat makes a whole clip. Reported are

    clip_s             seconds of sampling, decoding included
    transformer_s      seconds inside the transformer
    transformer_cpu_s  computing time of all threads in it
    products           what plain matrix products of two shapes reach before and after the clip, with one
                       thread and with all: per second (gflops) and per second of computing time of all
                       threads (gflops_per_cpu_s). "own" is the transformer's widest product, a chunk of
                       tokens under both prompts by width by feed-forward width; "large" is square
    share              flop / transformer_s beside the gflops of a shape, of the best number of threads
    share_of_cpu_time  flop / transformer_cpu_s beside the gflops_per_cpu_s of one thread: the share if no one
                       else wanted the processor and every thread had work all the time

and the most memory that the process ever held. torch counts the flop, of matrix products only.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from unstatic.core.threads import SHORT_SPINS, quiet_threads

quiet_threads(spins=SHORT_SPINS)

import torch  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from unstatic.core.config import override  # noqa: E402
from unstatic.core.device import compute_dtype, set_threads  # noqa: E402
from unstatic.core.seeds import generator  # noqa: E402
from unstatic.diffusion.distilled import SCALARS  # noqa: E402
from unstatic.evals.speed import Stopwatch  # noqa: E402
from unstatic.generate.defaults import DEFAULT_SECONDS  # noqa: E402
from unstatic.generate.native import NativeEngine, load_native  # noqa: E402
from unstatic.generate.request import Plan, Request, plan  # noqa: E402
from unstatic.models.manifest import find_model, open_model, write_manifest  # noqa: E402
from unstatic.models.tiny_autoencoder import TinyAutoencoder  # noqa: E402
from unstatic.models.transformer import VideoTransformer  # noqa: E402
from unstatic.models.weights import save_model  # noqa: E402
from unstatic.presets.nano import preset  # noqa: E402
from unstatic.presets.stages import manifest  # noqa: E402

PROMPT = "a red ball bounces on a wooden floor"


class Shape(NamedTuple):
    """A product of rows x inner and inner x columns."""

    rows: int
    inner: int
    columns: int


LARGE = Shape(1024, 1024, 1024)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """What plain matrix products of one shape reach with a number of threads."""

    shape: str
    threads: int
    gflops: float
    gflops_per_cpu_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """What was measured while one clip was made; shares by the name of the shape."""

    clip_s: float
    passes: int
    transformer_s: float
    transformer_cpu_s: float
    share: dict[str, float]
    share_of_cpu_time: dict[str, float]
    products: list[Rate]


def main() -> None:
    """Measure, and print one JSON object."""
    options = parse()
    engine = load_native(find_model(options.model)) if options.model else random_engine(options)
    if options.threads:
        set_threads(options.threads)
    made = plan(Request(prompt=PROMPT, seconds=options.seconds, steps=options.steps), engine.manifest)

    dtype = compute_dtype(engine.device)
    shapes = {"own": own_shape(engine, made), "large": LARGE}
    flops = count_flops(engine, made)
    run(engine, made)  # not timed
    repeats = [measure(engine, made, flops, shapes, dtype) for _ in range(options.repeats)]
    memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    facts = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "engine": f"{torch.get_num_threads()} threads, {str(dtype).removeprefix('torch.')}",
        "clip": f"{made.frames} frames of {made.native}, {made.steps} steps of {made.solver}",
        "guidance": made.guidance,
        "shapes": {name: "x".join(map(str, shape)) for name, shape in shapes.items()},
        "transformer_gflop": round(flops / 1e9, 1),
        "median_clip_s": statistics.median(repeat.clip_s for repeat in repeats),
        "median_share": medians(repeat.share for repeat in repeats),
        "median_share_of_cpu_time": medians(repeat.share_of_cpu_time for repeat in repeats),
        "peak_memory_mb": round(memory_bytes / 1e6),
        "repeats": [asdict(repeat) for repeat in repeats],
    }
    print(json.dumps(facts, indent=2))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure how fast a clip is sampled.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="a model's name or folder")
    source.add_argument("--preset", help="a preset, with random weights")
    parser.add_argument("settings", nargs="*", help="key=value of the preset, as in `unstatic train`")
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="length of the clip")
    parser.add_argument("--steps", type=int, help="denoising steps; the model's own by default")
    parser.add_argument("--repeats", type=int, default=3, help="how many clips are made")
    parser.add_argument("--threads", type=int, help="threads of an operator; PyTorch's choice by default")
    options = parser.parse_args()
    if options.model and options.settings:
        parser.error("settings belong to a preset: name one with --preset, or leave them out")
    return options


def random_engine(options: argparse.Namespace) -> NativeEngine:
    """Return an engine of a preset's sizes that nobody has trained, loaded as every model is."""
    chosen = override(preset(options.preset), options.settings)
    config = chosen.diffusion.model
    if chosen.few_steps:
        config = replace(config, scalars=("sigma", *SCALARS))
    transformer = VideoTransformer(config, generator=generator("benchmark"))
    autoencoder = TinyAutoencoder(chosen.autoencoder.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = (folder / "transformer.safetensors", folder / "autoencoder.safetensors")
        save_model(files[0], transformer, config, "transformer")
        save_model(files[1], autoencoder, chosen.autoencoder.model, "tiny_autoencoder")
        write_manifest(folder, manifest(chosen))
        return load_native(open_model(folder))


def own_shape(engine: NativeEngine, made: Plan) -> Shape:
    """Return the shape of the widest product of a pass."""
    config = engine.transformer.config
    width, height = engine.manifest.compression.latent_size(made.native.width, made.native.height)
    frames, rows, columns = (
        side // patch for side, patch in zip((max(made.chunks), height, width), config.patch, strict=True)
    )
    prompts = 1 if engine.sampling(made).in_one_pass else 2
    return Shape(prompts * frames * rows * columns, config.width, config.ffn_width)


def run(engine: NativeEngine, made: Plan) -> None:
    """Make a clip and forget it."""
    for _ in engine.stream(made):
        pass


def count_flops(engine: NativeEngine, made: Plan) -> int:
    """Count the operations of all passes of one clip, in a transformer as it was trained."""
    total = 0
    counter = FlopCounterMode(display=False)

    def begin(*_: object) -> None:
        counter.__enter__()

    def end(*_: object) -> None:
        nonlocal total
        counter.__exit__(None, None, None)
        total += counter.get_total_flops()

    plain = VideoTransformer(engine.transformer.config)
    plain.register_forward_pre_hook(begin)
    plain.register_forward_hook(end)
    parts = (engine.autoencoder, engine.text_encoder, engine.device)
    plain = plain.to(engine.device, compute_dtype(engine.device)).eval()
    run(NativeEngine(engine.manifest, plain, *parts), made)
    return total


def measure(
    engine: NativeEngine, made: Plan, flops: int, shapes: dict[str, Shape], dtype: torch.dtype
) -> Repeat:
    """Make one clip, with the machine's own rates taken right before and right after."""
    before = machine_rates(shapes, dtype)
    with Stopwatch(engine.device).on(engine.transformer) as watch:
        started = time.perf_counter()
        run(engine, made)
        clip_s = time.perf_counter() - started
    rates = [mean_rate(*pair) for pair in zip(before, machine_rates(shapes, dtype), strict=True)]

    share: dict[str, float] = {}
    share_of_cpu_time: dict[str, float] = {}
    for name in shapes:
        of_shape = [rate for rate in rates if rate.shape == name]
        machine = max(rate.gflops for rate in of_shape)
        share[name] = round(flops / 1e9 / watch.seconds / machine, 3)
        one_thread = next(rate.gflops_per_cpu_s for rate in of_shape if rate.threads == 1)
        share_of_cpu_time[name] = round(flops / 1e9 / watch.cpu_seconds / one_thread, 3)
    return Repeat(
        clip_s=round(clip_s, 2),
        passes=watch.passes,
        transformer_s=round(watch.seconds, 2),
        transformer_cpu_s=round(watch.cpu_seconds, 2),
        share=share,
        share_of_cpu_time=share_of_cpu_time,
        products=rates,
    )


def machine_rates(shapes: dict[str, Shape], dtype: torch.dtype) -> list[Rate]:
    """Measure products of every shape with one thread and with one for every core."""
    chosen = torch.get_num_threads()
    rates: list[Rate] = []
    for name, shape in shapes.items():
        for threads in sorted({1, os.cpu_count() or 1}):
            set_threads(threads)
            rates.append(product_rate(name, shape, threads, dtype))
    set_threads(chosen)
    return rates


def product_rate(name: str, shape: Shape, threads: int, dtype: torch.dtype) -> Rate:
    """Measure products for 0.2 s: the median of their seconds, the mean of their computing time."""
    tokens = torch.randn(shape.rows, shape.inner, dtype=dtype)
    weight = torch.randn(shape.inner, shape.columns, dtype=dtype)
    for _ in range(3):
        torch.mm(tokens, weight)

    durations_s: list[float] = []
    cpu_started, deadline = time.process_time(), time.perf_counter() + 0.2
    while len(durations_s) < 5 or time.perf_counter() < deadline:
        started = time.perf_counter()
        torch.mm(tokens, weight)
        durations_s.append(time.perf_counter() - started)
    cpu_s = (time.process_time() - cpu_started) / len(durations_s)

    gflop = 2e-9 * shape.rows * shape.inner * shape.columns
    return Rate(
        shape=name,
        threads=threads,
        gflops=gflop / statistics.median(durations_s),
        gflops_per_cpu_s=gflop / cpu_s,
    )


def mean_rate(before: Rate, after: Rate) -> Rate:
    """Return the mean of two measurements of the same products."""
    return replace(
        before,
        gflops=round((before.gflops + after.gflops) / 2, 1),
        gflops_per_cpu_s=round((before.gflops_per_cpu_s + after.gflops_per_cpu_s) / 2, 1),
    )


def medians(shares: Iterable[dict[str, float]]) -> dict[str, float]:
    """Return the median of every named share."""
    listed = list(shares)
    return {name: statistics.median(share[name] for share in listed) for name in listed[0]}


if __name__ == "__main__":
    main()
