import os
import subprocess
import sys
from pathlib import Path

import pytest

from unstatic.core.dist import barrier, process_group, rank, world_size

PROGRAM = """
import sys
from pathlib import Path
import torch
import torch.distributed
from unstatic.core.dist import barrier, process_group, rank, world_size

with process_group():
    total = torch.tensor(rank() + 1)
    torch.distributed.all_reduce(total)
    if rank() == 1:
        Path(sys.argv[1], "written before the barrier").touch()
    barrier()
    seen = Path(sys.argv[1], "written before the barrier").exists()
    Path(sys.argv[1], str(rank())).write_text(f"{world_size()} {total.item()} {seen}")
"""


def test_one_process_is_rank_zero_of_one():
    with process_group():
        barrier()
        assert (rank(), world_size()) == (0, 1)


@pytest.mark.slow
def test_two_processes_meet(tmp_path: Path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*launcher, program, tmp_path], check=True, env=environment, capture_output=True)
    assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text() == "2 3 True"
