"""How long films take to make."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(slots=True)
class FilmTimes:
    """How many seconds it took to make films of `lasting` seconds, by column."""

    lasting: float
    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def to_json(self) -> dict[str, Any]:
        """Return the median of each column, and how many seconds of film that makes in a second."""
        medians = {name: median(each) for name, each in self.seconds.items() if each}
        return {
            name: {"seconds_per_clip": each, "film_seconds_per_second": self.lasting / each}
            for name, each in medians.items()
        }
