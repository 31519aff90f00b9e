"""Training for a stretch of time: how many samples fit is decided by the run's own speed, once, and kept.

On lent machines time is fixed and speed is not known. A run with `TrainingConfig.seconds` begins with the
samples of its config, measures itself, and then takes as many as the rest of the time allows, so that the
learning rate still comes down to its end. The decision is written beside the checkpoints: a resumed run keeps
it, whatever machine it goes on.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from unstatic.core.files import atomic_path
from unstatic.training.loop import TrainingConfig

MEASURED_SHARE = 0.1  # of the time is over before its length is decided
LONGEST_MEASURED_S = 60.0
LONGEST_WARM_UP = 0.05  # of all samples


@dataclass(slots=True)
class Budget:
    """The decision of one run in `folder`; `clock` tells seconds."""

    folder: Path
    config: TrainingConfig
    clock: Callable[[], float] = time.monotonic
    started_s: float = 0.0

    def __post_init__(self) -> None:
        self.started_s = self.clock()

    @property
    def path(self) -> Path:
        """The file with the decision."""
        return self.folder / "length.json"

    def decided(self) -> TrainingConfig | None:
        """Return the config with the decided length, None while it is open; without a limit as it is."""
        if not self.config.seconds:
            return self.config
        if not self.path.exists():
            return None
        return self._of_length(json.loads(self.path.read_text(encoding="utf-8"))["samples"])

    def decide(self, samples: int, samples_per_s: float | None) -> TrainingConfig | None:
        """Decide, once enough was measured: `samples` are done, at so many a second; None before that."""
        elapsed_s = self.clock() - self.started_s
        enough_s = min(MEASURED_SHARE * self.config.seconds, LONGEST_MEASURED_S)
        if samples_per_s is None or elapsed_s < enough_s:
            return None
        total = samples + round(samples_per_s * max(0.0, self.config.seconds - elapsed_s))
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps({"samples": total}) + "\n", encoding="utf-8")
        return self._of_length(total)

    def _of_length(self, samples: int) -> TrainingConfig:
        warm_up = min(self.config.warm_up, round(LONGEST_WARM_UP * samples))
        return replace(self.config, samples=samples, warm_up=warm_up)
