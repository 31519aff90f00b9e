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
        self._shortest_s: dict[int, float] = {}

    @property
    def count(self) -> int:
        """The number of threads for the next piece."""
        tried = self._pieces // TRIALS
        if tried < len(self.counts):
            return self.counts[tried]
        return min(self.counts, key=lambda count: self._shortest_s[count])

    def note(self, seconds: float) -> None:
        """Say how long the piece took that was made with `count` threads."""
        count = self.count
        if self._pieces < TRIALS * len(self.counts):
            self._shortest_s[count] = min(seconds, self._shortest_s.get(count, seconds))
        self._pieces += 1
        if self._pieces >= PERIOD and len(self.counts) > 1:
            self._pieces = 0
            self._shortest_s = {}


def with_threads(choice: ThreadChoice | None, items: Iterable[Item]) -> Iterator[Item]:
    """Yield `items`, letting one CPU operator use the chosen number of threads while each is being made.

    Between items the process has as many threads as before. None changes nothing, and so does a number of
    threads in OMP_NUM_THREADS: the user's choice.
    """
    if choice is None or "OMP_NUM_THREADS" in os.environ:
        yield from items
        return
    source = iter(items)
    while True:
        before, begun_s = torch.get_num_threads(), choice.clock()
        torch.set_num_threads(choice.count)
        try:
            item = next(source)
        except StopIteration:
            return
        finally:
            torch.set_num_threads(before)
        choice.note(choice.clock() - begun_s)
        yield item


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
