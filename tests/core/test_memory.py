"""Freed memory is kept: a block that is used again costs no new pages."""

import platform
import subprocess
import sys

import numpy as np
import pytest

from unstatic.core.memory import resident_mb

COUNT_FAULTS = """
import resource
from unstatic.core.memory import keep_freed_memory
if {keep}:
    keep_freed_memory()
blocks = [b"x" * 1_000_000 for _ in range(10)]
del blocks
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    blocks = [b"x" * 1_000_000 for _ in range(10)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, keep: bool) -> int:
    code = COUNT_FAULTS.format(keep=keep)
    return int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_blocks_that_are_used_again_cost_no_new_pages():
    pages = 20 * 10 * 1_000_000 // 4096
    assert faults(keep=False) > pages // 2
    assert faults(keep=True) < pages // 10


LEAVE_HOLES = """
from unstatic.core.memory import give_back_memory, keep_freed_memory
def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
keep_freed_memory()
blocks = [b"x" * 1_000_000 for _ in range(200)]
del blocks[::2]
before = held()
give_back_memory()
print(before - held(), sum(len(block) for block in blocks))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_holes_between_what_is_used_are_given_back():
    ran = subprocess.run([sys.executable, "-c", LEAVE_HOLES], capture_output=True, text=True, check=True)
    given, used = (int(each) for each in ran.stdout.split())
    assert given > 80_000_000
    assert used == 100_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_what_is_held_is_counted():
    before = resident_mb()
    held = np.ones(8_000_000)
    after = resident_mb()
    assert before is not None
    assert after is not None
    assert 60 < after - before < 70
    assert held[-1] == 1
