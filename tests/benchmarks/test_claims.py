"""The benchmark of the database does what workers do, with both databases."""

import os
import subprocess
import sys
from pathlib import Path

import postgres
import pytest

PROGRAM = Path(__file__).parent.parent.parent / "benchmarks" / "claims.py"


@pytest.mark.slow
@pytest.mark.plain
def test_every_column_of_both_databases_has_a_rate():
    if postgres.found() is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: .ci/run installs it")
        pytest.skip("PostgreSQL is not installed")
    command = [sys.executable, PROGRAM, "--workers", "2", "--waiting", "30", "--seconds", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    rows = [line.strip("| ").split(" | ") for line in ran.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["SQLite", "PostgreSQL"]
    assert all(int(figure) > 0 for row in rows for figure in row[1:])
