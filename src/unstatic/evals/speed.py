"""How long films take to make, and their stages."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

import torch
from torch import nn

Asked = TypeVar("Asked")
Made = TypeVar("Made")


@dataclass(slots=True)
class FilmTimes:
    """How many seconds it took to make films of `lasting` seconds, by column."""

    lasting: float
    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def timed(self, column: str, make: Callable[[Asked], Made]) -> Callable[[Asked], Made]:
        """Return what makes the same films, and counts their time for a column."""

        def measured(asked: Asked) -> Made:
            started = time.perf_counter()
            made = make(asked)
            self.add(column, time.perf_counter() - started)
            return made

        return measured

    def add(self, column: str, seconds: float) -> None:
        """Count a film of a column."""
        self.seconds.setdefault(column, []).append(seconds)

    @property
    def medians(self) -> dict[str, float]:
        """The median of each column in which there is a film."""
        return {name: median(each) for name, each in self.seconds.items() if each}

    def to_json(self) -> dict[str, Any]:
        """Return the median of each column, and how many seconds of film that makes in a second."""
        return {
            name: {"seconds_per_clip": each, "film_seconds_per_second": self.lasting / each}
            for name, each in self.medians.items()
        }

    def to_markdown(self) -> str:
        """Return one line, empty if nothing was timed."""
        said = [
            f"{name} {each:.2f} s, {self.lasting / each:.2f} s of film a second"
            for name, each in self.medians.items()
        ]
        return f"Median time of a film: {'; '.join(said)}." if said else ""


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
