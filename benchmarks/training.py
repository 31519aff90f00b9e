"""How many samples a second a transformer is trained on, window by window, plain and fused.

    python benchmarks/training.py --preset nano-64
    python benchmarks/training.py --preset nano-64 --plain diffusion.model.depth=12    # nothing is compiled

Latents and token states are random numbers: nothing has to be rendered. A batch is timed from its noise to
its gradients, the optimiser's step apart. The first passes of a shape, in which it is compiled, do not count.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

from unstatic.core.threads import quiet_threads

quiet_threads()

import torch  # noqa: E402

from unstatic.core.config import override  # noqa: E402
from unstatic.core.device import pick_device  # noqa: E402
from unstatic.core.memory import keep_freed_memory  # noqa: E402
from unstatic.core.seeds import generator  # noqa: E402
from unstatic.data.latents import LatentBatch, Window  # noqa: E402
from unstatic.models.transformer import VideoTransformer  # noqa: E402
from unstatic.presets.nano import preset  # noqa: E402
from unstatic.presets.preset import Preset  # noqa: E402
from unstatic.training.diffusion_step import DiffusionStep  # noqa: E402
from unstatic.training.fuse import fuse  # noqa: E402
from unstatic.training.loop import Run, gather_gradients  # noqa: E402
from unstatic.training.optim import linear_weights  # noqa: E402

TOKENS = 64
WARM_UP = 2


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description="Measure how fast a transformer is trained.")
    parser.add_argument("--preset", default="nano-64", help="whose sizes, windows and optimiser")
    parser.add_argument("settings", nargs="*", help="key=value of the preset, as in `unstatic train`")
    parser.add_argument("--plain", action="store_true", help="do not compile anything")
    parser.add_argument("--repeats", type=int, default=5, help="batches of each window that are timed")
    options = parser.parse_args()
    chosen = override(preset(options.preset), [*options.settings, "diffusion.step.anchors=0"])

    keep_freed_memory()
    ways = {"plain": measure(chosen, options.repeats, lambda _: None)}
    if not options.plain:
        ways["fused"] = measure(chosen, options.repeats, fuse)
    facts = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "preset": chosen.name,
        "samples_per_s": ways,
    }
    print(json.dumps(facts, indent=2))


def measure(chosen: Preset, repeats: int, prepare: Callable[[VideoTransformer], None]) -> dict[str, float]:
    """Return samples a second by window, and how many seconds the optimiser's step takes."""
    settings, device = chosen.diffusion, pick_device()
    model = VideoTransformer(settings.model, generator=generator("benchmark"))
    run = Run(model, settings.training, matrices=linear_weights(model, "blocks."), device=device)
    prepare(model)
    empty = torch.zeros(TOKENS, settings.model.text_width)
    step = DiffusionStep(model=model, config=settings.step, empty_text=empty, progress=run.progress)

    found: dict[str, float] = {}
    for window in settings.windows:
        gather = partial(gradients, run, step, random_batch(chosen, window))
        seconds = [timed(gather) for _ in range(WARM_UP + repeats)]
        name = f"{window.batch_size} x {window.latent_frames} latent frames"
        found[name] = round(window.batch_size / statistics.median(seconds[WARM_UP:]), 1)
    found["optimiser_s"] = round(timed(lambda: run.optimiser.step(1e-6)), 3)
    return found


def gradients(run: Run, step: DiffusionStep, batch: LatentBatch) -> None:
    """Compute the gradients of a batch, as the training loop does."""
    gather_gradients(run, step, iter([(0, batch)]))


def random_batch(chosen: Preset, window: Window) -> LatentBatch:
    """Draw a batch of the preset's first size."""
    config, size = chosen.diffusion.model, chosen.world.sizes[0]
    width, height = chosen.compression.latent_size(size.width, size.height)
    source = generator("batch")
    shape = (window.batch_size, config.in_channels, window.latent_frames, height, width)
    return LatentBatch(
        latent=torch.randn(shape, generator=source),
        text=torch.randn(window.batch_size, TOKENS, config.text_width, generator=source),
        prompts=("",) * window.batch_size,
    )


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
