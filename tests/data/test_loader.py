import itertools
from contextlib import closing

import numpy as np
import pytest
import torch

from unstatic.data.loader import AutoencoderBatches, Clips, prefetch
from unstatic.data.shards import Shard, open_shards, write_shard


@pytest.fixture
def shards(tmp_path):
    """Eight square clips in two shards and four wide ones; every clip is filled with its own number."""
    sizes = [(8, 8), (8, 8), (4, 12)]
    for number, (height, width) in enumerate(sizes):
        values = np.arange(4 * number, 4 * number + 4, dtype=np.uint8).reshape(4, 1, 1, 1)
        ids = np.broadcast_to(values, (4, 5, height, width))
        frames = np.broadcast_to(ids[..., None], (4, 5, height, width, 3))
        write_shard(tmp_path, "clips", number, {"frames": frames, "ids": ids}, ["{}"] * 4)
    return open_shards(tmp_path, "clips")


def keep(frames, ids, generator):
    return frames, ids, torch.rand((), generator=generator).item()


def batches_of(shards, **options):
    return AutoencoderBatches(shards, prepare=keep, batch_size=3, **options)


def test_a_batch_is_decided_by_shards_seed_and_index_alone(shards):
    first, second = batches_of(shards), batches_of([Shard(shard.path) for shard in shards])
    expected = [first.at(index) for index in range(6)]
    for index in (5, 0, 3):
        frames, ids, number = second.at(index)
        assert torch.equal(frames, expected[index][0])
        assert torch.equal(ids, expected[index][1])
        assert number == expected[index][2]
    assert len({batch[2] for batch in expected}) == 6
    assert batches_of(shards, seed=1).at(0)[2] != expected[0][2]


def test_a_batch_has_one_size_different_clips_and_ids_that_belong_to_them(shards):
    batches, counts = batches_of(shards), {8: 0, 12: 0}
    seen = set()
    for index in range(200):
        frames, ids, _ = batches.at(index)
        counts[frames.shape[3]] += 1
        numbers = ids[:, 0, 0, 0].tolist()
        assert len(set(numbers)) == 3
        assert torch.equal(frames[..., 0], ids)
        seen |= set(numbers)
    assert seen == set(range(12))
    assert 105 < counts[8] < 160  # two thirds of the clips are square


def test_clips_number_entries_across_shards(shards):
    clips = Clips(shards[:2])
    assert len(clips) == 8
    assert [clips[number] for number in (0, 3, 4, 7)] == [
        (shards[0], 0),
        (shards[0], 3),
        (shards[1], 0),
        (shards[1], 3),
    ]
    assert len(clips.sample(20, np.random.default_rng(0))) == 20


class Numbers:
    def at(self, index):
        if index == 13:
            raise ValueError("thirteen")
        return 10 * index


def test_prefetch_continues_at_any_index_and_raises_at_the_bad_batch():
    with closing(prefetch(Numbers(), start=4)) as stream:
        assert list(itertools.islice(stream, 3)) == [(4, 40), (5, 50), (6, 60)]
    with closing(prefetch(Numbers(), start=12)) as stream:
        assert next(stream) == (12, 120)
        with pytest.raises(ValueError, match="thirteen"):
            next(stream)
