"""A round of the soak test: servers and workers are killed at random while real films are made."""

from pathlib import Path

import pytest
import soak


@pytest.mark.slow
@pytest.mark.plain
def test_f5_nothing_is_lost_or_made_twice_whenever_a_process_is_killed(tmp_path: Path):
    found = soak.soak(tmp_path, jobs=20, kills=4, seed=5)
    assert found.wrong == []
    assert sum(found.killed.values()) > 0
