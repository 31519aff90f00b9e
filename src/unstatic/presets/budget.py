"""Training for a stretch of time: how many samples fit is decided by the run's own speed, and kept.

On lent machines time is fixed and speed is not known. A run with `TrainingConfig.seconds` begins with the
samples of its config, measures itself, and then takes as many as the rest of the time allows, so that the
learning rate still comes down to its end. Batches differ (a still takes a fraction of a film), so few steps
tell the speed badly: until two fifths of the time are over it is measured over ever more of them, and the
length mended. The decision is written beside the checkpoints: a resumed run keeps it, whatever machine it
goes on.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from unstatic.core.files import atomic_path
from unstatic.training.loop import TrainingConfig

LENGTH = "length.json"
MEASURED_SHARE = 0.1  # of the time is over before its length is decided, and between any two decisions
SETTLED_SHARE = 0.4  # of the time is over when the last decision is made: learning rates fall after that
LONGEST_MEASURED_S = 60.0
LONGEST_WARM_UP = 0.05  # of all samples


@dataclass(slots=True)
class Budget:
    """The decision of one run in `folder`; `clock` tells seconds."""

    folder: Path
    config: TrainingConfig
    clock: Callable[[], float] = time.monotonic
    started_s: float = 0.0
    due_s: float = 0.0  # when the next decision is made, on the clock
    total: float = math.inf  # samples, as decided last
    mark: tuple[float, int] | None = None  # the speed is measured from this time and these samples on

    def __post_init__(self) -> None:
        self.started_s = self.clock()
        self.due_s = self.started_s + min(MEASURED_SHARE * self.config.seconds, LONGEST_MEASURED_S)

    @property
    def path(self) -> Path:
        """The file with the decision."""
        return self.folder / LENGTH

    def decided(self) -> TrainingConfig | None:
        """Return the config with the length that was decided before, if one was; without a limit as it is."""
        if not self.config.seconds:
            return self.config
        if not self.path.exists():
            return None
        self.due_s = math.inf
        return self._of_length(json.loads(self.path.read_text(encoding="utf-8"))["samples"])

    def decide(self, samples: int) -> TrainingConfig | None:
        """Note that `samples` are done; return the config with a new length if one is due, else None."""
        now_s = self.clock()
        if self.mark is None:
            self.mark = (now_s, samples)  # the first step also warms up
        is_over = now_s >= self.started_s + self.config.seconds
        ends_early = samples >= self.total and self.due_s < math.inf  # what was measured was slow: ask again
        if not self.config.seconds or (now_s < self.due_s and not ends_early):
            return None
        if samples == self.mark[1] and not is_over:
            return None  # the first step may be slow, as compiling is: it tells no speed
        marked_s, marked = self.mark
        speed = (samples - marked) / max(now_s - marked_s, 1e-9)
        self.total = samples + round(speed * max(0.0, self.started_s + self.config.seconds - now_s))
        if marked_s < self.started_s + SETTLED_SHARE / 2 * self.config.seconds:
            self.mark = (now_s, samples)  # what is slow at first, as compiling is, does not count again
        self.due_s = now_s + MEASURED_SHARE * self.config.seconds
        if self.due_s > self.started_s + SETTLED_SHARE * self.config.seconds:
            self.due_s = math.inf
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps({"samples": self.total}) + "\n", encoding="utf-8")
        return self._of_length(self.total)

    def _of_length(self, samples: int) -> TrainingConfig:
        warm_up = min(self.config.warm_up, round(LONGEST_WARM_UP * samples))
        return replace(self.config, samples=samples, warm_up=warm_up)
