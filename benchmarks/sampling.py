"""How fast the native engine samples a clip, beside what the same machine reaches in plain matrix products.

    python benchmarks/sampling.py --model nano            # an installed model, or a model's folder
    python benchmarks/sampling.py --preset nano-64        # a preset's sizes with random weights: same speed

Every repeat makes a whole clip. Reported are

    clip_s             seconds of sampling, decoding included
    transformer_s      seconds inside the transformer
    transformer_cpu_s  computing time of all threads in it
    machine_gflops     what plain matrix products reach (`core.device.gemm_rate`, before and after), with one
                       thread or with all, whichever is faster
    share              flop / transformer_s / machine_gflops; torch counts the flop, of matrix products only
    share_undisturbed  flop / transformer_cpu_s / machine_gflops: for one thread, the share if nothing else
                       wanted the processor

and the most memory that the process ever held.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from unstatic.core.threads import quiet_threads

quiet_threads()

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from unstatic.core.device import compute_dtype, gemm_rate, pick_device, set_threads  # noqa: E402
from unstatic.core.memory import keep_freed_memory  # noqa: E402
from unstatic.core.seeds import generator  # noqa: E402
from unstatic.generate.defaults import DEFAULT_SECONDS  # noqa: E402
from unstatic.generate.native import NativeEngine, load_native, preferred_threads  # noqa: E402
from unstatic.generate.request import Plan, Request, plan  # noqa: E402
from unstatic.models.manifest import find_model  # noqa: E402
from unstatic.models.text import load_text_encoder  # noqa: E402
from unstatic.models.tiny_autoencoder import TinyAutoencoder  # noqa: E402
from unstatic.models.transformer import VideoTransformer  # noqa: E402
from unstatic.presets.nano import preset  # noqa: E402
from unstatic.presets.stages import TEXT_ENCODER, manifest  # noqa: E402

PROMPT = "a red ball bounces on a wooden floor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """What was measured while one clip was made."""

    clip_s: float
    passes: int
    transformer_s: float
    transformer_cpu_s: float
    machine_gflops: float
    share: float
    share_undisturbed: float


class Stopwatch:
    """Adds up the time that is spent inside a module's forward."""

    def __init__(self) -> None:
        self.seconds, self.cpu_seconds, self.passes = 0.0, 0.0, 0
        self._started = self._cpu_started = 0.0

    @contextmanager
    def on(self, module: nn.Module) -> Iterator["Stopwatch"]:
        """Measure while the block runs."""
        before = module.register_forward_pre_hook(lambda *_: self._start())
        after = module.register_forward_hook(lambda *_: self._stop())
        yield self
        before.remove()
        after.remove()

    def _start(self) -> None:
        self._started, self._cpu_started = time.perf_counter(), time.process_time()

    def _stop(self) -> None:
        self.seconds += time.perf_counter() - self._started
        self.cpu_seconds += time.process_time() - self._cpu_started
        self.passes += 1


def main() -> None:
    """Measure, and print one JSON object."""
    options = parse()
    engine = load_native(find_model(options.model)) if options.model else random_engine(options.preset)
    if options.threads:
        set_threads(options.threads)
        engine.threads = None
    made = plan(Request(prompt=PROMPT, seconds=options.seconds, steps=options.steps), engine.manifest)

    dtype = compute_dtype(engine.device)
    flops = count_flops(engine, made)
    repeats = [measure(engine, made, flops, dtype) for _ in range(options.repeats)]
    memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
    facts = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "engine": f"{engine.threads or torch.get_num_threads()} threads, {str(dtype).removeprefix('torch.')}",
        "clip": f"{made.frames} frames of {made.native}, {made.steps} steps of {made.solver}",
        "guidance": made.guidance,
        "transformer_gflop": round(flops / 1e9, 1),
        "median_clip_s": statistics.median(repeat.clip_s for repeat in repeats),
        "median_share": statistics.median(repeat.share for repeat in repeats),
        "median_share_undisturbed": statistics.median(repeat.share_undisturbed for repeat in repeats),
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
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="length of the clip")
    parser.add_argument("--steps", type=int, help="denoising steps; the model's own by default")
    parser.add_argument("--repeats", type=int, default=3, help="how many clips are made")
    parser.add_argument("--threads", type=int, help="threads of an operator; the engine's choice by default")
    return parser.parse_args()


def random_engine(name: str) -> NativeEngine:
    """Return an engine of a preset's sizes that nobody has trained."""
    keep_freed_memory()
    chosen, device = preset(name), pick_device()
    dtype = compute_dtype(device)
    transformer = VideoTransformer(chosen.diffusion.model, generator=generator("benchmark"))
    autoencoder = TinyAutoencoder(chosen.autoencoder.model)
    return NativeEngine(
        manifest(chosen),
        transformer.to(device, dtype).eval(),
        autoencoder.to(device, dtype).eval(),
        load_text_encoder(TEXT_ENCODER),
        device,
        threads=preferred_threads(device, chosen.diffusion.model),
    )


def count_flops(engine: NativeEngine, made: Plan) -> int:
    """Count the operations of all passes of one clip; this clip is not timed."""
    total = 0
    counter = FlopCounterMode(display=False)

    def begin(*_: object) -> None:
        counter.__enter__()

    def end(*_: object) -> None:
        nonlocal total
        counter.__exit__(None, None, None)
        total += counter.get_total_flops()

    hooks = [
        engine.transformer.register_forward_pre_hook(begin),
        engine.transformer.register_forward_hook(end),
    ]
    for _ in engine.stream(made):
        pass
    for hook in hooks:
        hook.remove()
    return total


def measure(engine: NativeEngine, made: Plan, flops: int, dtype: torch.dtype) -> Repeat:
    """Make one clip, with the machine's own rate taken right before and right after."""
    before = machine_rate(dtype)
    with Stopwatch().on(engine.transformer) as watch:
        started = time.perf_counter()
        for _ in engine.stream(made):
            pass
        clip_s = time.perf_counter() - started
    machine = (before + machine_rate(dtype)) / 2
    return Repeat(
        clip_s=round(clip_s, 2),
        passes=watch.passes,
        transformer_s=round(watch.seconds, 2),
        transformer_cpu_s=round(watch.cpu_seconds, 2),
        machine_gflops=round(machine, 1),
        share=round(flops / watch.seconds / 1e9 / machine, 3),
        share_undisturbed=round(flops / watch.cpu_seconds / 1e9 / machine, 3),
    )


def machine_rate(dtype: torch.dtype) -> float:
    """Return the GFLOP/s of plain matrix products, with one thread or all, whichever is faster."""
    chosen = torch.get_num_threads()
    rates: list[float] = []
    for threads in (1, os.cpu_count() or 1):
        set_threads(threads)
        rates.append(gemm_rate(dtype))
    set_threads(chosen)
    return max(rates)


if __name__ == "__main__":
    main()
