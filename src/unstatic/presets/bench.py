"""How fast a model makes films of several lengths, and in how much memory: each in a process of its own.

python -m unstatic.presets.bench MODEL '{"seconds": 5}' ""      one film, as JSON
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unstatic.core.threads import SHORT_SPINS, quiet_threads

quiet_threads(spins=SHORT_SPINS)

import torch  # noqa: E402

from unstatic.core.device import compute_dtype, conv_rate, gemm_rate  # noqa: E402
from unstatic.core.errors import UnstaticError  # noqa: E402
from unstatic.core.memory import resident_mb  # noqa: E402
from unstatic.core.shapes import Size  # noqa: E402
from unstatic.evals.speed import Stopwatch  # noqa: E402
from unstatic.generate.engine import Frames  # noqa: E402
from unstatic.generate.finish import Finisher  # noqa: E402
from unstatic.generate.native import NativeEngine, load_native  # noqa: E402
from unstatic.generate.request import Plan, Request, plan  # noqa: E402
from unstatic.models.manifest import Manifest, find_model  # noqa: E402

LENGTHS_S = (5.0, 15.0, 60.0)
PROMPT = "a red ball bounces on a wooden floor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """One film: seconds of the film and of the clock, by stage, and the most memory that was ever held.

    On a GPU that is the GPU's own.
    `machine_gflops` and `machine_conv_gflops` are the rates of matrix products, which transformers consist
    of, and of convolutions, which decoders and finishing do, right before and after, on a CPU; what is left
    of the time are noise, solver, and turning pictures into bytes. `memory_mb` is what was held after each
    stretch of frames, where the system tells.
    """

    film_s: float
    size: str
    fps: int
    wall_s: float
    first_frame_s: float
    transformer_s: float
    decoder_s: float
    finish_s: float
    load_s: float
    peak_memory_mb: float
    machine_gflops: float
    machine_conv_gflops: float = 0.0
    memory_mb: Sequence[float] = ()

    @property
    def growth_mb(self) -> float | None:
        """By how many megabytes the memory grows in a minute of film, by a line through its second half."""
        later = self.memory_mb[len(self.memory_mb) // 2 :]
        if len(later) < 3:
            return None
        slope = statistics.linear_regression(range(len(later)), later).slope
        return slope * len(self.memory_mb) / self.film_s * 60

    @property
    def speed(self) -> float:
        """Seconds of film in a second."""
        return self.film_s / self.wall_s


def bench(model: str, options: Mapping[str, Any], device: str | None = None) -> Bench:
    """Make one film in this process and measure it; `options` are those of a request, such as its seconds.

    Its size is the model's own when none is given. Raises InputError for what the model cannot make.
    """
    started = time.perf_counter()
    engine = load_native(find_model(model), device=device)
    load_s = time.perf_counter() - started
    rates, held_mb = [_rates(engine)], list[float]()
    made = planned(options, engine.manifest)
    finisher = Finisher(made.finish, made.frames, device=engine.device)
    layers = list(engine.autoencoder.decoder.children())
    watches = Stopwatch(engine.device), Stopwatch(engine.device)
    with watches[0].on(engine.transformer), watches[1].on(layers[0], layers[-1]):
        started, first_s, finish_s = time.perf_counter(), 0.0, 0.0
        for event in engine.stream(made):
            if isinstance(event, Frames):
                decoded = time.perf_counter()
                finisher.next(event.frames, event.first)
                first_s = first_s or time.perf_counter() - started
                finish_s += time.perf_counter() - decoded
                if (held := resident_mb()) is not None:
                    held_mb.append(round(held, 1))
        wall_s = time.perf_counter() - started
    rates.append(_rates(engine))
    return Bench(
        film_s=made.frames / engine.manifest.fps,
        size=str(made.size),
        fps=made.fps,
        wall_s=round(wall_s, 3),
        first_frame_s=round(first_s, 3),
        transformer_s=round(watches[0].seconds, 3),
        decoder_s=round(watches[1].seconds, 3),
        finish_s=round(finish_s, 3),
        load_s=round(load_s, 3),
        peak_memory_mb=round(_peak_mb(engine.device), 1),
        machine_gflops=round(sum(products for products, _ in rates) / 2, 1),
        machine_conv_gflops=round(sum(convolutions for _, convolutions in rates) / 2, 1),
        memory_mb=held_mb,
    )


def planned(options: Mapping[str, Any], manifest: Manifest) -> Plan:
    """Plan the film. Raises InputError for what the model cannot make."""
    native = manifest.sizes[0]
    size = Size.parse(options["size"]) if options.get("size") else native
    return plan(
        Request(prompt=PROMPT, seconds=options["seconds"], size=size, fps=options.get("fps")), manifest
    )


def _peak_mb(device: torch.device) -> float:
    """Return the most memory that was held so far: of a GPU its own, else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _rates(engine: NativeEngine) -> tuple[float, float]:
    dtype = compute_dtype(engine.device)
    return (gemm_rate(dtype), conv_rate(dtype)) if engine.device.type == "cpu" else (0.0, 0.0)


def bench_films(
    model: str,
    films: Sequence[Mapping[str, Any]],
    device: str | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Iterator[Bench]:
    """Measure films, each in a fresh process, so that memory is its own."""
    for options in films:
        command = [sys.executable, "-m", "unstatic.presets.bench", model, json.dumps(options), device or ""]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            reason = (ran.stderr.strip().splitlines() or [f"the process ended with {ran.returncode}"])[-1]
            raise UnstaticError(f"the film of {options['seconds']:g} s failed: {reason}")
        yield Bench(**json.loads(ran.stdout))
        advance()


def table(found: Sequence[Bench]) -> str:
    """Return a table in Markdown, a row for each length."""
    stages = ("transformer", "decoder", "finishing")
    names = ("film", "made in", "film seconds a second", "first frame", *stages, "most memory")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for each in found:
        times = (each.transformer_s, each.decoder_s, each.finish_s)
        shares = " | ".join(f"{stage_s / each.wall_s:.0%}" for stage_s in times)
        lines.append(
            f"| {each.film_s:g} s, {each.size}, {each.fps} a second | {each.wall_s:.1f} s | {each.speed:.2f}"
            f" | {each.first_frame_s:.2f} s | {shares} | {each.peak_memory_mb:.0f} MB |"
        )
    return "\n".join(lines)


def facts(found: Sequence[Bench]) -> list[dict[str, Any]]:
    """Return all figures, ready for `json.dumps`."""
    return [
        asdict(each)
        | {"speed": round(each.speed, 3)}
        | ({} if (growth := each.growth_mb) is None else {"growth_mb": round(growth, 1)})
        for each in found
    ]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(bench(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] or None))))
