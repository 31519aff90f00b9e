"""How fast a model makes films of several lengths, and in how much memory: each in a process of its own.

python -m unstatic.presets.bench MODEL SECONDS      one film, as JSON
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from unstatic.core.threads import SHORT_SPINS, quiet_threads

quiet_threads(spins=SHORT_SPINS)

import torch  # noqa: E402
from torch import nn  # noqa: E402

from unstatic.core.device import compute_dtype, gemm_rate  # noqa: E402
from unstatic.core.errors import UnstaticError  # noqa: E402
from unstatic.generate.engine import Frames  # noqa: E402
from unstatic.generate.native import NativeEngine, load_native  # noqa: E402
from unstatic.generate.request import Request, plan  # noqa: E402
from unstatic.models.manifest import find_model  # noqa: E402

LENGTHS_S = (5.0, 15.0, 60.0)
PROMPT = "a red ball bounces on a wooden floor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """One film: seconds of the film and of the clock, by stage, and the most memory that was ever held.

    `machine_gflops` is the rate of matrix products right before and after, on a CPU; "other" is what is left:
    noise, solver, and turning pictures into bytes.
    """

    film_s: float
    wall_s: float
    first_frame_s: float
    transformer_s: float
    decoder_s: float
    load_s: float
    peak_memory_mb: float
    machine_gflops: float

    @property
    def speed(self) -> float:
        """Seconds of film in a second."""
        return self.film_s / self.wall_s


class Stopwatch:
    """Adds up the time from before one module's forward to after another's, and what is computed in it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds, self.cpu_seconds, self.passes = 0.0, 0.0, 0
        self._started = self._cpu_started = 0.0

    @contextmanager
    def on(self, first: nn.Module, last: nn.Module | None = None) -> Iterator["Stopwatch"]:
        """Measure while the block runs: of one module, or of all from `first` to `last`."""
        handles = (
            first.register_forward_pre_hook(self._start),
            (first if last is None else last).register_forward_hook(self._stop),
        )
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _start(self, *_: object) -> None:
        self._wait()
        self._started, self._cpu_started = time.perf_counter(), time.process_time()

    def _stop(self, *_: object) -> None:
        self._wait()
        self.seconds += time.perf_counter() - self._started
        self.cpu_seconds += time.process_time() - self._cpu_started
        self.passes += 1

    def _wait(self) -> None:
        if self.device.type == "cuda":  # else launches would be timed, not work
            torch.cuda.synchronize(self.device)


def bench(model: str, seconds: float, device: str | None = None) -> Bench:
    """Make one film in this process and measure it. Raises InputError for what the model cannot make."""
    started = time.perf_counter()
    engine = load_native(find_model(model), device=device)
    load_s = time.perf_counter() - started
    rates = [_rate(engine)]
    made = plan(Request(prompt=PROMPT, seconds=seconds), engine.manifest)
    layers = list(engine.autoencoder.decoder)
    watches = Stopwatch(engine.device), Stopwatch(engine.device)
    with watches[0].on(engine.transformer), watches[1].on(layers[0], layers[-1]):
        started, first_s = time.perf_counter(), 0.0
        for event in engine.stream(made):
            if isinstance(event, Frames) and not first_s:
                first_s = time.perf_counter() - started
        wall_s = time.perf_counter() - started
    rates.append(_rate(engine))
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return Bench(
        film_s=made.frames / engine.manifest.fps,
        wall_s=round(wall_s, 2),
        first_frame_s=round(first_s, 2),
        transformer_s=round(watches[0].seconds, 2),
        decoder_s=round(watches[1].seconds, 2),
        load_s=round(load_s, 2),
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1),
        machine_gflops=round(sum(rates) / 2, 1),
    )


def _rate(engine: NativeEngine) -> float:
    return gemm_rate(compute_dtype(engine.device)) if engine.device.type == "cpu" else 0.0


def bench_lengths(
    model: str,
    lengths: Sequence[float] = LENGTHS_S,
    device: str | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Iterator[Bench]:
    """Measure films of several lengths, each in a fresh process, so that memory is its own."""
    for seconds in lengths:
        command = [sys.executable, "-m", "unstatic.presets.bench", model, str(seconds), device or ""]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            reason = (ran.stderr.strip().splitlines() or [f"the process ended with {ran.returncode}"])[-1]
            raise UnstaticError(f"the film of {seconds:g} s failed: {reason}")
        yield Bench(**json.loads(ran.stdout))
        advance()


def table(found: Sequence[Bench]) -> str:
    """Return a table in Markdown, a row for each length."""
    lines = [
        "| film | made in | film seconds a second | first frame | transformer | decoder | most memory |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.film_s:g} s | {each.wall_s:.1f} s | {each.speed:.2f} | {each.first_frame_s:.2f} s"
        f" | {each.transformer_s / each.wall_s:.0%} | {each.decoder_s / each.wall_s:.0%}"
        f" | {each.peak_memory_mb:.0f} MB |"
        for each in found
    ]
    return "\n".join(lines)


def facts(found: Sequence[Bench]) -> list[dict[str, Any]]:
    """Return all figures, ready for `json.dumps`."""
    return [asdict(each) | {"speed": round(each.speed, 3)} for each in found]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(bench(sys.argv[1], float(sys.argv[2]), sys.argv[3] or None))))
