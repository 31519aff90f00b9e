"""Bodies, queries and ids that nobody would think of, made from the server's own description of itself."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from listening import working

from unstatic.server.app import open_server
from unstatic.server.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.plain]

CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"
# The wildest bodies are not led by these: here much is right, so that what is wrong gets far
HOOKS = """
import schemathesis

@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if path_parameters and "video_id" in path_parameters and context.operation.method.upper() != "DELETE":
        if len(str(path_parameters["video_id"])) % 2:
            path_parameters["video_id"] = "VIDEO"
    return path_parameters

FILMS = {"video": {"id": "VIDEO"}, "other": {"id": "VIDEO"}}
NUMBERS = {"seconds": 1, "start": 0, "end": 1}

@schemathesis.hook
def map_body(context, body):
    names = WANTED.get(context.operation.path)
    if names is None or not isinstance(body, dict):
        return body
    said = {name: value for name, value in body.items() if name in (*NUMBERS, "before", "after", "strength")}
    said |= {"prompt": "a red ball"} | {name: FILMS[name] for name in names if name in FILMS}
    if len(str(body)) % 3:
        said |= {name: NUMBERS[name] for name in names if name in NUMBERS}
    return said

WANTED = {
    "/v1/videos/edits": ("video",),
    "/v1/videos/extensions": ("video", "seconds"),
    "/v1/videos/loops": ("video", "seconds"),
    "/v1/videos/blends": ("video", "other", "seconds"),
    "/v1/videos/recuts": ("video", "start", "end"),
}
"""


def test_f22_f24_whatever_is_sent_is_answered_as_the_schema_says(tmp_path: Path):
    environment = os.environ | {
        "UNSTATIC_SERVE_DATA": str(tmp_path),
        "UNSTATIC_SERVE_READS": "10000000",
        "UNSTATIC_SERVE_WORKERS": "0",
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": os.pathsep.join((str(tmp_path), *sys.path)),
    }
    serve = [sys.executable, "-m", "unstatic", "serve", "--port", "0"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(serve, env=environment, stdout=subprocess.PIPE, stderr=log) as server,
    ):
        assert server.stdout is not None
        address = server.stdout.readline().decode().strip().removesuffix("/v1")
        beside = open_server(Settings(data=tmp_path))  # what a worker has: the database and the files
        with working(beside, tmp_path) as made:
            asked = {"prompt": "a red ball", "size": "96x64"}
            name = httpx.post(f"{address}/v1/videos", json=asked).json()["id"]
            until_s = time.monotonic() + 60
            while httpx.get(f"{address}/v1/videos/{name}").json()["status"] != "completed":
                assert time.monotonic() < until_s
                time.sleep(0.05)
            (tmp_path / "hooks.py").write_text(HOOKS.replace("VIDEO", name))
            schemathesis = Path(sys.executable).with_name("schemathesis")
            fuzz = [schemathesis, "run", f"{address}/openapi.json", "--max-examples", "10", "--seed", "1"]
            fuzz += ["--phases", "examples,coverage,fuzzing,stateful", "--checks", CHECKS, "--no-color"]
            said = subprocess.run(fuzz, capture_output=True, text=True, cwd=tmp_path, env=environment)
        beside.database.close()
        server.terminate()
    assert said.returncode == 0, said.stdout[-5000:]
    found = re.search(r"(\d+) generated, (\d+) passed", said.stdout)
    assert found is not None
    assert found[1] == found[2]
    assert int(found[1]) > 1_000
    assert {"image", "remix", "extend", "loop", "blend", "recut"} <= {each["task"] for each in made}
