"""Bodies, queries and ids that nobody would think of, made from the server's own description of itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.plain]

# These wait for a film: nobody makes one here
WAITING = r"/images/(generations|edits)|/events$"
CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"


def test_f22_f24_whatever_is_sent_is_answered_as_the_schema_says(tmp_path: Path):
    environment = os.environ | {
        "UNSTATIC_SERVE_DATA": str(tmp_path),
        "UNSTATIC_SERVE_READS": "10000000",
        "UNSTATIC_SERVE_WORKERS": "0",
    }
    serve = [sys.executable, "-m", "unstatic", "serve", "--port", "0"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(serve, env=environment, stdout=subprocess.PIPE, stderr=log) as server,
    ):
        assert server.stdout is not None
        address = server.stdout.readline().decode().strip().removesuffix("/v1")
        schemathesis = Path(sys.executable).with_name("schemathesis")
        fuzz = [schemathesis, "run", f"{address}/openapi.json", "--max-examples", "10", "--seed", "1"]
        fuzz += ["--phases", "examples,coverage,fuzzing,stateful", "--checks", CHECKS]
        fuzz += ["--exclude-path-regex", WAITING, "--no-color"]
        said = subprocess.run(fuzz, capture_output=True, text=True, cwd=tmp_path)
        server.terminate()
    assert said.returncode == 0, said.stdout[-5000:]
    made = re.search(r"(\d+) generated, (\d+) passed", said.stdout)
    assert made is not None
    assert made[1] == made[2]
    assert int(made[1]) > 1_000
