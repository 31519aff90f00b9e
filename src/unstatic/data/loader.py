"""Batches by number: what a batch holds is decided by (shards, seed, index) alone.

A batch has one picture size; sizes come up as often as the shards hold clips of them. Nothing remembers what
was drawn before, therefore a run resumes by knowing its index, and `prefetch` may work ahead in a thread.
"""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, count
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from unstatic.core.seeds import generator, numpy_generator
from unstatic.data.shards import Shard

Made = TypeVar("Made")
Yielded = TypeVar("Yielded", covariant=True)

Prepare = Callable[[UInt8[Tensor, "n t h w 3"], UInt8[Tensor, "n t h w"], torch.Generator], Made]
"""Turn whole clips and their object ids into a batch, drawing windows and crops from the generator."""


@runtime_checkable
class Numbered(Protocol[Yielded]):
    """Batches that can be asked for by number; `at` is a pure function."""

    def at(self, index: int) -> Yielded: ...


def prefetch(
    batches: Numbered[Made], *, start: int = 0, depth: int = 2
) -> Generator[tuple[int, Made], None, None]:
    """Yield (index, batch) from `start` on for ever, with a thread that stays `depth` batches ahead.

    An error in the thread is raised here, at its batch. Close the generator to stop the thread.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
    try:
        pending = deque(pool.submit(batches.at, start + ahead) for ahead in range(depth))
        for index in count(start):
            batch = pending.popleft().result()
            pending.append(pool.submit(batches.at, index + depth))
            yield index, batch
    finally:
        pool.shutdown(cancel_futures=True)


class AutoencoderBatches(Generic[Made]):
    """Clips drawn at random from shards and turned into batches by `prepare`, in the prefetch thread."""

    def __init__(self, shards: Sequence[Shard], *, prepare: Prepare[Made], batch_size: int, seed: int = 0):
        self.sizes = clips_by_size(shards, "frames")
        self.prepare, self.batch_size, self.seed = prepare, batch_size, seed

    def at(self, index: int) -> Made:
        """Return batch `index`."""
        rng = numpy_generator("autoencoder batch", self.seed, index)
        entries = pick_size(self.sizes, rng).sample(self.batch_size, rng)
        frames = np.stack([shard.read("frames", entry) for shard, entry in entries])
        ids = np.stack([shard.read("ids", entry) for shard, entry in entries])
        views = generator("autoencoder views", self.seed, index)
        return self.prepare(torch.as_tensor(frames), torch.as_tensor(ids), views)


class Clips:
    """The entries of several shards of one picture size under one running number."""

    def __init__(self, shards: Sequence[Shard]):
        self.shards = shards
        self.ends = list(accumulate(len(shard) for shard in shards))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, number: int) -> tuple[Shard, int]:
        place = bisect_right(self.ends, number)
        return self.shards[place], number - (self.ends[place - 1] if place else 0)

    def sample(self, amount: int, rng: np.random.Generator) -> list[tuple[Shard, int]]:
        """Draw `amount` different entries, or with repeats where there are fewer."""
        numbers = rng.choice(len(self), amount, replace=len(self) < amount)
        return [self[int(number)] for number in numbers]


def clips_by_size(shards: Sequence[Shard], name: str) -> list[Clips]:
    """Group shards of the same arrays whose `name` has the same shape per entry, in a fixed order."""
    groups: defaultdict[tuple[tuple[int, ...], tuple[str, ...]], list[Shard]] = defaultdict(list)
    for shard in shards:
        groups[shard.shapes[name][1:], tuple(sorted(shard.shapes))].append(shard)
    return [Clips(groups[key]) for key in sorted(groups)]


def pick_size(sizes: Sequence[Clips], rng: np.random.Generator) -> Clips:
    """Draw one group, each as likely as it is large."""
    shares = np.array([len(clips) for clips in sizes], dtype=np.float64)
    return sizes[int(rng.choice(len(sizes), p=shares / shares.sum()))]
