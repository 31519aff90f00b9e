"""What deploy/ composes, started by hand: PostgreSQL, a server that answers, a worker, a key, a film."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import postgres
import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.plain]
DEPLOY = Path(__file__).parent.parent / "deploy"
COMPOSED = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSED["services"]


def test_the_composition_names_only_what_it_has():
    volumes = [each for service in SERVICES.values() for each in service.get("volumes", [])]
    assert {each.split(":")[0] for each in volumes} == set(COMPOSED["volumes"])
    needed = {name for service in SERVICES.values() for name in service.get("depends_on", {})}
    assert needed <= set(SERVICES)
    assert SERVICES["worker"]["environment"] == SERVICES["server"]["environment"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["server"]["ports"])


def test_the_image_is_made_of_files_that_there_are_and_runs_as_nobody():
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    assert [name for name in copied if not (DEPLOY.parent / name).exists()] == []
    assert "USER 1000" in lines
    script = (DEPLOY / "install.sh").read_text(encoding="utf-8")
    assert subprocess.run(["sh", "-n"], input=script, text=True).returncode == 0


@contextmanager
def running(service: str, environment: dict[str, str], *more: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command of a service, with the entry point of the image."""
    command = [sys.executable, "-m", "unstatic", *SERVICES[service]["command"], *more]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_the_parts_make_a_film_together(tmp_path: Path):
    if (programs := postgres.found()) is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: .ci/run installs it")
        pytest.skip("PostgreSQL is not installed")
    with ExitStack() as stack:
        folder = stack.enter_context(postgres.running(programs))
        said = {**SERVICES["server"]["environment"], "UNSTATIC_SERVE_DATA": str(tmp_path)}
        url = said["UNSTATIC_SERVE_DATABASE"]
        assert re.fullmatch(r"postgresql://unstatic:\$\{POSTGRES_PASSWORD:\?.+\}@database/unstatic", url)
        said["UNSTATIC_SERVE_DATABASE"] = postgres.url(folder, "postgres")
        environment = os.environ | said

        # The key of the composition's first lines
        admin = [
            sys.executable,
            "-m",
            "unstatic",
            "admin",
            "account",
            "new",
            "me",
            "--tier",
            "admin",
            "--key",
        ]
        made = subprocess.run(admin, env=environment, capture_output=True, text=True, check=True)
        key = made.stdout.split()[-1]

        server = stack.enter_context(running("server", environment, "--port", "0"))
        stack.enter_context(running("worker", environment))
        assert server.stdout is not None
        address = server.stdout.readline().strip().replace("0.0.0.0", "127.0.0.1")
        client = stack.enter_context(httpx.Client(base_url=address, timeout=60))
        assert client.get("/videos").status_code == 401
        client.headers["Authorization"] = f"Bearer {key}"
        film = client.post(
            "/videos", json={"prompt": "a red ball bounces", "seconds": 0.25, "size": "128x128"}
        )
        name = film.raise_for_status().json()["id"]
        until_s = time.monotonic() + 120
        while (found := client.get(f"/videos/{name}").json())["status"] in ("queued", "in_progress"):
            assert time.monotonic() < until_s
            time.sleep(0.2)
        assert found["status"] == "completed", found
        assert client.get(f"/videos/{name}/content").content[4:8] == b"ftyp"


def test_the_image_is_built_as_its_makers_advise():
    linted = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), DEPLOY / "Dockerfile"], capture_output=True, text=True
    )
    assert (linted.returncode, linted.stdout) == (0, "")
