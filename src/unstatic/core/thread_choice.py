"""How many threads one CPU operator gets, in work that is made of many alike pieces: what is fastest now.

A small operator takes as long as it takes to wake a second thread. On two free cores two threads sampled a
clip 1.4 times as fast as one; with another program on one of them, less than half as fast. Only trying tells.
Results must not depend on the choice, so it is offered only where they do not (`equal_counts`).
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")

TRIALS = 2  # pieces with each number of threads before the fastest of them is taken
PERIOD = 32  # pieces before all are tried again, since other programs come and go


class ThreadChoice:
    """Tries each of `counts` in turn, keeps the fastest for a while, and asks again.

    A piece may now and then take longer than the others for reasons of its own: the shortest time counts.
    """

    def __init__(self, counts: Sequence[int], *, clock: Callable[[], float] = time.perf_counter) -> None:
        assert counts, "there must be something to choose from"
        self.counts, self.clock = tuple(counts), clock
        self._pieces = 0
        self._times_s: dict[int, list[float]] = {}

    @property
    def count(self) -> int:
        """The number of threads for the next piece."""
        times_s = self._times_s
        for count in self.counts:
            if len(times_s.get(count, ())) < TRIALS:
                return count
        return min(self.counts, key=lambda count: min(times_s[count][:TRIALS]))

    def note(self, count: int, seconds: float) -> None:
        """Say how long a piece took that was made with `count` threads."""
        self._pieces += 1
        if self._pieces >= PERIOD:
            self._pieces, self._times_s = 0, {}
        else:
            self._times_s.setdefault(count, []).append(seconds)


def with_threads(
    choice: ThreadChoice | None, items: Iterable[Item], *, alike: Callable[[Item], bool] = lambda _: True
) -> Iterator[Item]:
    """Yield `items`, letting one CPU operator use the chosen number of threads while each is being made.

    Between items the process has as many threads as before, and never are there more. Only items that are
    `alike` are compared. None changes nothing.
    """
    if choice is None:
        yield from items
        return
    source = iter(items)
    while True:
        count, before, begun_s = choice.count, torch.get_num_threads(), choice.clock()
        torch.set_num_threads(min(count, before))
        try:
            item = next(source)
        except StopIteration:
            return
        finally:
            torch.set_num_threads(before)
        if alike(item):
            choice.note(count, choice.clock() - begun_s)
        yield item


def free_to_choose() -> bool:
    """Return whether there is more than one thread, and OMP_NUM_THREADS, the user's choice, is not set."""
    return torch.get_num_threads() > 1 and "OMP_NUM_THREADS" not in os.environ


def equal_counts(probe: Callable[[], Tensor], counts: Sequence[int]) -> tuple[int, ...]:
    """Return those of `counts` that the process has, if `probe` gives the same bits with them as with one."""
    before = torch.get_num_threads()
    results: dict[int, Tensor] = {}
    try:
        for count in {1, *(each for each in counts if each <= before)}:
            torch.set_num_threads(count)
            results[count] = probe()
    finally:
        torch.set_num_threads(before)
    return tuple(count for count, result in sorted(results.items()) if torch.equal(result, results[1]))
