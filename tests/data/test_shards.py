import os
import subprocess
import sys

import numpy as np
import pytest

from unstatic.core.errors import InputError
from unstatic.data.shards import Shard, open_shards, shard_path, write_shard


def clips(count, value=0, frames=9):
    rng = np.random.default_rng(value)
    return {
        "frames": rng.integers(0, 256, (count, frames, 6, 8, 3), dtype=np.uint8),
        "ids": rng.integers(0, 3, (count, frames, 6, 8), dtype=np.uint8),
    }


def test_reads_what_was_written(tmp_path):
    arrays = clips(3)
    lines = ['{"seed": 1}', '{"seed": 2, "note": "\u2028 is no new line"}', '{"seed": 3}']
    path = write_shard(tmp_path, "clips", 7, arrays, lines, about={"frames_per_second": 16})
    assert path.name == "clips-00007.safetensors"

    shard = Shard(path)
    assert len(shard) == 3
    assert shard.shapes == {"frames": (3, 9, 6, 8, 3), "ids": (3, 9, 6, 8)}
    assert shard.lines == lines
    assert shard.about == {"frames_per_second": 16}
    np.testing.assert_array_equal(shard.read("frames", 2), arrays["frames"][2])
    np.testing.assert_array_equal(shard.read("ids", 1, 2, 5), arrays["ids"][1, 2:5])


def test_shards_are_in_order_of_number_or_as_named(tmp_path):
    for number in (12, 3, 100):
        write_shard(tmp_path, "clips", number, clips(1), ["{}"])
    names = [shard.path.name for shard in open_shards(tmp_path, "clips")]
    assert names == ["clips-00003.safetensors", "clips-00012.safetensors", "clips-00100.safetensors"]
    assert [shard.path.name for shard in open_shards(tmp_path, "clips", names[1:2])] == names[1:2]
    with pytest.raises(InputError, match="no latents shards"):
        open_shards(tmp_path, "latents")


WRITER = """
import os, sys
from pathlib import Path
import numpy as np
import safetensors.numpy
from unstatic.data import shards

def die_half_way(tensors, path, metadata):
    Path(path).write_bytes(b"half a shard")
    os.kill(os.getpid(), 9)

shards.write_shard(Path(sys.argv[1]), "clips", 0, {"frames": np.zeros((1, 2, 2, 2, 3), np.uint8)}, ["{}"])
shards.save_file = die_half_way
shards.write_shard(Path(sys.argv[1]), "clips", 1, {"frames": np.zeros((1, 2, 2, 2, 3), np.uint8)}, ["{}"])
"""


def test_a_killed_writer_leaves_nothing_that_is_read_and_can_be_repeated(tmp_path):
    process = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path)], check=False)
    assert process.returncode == -9
    assert len(os.listdir(tmp_path)) > 2
    assert [shard.path.name for shard in open_shards(tmp_path, "clips")] == ["clips-00000.safetensors"]

    write_shard(tmp_path, "clips", 1, clips(2), ["{}", "{}"])
    assert [len(shard) for shard in open_shards(tmp_path, "clips")] == [1, 2]


def test_damaged_shards_are_named(tmp_path):
    path = write_shard(tmp_path, "clips", 0, clips(2), ["{}", "{}"])
    path.with_suffix(".jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"clips-00000.jsonl has 1 lines for 2 entries"):
        _ = Shard(path).lines
    path.with_suffix(".jsonl").unlink()
    with pytest.raises(InputError, match="missing"):
        _ = Shard(path).lines
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"clips-00000.safetensors is not a whole shard"):
        Shard(path)
    with pytest.raises(InputError, match=r"clips-00005.safetensors is not a whole shard"):
        Shard(shard_path(tmp_path, "clips", 5))
