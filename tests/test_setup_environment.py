"""The set-up script: which PyTorch it takes, without installing anything."""

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts/setup_environment.py"
CPU_BUILD = ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]


@pytest.fixture
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_environment", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def index() -> Generator[str]:
    """Serve one folder of a package index; every other address is missing, and `/slow/` never answers."""
    finished = threading.Event()

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the base class chose the name
            if self.path == "/slow/":
                finished.wait()
            self.send_response(200 if self.path in ("/torch/", "/slow/") else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        finished.set()
        server.shutdown()
        thread.join()


def test_an_index_answers_in_time_or_does_not(setup: ModuleType, index: str):
    assert setup.answers(f"{index}/torch/", 5.0)
    assert not setup.answers(f"{index}/other/", 5.0)
    assert not setup.answers("http://127.0.0.1:9/torch/", 5.0)
    assert not setup.answers(f"{index}/slow/", 0.1)


@pytest.mark.parametrize(
    ("platform", "gpu", "reachable", "options", "said"),
    [
        ("linux", False, True, CPU_BUILD, "the CPU build"),
        ("linux", False, False, [], "does not answer"),
        ("linux", True, True, [], "NVIDIA"),
        ("darwin", False, True, [], ""),
        ("win32", False, True, [], ""),
    ],
)
def test_the_build_fits_the_machine_and_is_announced(
    setup: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    platform: str,
    gpu: bool,
    reachable: bool,
    options: list[str],
    said: str,
):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(setup, "has_nvidia_gpu", lambda: gpu)
    monkeypatch.setattr(setup, "answers", lambda *_: reachable)
    assert setup.torch_index() == options
    assert said in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="the pretended driver is a shell script")
@pytest.mark.parametrize(
    ("program", "gpu"),
    [("echo 'GPU 0: NVIDIA'", True), ("echo none", False), ("echo GPU; exit 9", False), (None, False)],
)
def test_a_gpu_is_what_the_driver_lists(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str | None, gpu: bool
):
    if program is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert setup.has_nvidia_gpu() == gpu


def test_the_pin_is_the_one_in_the_constraints(setup: ModuleType):
    assert setup.requirement("torch").startswith("torch==")


def test_an_old_python_gets_one_line(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(setup, "OLDEST_PYTHON", (99, 0))
    with pytest.raises(SystemExit, match=r"^unstatic needs Python 3\.11 or newer, this is \d"):
        setup.main()
    assert capsys.readouterr().out == ""


def test_a_broken_environment_is_noticed(setup: ModuleType, tmp_path: Path):
    assert setup.works(Path(sys.executable))
    assert not setup.works(tmp_path / "python")
    (tmp_path / "python").symlink_to(tmp_path / "gone")
    assert not setup.works(tmp_path / "python")


def test_it_needs_nothing_installed():
    command = [sys.executable, "-S", "-I", SCRIPT, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--extras" in shown
