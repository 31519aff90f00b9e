"""The training loop: a generator that the caller logs, saves and samples from between two steps.

    with stop_requested() as stop:
        for metrics in train(run, step, batches):
            log(metrics)
            if stop():
                save_checkpoint(folder, run)
                break

The clock is samples seen. Randomness is drawn anew for every batch from (seed, index of the batch), so a run
resumes from its weights, moments, averages and clock alone, bit for bit on the CPU.
"""

import itertools
import math
import signal
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from types import FrameType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unstatic.core.device import compute_dtype
from unstatic.core.errors import UnstaticError
from unstatic.core.processes import ENDS
from unstatic.core.seeds import generator
from unstatic.data.loader import prefetch
from unstatic.training.ema import Average
from unstatic.training.optim import Optimiser, OptimiserConfig
from unstatic.training.step import Batches, BatchT, Step


class TrainingDivergedError(UnstaticError):
    """Several steps in a row had a loss or a gradient that is not finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How long and how: everything the loop itself decides. Lengths are in samples.

    With `seconds` a run takes as many samples as that time allows instead (`presets/budget.py`).
    `half_lives` are those of the weight averages: at 16 samples a step the defaults are 0.999 and 0.9995.
    """

    samples: int
    seconds: float = 0.0
    seed: int = 0
    accumulate: int = 1
    clip_norm: float = 1.0
    warm_up: int = 4_000
    cooldown: float = 0.2
    half_lives: tuple[float, ...] = (11_085.0, 22_175.0)
    patience: int = 5
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)


@dataclass(kw_only=True, slots=True)
class Clock:
    """Where a run stands: samples seen, steps taken, batches drawn, and steps skipped in a row."""

    samples: int = 0
    steps: int = 0
    batches: int = 0
    skipped: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMetrics:
    """What one step did; `scale` is the learning rate's share of its plateau, `skipped`: nothing changed."""

    samples: int
    steps: int
    loss: float
    gradient_norm: float
    scale: float
    skipped: bool
    values: Mapping[str, float]


def learning_rate_scale(seen: float, config: TrainingConfig) -> float:
    """Return the learning rate's share of its plateau after `seen` samples.

    Linear warm-up, plateau, and over the last `cooldown` of the run 1 - sqrt (Haegele et al., 2405.18392).
    """
    start = config.samples * (1 - config.cooldown)
    warm_up = min(1.0, seen / config.warm_up) if config.warm_up else 1.0
    if seen <= start or start >= config.samples:
        return warm_up
    return warm_up * max(0.0, 1 - math.sqrt((seen - start) / (config.samples - start)))


class Run:
    """Everything that a training run changes: weights, optimiser, averages and clock.

    `matrices` names the parameters for Muon (see `linear_weights`). Weights are fp32 from here on, whatever
    they were read from: of a step on bfloat16 nine tenths would be rounded away. Steps compute in `dtype`
    under autocast, by default the fastest that the device multiplies well.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainingConfig,
        *,
        matrices: Collection[str] = (),
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        self.device = device or torch.device("cpu")
        self.dtype = dtype or compute_dtype(self.device)
        self.model = model.to(self.device, torch.float32)
        self.config = config
        self.optimiser = Optimiser(self.model, config.optimiser, matrices, self.dtype)
        self.averages = [Average(self.model, half_life) for half_life in config.half_lives]
        self.clock = Clock()

    def progress(self) -> float:
        """Return how much of the run is done, from 0 to 1."""
        return min(1.0, self.clock.samples / self.config.samples)

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors that change while training, by dotted name; the clock is apart."""
        state = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        state |= {f"optimiser.{name}": value for name, value in self.optimiser.state_dict().items()}
        for index, average in enumerate(self.averages):
            state |= {f"average.{index}.{name}": value for name, value in average.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned into a run that was built the same way."""
        self.model.load_state_dict(_below(state, "model."))
        self.optimiser.load_state_dict(_below(state, "optimiser."))
        for index, average in enumerate(self.averages):
            average.load_state_dict(_below(state, f"average.{index}."))


def train(run: Run, step: Step[BatchT], batches: Batches[BatchT]) -> Iterator[StepMetrics]:
    """Train until the clock reaches `run.config.samples`, yielding after every optimiser step.

    Gradients of `accumulate` batches are averaged, clipped, and applied. A step whose loss or gradient is not
    finite is skipped; raises TrainingDivergedError after `patience` of them in a row. At every yield the run
    is consistent: the caller may save it, evaluate and sample with `run.model`, or give it another length.
    """
    clock = run.clock
    with closing(prefetch(batches, start=clock.batches)) as stream:
        while clock.samples < run.config.samples:
            config = run.config
            loss, samples, values = gather_gradients(run, step, stream)

            # Update, unless it would destroy the weights
            norm = nn.utils.clip_grad_norm_(run.optimiser.parameters, config.clip_norm).item()
            scale = learning_rate_scale(clock.samples + samples / 2, config)
            skipped = not (math.isfinite(loss) and math.isfinite(norm))
            if skipped:
                run.optimiser.forget_gradients()
            else:
                run.optimiser.step(scale)

            # Clock and averages
            clock.samples += samples
            clock.steps += 1
            clock.batches += config.accumulate
            clock.skipped = clock.skipped + 1 if skipped else 0
            for average in run.averages:
                average.update(run.model, batch=samples, seen=clock.samples)

            if clock.skipped >= config.patience:
                raise TrainingDivergedError(
                    f"loss {loss}, gradient norm {norm}: {clock.skipped} bad steps in a row at"
                    f" {clock.samples} samples; run it again with a lower learning rate, and if that does not"
                    " help delete the newest checkpoint first"
                )
            yield StepMetrics(
                samples=clock.samples,
                steps=clock.steps,
                loss=loss,
                gradient_norm=norm,
                scale=scale,
                skipped=skipped,
                values=values,
            )


class Gathered(NamedTuple):
    """Mean loss and metrics over the batches of one step, and how many samples were in them."""

    loss: float
    samples: int
    values: dict[str, float]


def gather_gradients(run: Run, step: Step[BatchT], stream: Iterator[tuple[int, BatchT]]) -> Gathered:
    """Add up the gradients of the next `accumulate` batches, each counting the same."""
    config = run.config
    losses: list[float] = []
    samples = 0
    values: defaultdict[str, list[float]] = defaultdict(list)

    run.model.train()
    for index, batch in itertools.islice(stream, config.accumulate):
        # Without the cache of casts: torch's compiler holds its lock while it waits for Python's, a
        # prefetching thread that leaves autocast holds Python's while it waits for the cache's
        with torch.autocast(
            run.device.type, run.dtype, enabled=run.dtype != torch.float32, cache_enabled=False
        ):
            output = step(batch.to(run.device), generator("step", config.seed, index))
        (output.loss / config.accumulate).backward()
        losses.append(output.loss.item())
        samples += batch.num_samples
        for name, value in output.metrics.items():
            values[name].append(value)
    return Gathered(fmean(losses), samples, {name: fmean(numbers) for name, numbers in values.items()})


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C (or SIGTERM, or a terminal that closes) only make the yielded function true.

    A second one interrupts. A step is never cut in half, and the caller decides what to save. For the main
    thread only. The end of a terminal is ignored where it was before, as under `nohup`.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1 and number == signal.SIGINT:  # a terminal that closes may say so twice
            raise KeyboardInterrupt

    ignored = [number for number in ENDS[1:] if signal.getsignal(number) is signal.SIG_IGN]
    heard = [number for number in (signal.SIGINT, *ENDS) if number not in ignored]
    previous = {number: signal.signal(number, note) for number in heard}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
