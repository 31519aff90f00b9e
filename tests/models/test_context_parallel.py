from pathlib import Path

import pytest
import shared_passes
import torch
from safetensors.torch import load_file
from torchrun import torchrun

from unstatic.models.context_parallel import shares


@pytest.mark.parametrize(
    ("total", "count", "expected"), [(15, 2, [8, 7]), (12, 4, [3, 3, 3, 3]), (2, 3, [1, 1, 0])]
)
def test_shares_differ_by_at_most_one(total: int, count: int, expected: list[int]) -> None:
    assert shares(total, count) == expected


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_several_processes_predict_what_one_does(processes: int, tmp_path: Path) -> None:
    """Films in one pass, pairs, chunks with ring, anchors and scalars; alone and with guidance's two rows."""
    file = tmp_path / "shared.safetensors"
    ended = torchrun(processes, shared_passes.__file__, file, folder=tmp_path)
    assert ended.code == 0, ended.err
    shared = load_file(file)
    for name, make in shared_passes.MODELS.items():
        for batch in shared_passes.BATCHES:
            for number, alone in enumerate(shared_passes.passes(make(), batch)):
                assert alone.std() > 0.1, "what is compared must not be nothing"
                torch.testing.assert_close(
                    shared.pop(f"{name} {batch} {number}"), alone, atol=1e-5, rtol=1e-5
                )
    assert shared == {}

    said = f"{processes} processes cannot share 1 heads and 15 tokens a frame: start fewer"
    assert sorted(ended.out.splitlines()) == [f"{rank}: {said}" for rank in range(processes)]
