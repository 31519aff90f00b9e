"""A round of the soak: servers and workers are killed at random while real films are made."""

import os
from collections.abc import Iterator
from pathlib import Path

import postgres
import pytest
import soak


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Return the address of an empty database, None for SQLite in the folder of the round."""
    if request.param == "sqlite":
        yield None
        return
    if (programs := postgres.found()) is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: .ci/run installs it")
        pytest.skip("PostgreSQL is not installed")
    with postgres.running(programs) as folder:
        yield postgres.url(folder, "postgres")


@pytest.mark.slow
@pytest.mark.plain
def test_f5_nothing_is_lost_or_made_twice_whenever_a_process_is_killed(tmp_path: Path, database: str | None):
    jobs, kills = (20, 4) if database is None else (10, 2)
    found = soak.soak(tmp_path, jobs=jobs, kills=kills, seed=5, database=database)
    assert found.wrong == []
    assert sum(found.killed.values()) > 0
