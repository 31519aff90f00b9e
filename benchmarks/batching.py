"""Whether several films of one shape are made faster together, as rows of one batch, than one by one.

    python benchmarks/batching.py
    python benchmarks/batching.py --model nano --size 384x384 --films 1 16 64 --threads 1

Makes one film and then as many as each of `--films` says, all of one prompt with seeds of their own, and
prints how long denoising and decoding take for each film, the middle of `--repeats`, and how long the batch
takes: until then nobody has a film. Decoding goes film by film, since only that bounds memory. On the best
device there is, with `--threads` on a CPU.
"""

import argparse
import statistics
import time
from typing import NamedTuple

from unstatic.core.threads import SHORT_SPINS, quiet_threads

quiet_threads(spins=SHORT_SPINS)  # before torch comes in, as in a worker

import torch  # noqa: E402

from unstatic.diffusion.condition import LatentState, apply_conditions  # noqa: E402
from unstatic.diffusion.process import Latent  # noqa: E402
from unstatic.generate.api import load  # noqa: E402
from unstatic.generate.native import NativeEngine, decode  # noqa: E402
from unstatic.generate.request import Plan  # noqa: E402
from unstatic.generate.stream import Chunk, Script, chunk_noise, stream_latents  # noqa: E402

PROMPT = "a red ball bounces on grass"


class Took(NamedTuple):
    """Seconds that a batch took."""

    denoising: float
    decoding: float


def main() -> None:
    """Print the table."""
    options = parsed()
    if options.threads:
        torch.set_num_threads(options.threads)
    model = load(options.model)
    engine = model.engine
    if not isinstance(engine, NativeEngine):
        raise SystemExit(f"{options.model} does not run here: take a native model")
    plan = model.plan(PROMPT, seconds=options.seconds, size=options.size)
    measure(engine, plan, 1)  # what is loaded at first use does not count
    print(f"{options.model}, {options.seconds:g} s at {options.size}, {engine.device}", end="")
    print(f", {torch.get_num_threads()} threads" if engine.device.type == "cpu" else "", end="\n\n")
    print("| films together | denoising of one, ms | decoding of one, ms | times faster | the batch, s |")
    print("|---|---|---|---|---|")
    alone_s = None
    for films in [1, *(count for count in options.films if count > 1)]:
        took = [measure(engine, plan, films) for _ in range(options.repeats)]
        denoising, decoding = (statistics.median(each) / films for each in zip(*took, strict=True))
        alone_s = alone_s or denoising + decoding
        ratio, all_s = alone_s / (denoising + decoding), films * (denoising + decoding)
        row = f"{films} | {1000 * denoising:.0f} | {1000 * decoding:.0f} | {ratio:.2f} | {all_s:.2f}"
        print(f"| {row} |", flush=True)


def measure(engine: NativeEngine, plan: Plan, films: int) -> Took:
    """Make films, and return how long that took."""
    begun_s = time.perf_counter()
    latents = together(engine, plan, [plan.seed + number for number in range(films)])
    synchronise(engine.device)
    denoised_s = time.perf_counter()
    for latent in latents.split(1):
        memory = None
        for chunk in latent.split(plan.chunks, 2):
            *_, (_, memory) = decode(engine.decoder, chunk, memory)
    synchronise(engine.device)
    return Took(denoised_s - begun_s, time.perf_counter() - denoised_s)


@torch.inference_mode()
def together(engine: NativeEngine, plan: Plan, seeds: list[int]) -> Latent:
    """Return the latent videos of a plan with other seeds, denoised in one batch."""
    width, height = engine.manifest.compression.latent_size(plan.native.width, plan.native.height)
    shape = (engine.transformer.config.out_channels, height, width)
    static = chunk_noise(shape, plan.chunks, seeds).to(engine.device)
    state = LatentState.static(static, float(engine.schedule(plan)[0]))
    end = engine.manifest.compression.latent_frames_covering(plan.made)
    sampling = engine.sampling(plan)
    empty = [] if sampling.in_one_pass else [plan.negative] * len(seeds)
    said = engine.text_encoder.encode([plan.texts[0][1]] * len(seeds) + empty).states.to(engine.device)
    script = Script(starts=(0,), read=lambda _: engine.transformer.encode_text(said, None))
    events = stream_latents(engine.transformer, apply_conditions(state, [], end=end), script, sampling, seeds)
    return torch.cat([event.latent for event in events if isinstance(event, Chunk)], dim=2)


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--films", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--size", default="128x128")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
