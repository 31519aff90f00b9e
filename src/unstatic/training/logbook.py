"""What a run leaves for its reader: metrics as JSON lines and TensorBoard events, pictures, the time left."""

import json
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from unstatic.core.errors import InputError
from unstatic.core.files import atomic_path
from unstatic.training.loop import StepMetrics


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast a run goes, over its last steps; nothing is known before the second."""

    samples_per_s: float | None
    left_s: float | None


@dataclass(slots=True)
class Every:
    """Tell when something is due again: `Every(60)(now)` with any clock, seconds or samples."""

    interval: float
    last: float = 0.0

    def __call__(self, now: float) -> bool:
        due = now - self.last >= self.interval
        if due:
            self.last = now
        return due


@dataclass(slots=True)
class Pacer:
    """Measure samples per second over the last 20 steps."""

    total: int
    clock: Callable[[], float] = time.monotonic
    marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=21))

    def mark(self, samples: int) -> Pace:
        """Note that `samples` are done by now."""
        self.marks.append((self.clock(), samples))
        duration_s, done = self.marks[-1][0] - self.marks[0][0], samples - self.marks[0][1]
        if duration_s <= 0 or done <= 0:
            return Pace(samples_per_s=None, left_s=None)
        rate = done / duration_s
        return Pace(samples_per_s=rate, left_s=max(0, self.total - samples) / rate)


class Logbook(AbstractContextManager["Logbook"]):
    """Write metrics.jsonl, TensorBoard events (if tensorboard is installed) and pictures into `folder`.

    A run resumed at `start` samples continues the same files; what came after that point is taken back.
    """

    def __init__(self, folder: Path, *, total: int, start: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.pacer = Pacer(total)
        self.metrics_path = folder / "metrics.jsonl"
        _rewind(self.metrics_path, start)
        self._lines = self.metrics_path.open("a", encoding="utf-8")
        self._board = _tensorboard(folder, start)

    def log(self, metrics: StepMetrics) -> Pace:
        """Record one step."""
        pace = self.pacer.mark(metrics.samples)
        numbers = {
            "loss": metrics.loss,
            "gradient_norm": metrics.gradient_norm,
            "learning_rate_scale": metrics.scale,
            "skipped": float(metrics.skipped),
            **metrics.values,
        }
        if pace.samples_per_s is not None:
            numbers["samples_per_s"] = pace.samples_per_s
        line = {
            "samples": metrics.samples,
            "steps": metrics.steps,
            "time_s": round(time.time(), 3),
            **numbers,
        }
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, metrics.samples)
        return pace

    def picture(self, name: str, image: UInt8[ndarray, "h w 3"], samples: int) -> Path:
        """Keep a picture, for example a sheet of samples, as NAME-SAMPLES.png; return its path."""
        path = self.folder / f"{name}-{samples:012d}.png"
        Image.fromarray(image).save(path)
        if self._board is not None:
            self._board.add_image(name, image, samples, dataformats="HWC")
        return path

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        if self._board is not None:
            self._board.close()


def _tensorboard(folder: Path, start: int):
    # Optional: `pip install unstatic[train]`
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)


def _rewind(path: Path, start: int) -> None:
    """Take back the lines after `start` samples, and a last line that a killed process left unfinished."""
    if not path.exists():
        return
    whole = path.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        kept = [line for line in whole if json.loads(line)["samples"] <= start]
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} is no metrics file ({error}); move it away") from error
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
