"""How sure a share of successes is: counts with their Wilson intervals."""

import math
from dataclasses import dataclass
from typing import NamedTuple

NORMAL_95 = 1.959963984540054


class Interval(NamedTuple):
    """A range of shares, both in [0, 1]."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Score:
    """`right` of `total` cases; a score of no cases has no share."""

    right: int
    total: int

    @property
    def share(self) -> float:
        """The share of cases that are right, NaN without cases."""
        return self.right / self.total if self.total else math.nan

    @property
    def interval(self) -> Interval:
        """The 95% Wilson interval of the share."""
        return wilson(self.right, self.total)

    def __str__(self) -> str:
        if not self.total:
            return "-"
        low, high = self.interval
        return f"{self.share:.1%} [{low:.0%}, {high:.0%}]"


def wilson(right: int, total: int, z: float = NORMAL_95) -> Interval:
    """Return the score interval of `right` successes in `total` trials (Wilson, 1927, JASA 22, p. 209-212).

    Unlike the usual plus-minus it stays inside [0, 1] and is not empty at 0% and 100%. [0, 1] without trials.
    """
    assert 0 <= right <= total, f"{right} of {total}"
    if not total:
        return Interval(0.0, 1.0)
    share, square = right / total, z * z / total
    centre = (share + square / 2) / (1 + square)
    reach = z / (1 + square) * math.sqrt(share * (1 - share) / total + square / (4 * total))
    return Interval(max(0.0, centre - reach), min(1.0, centre + reach))
