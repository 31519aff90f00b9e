"""What keeps `serve` from starting, said in one line with the fix; the rest is run by `test_supervise.py`."""

import socket
from pathlib import Path

import pytest

from unstatic.cli.main import run
from unstatic.server import accounts
from unstatic.server.database import Database
from unstatic.server.serving import is_loopback


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return the folder of a server that has a key."""
    database = Database(f"sqlite:///{tmp_path}/jobs.sqlite")
    database.migrate()
    with database.writing() as session:
        account = accounts.open_account(session, "the lab", "creator", database.now())
        accounts.make_key(session, account.id, "laptop", database.now())
    database.close()
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line that a server ends with that does not start."""
    assert run(["serve", "--workers", "0", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    return lines[-1]


def test_other_machines_are_served_only_when_that_is_wanted_and_there_are_keys(
    data: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
):
    assert "add --expose" in said(capsys, "--host", "0.0.0.0", "--data", str(data))
    empty = str(tmp_path_factory.mktemp("empty"))
    assert "unstatic admin account new" in said(capsys, "--host", "0.0.0.0", "--expose", "--data", empty)


def test_a_host_that_nobody_knows_and_a_port_that_is_taken(data: Path, capsys: pytest.CaptureFixture[str]):
    host = said(capsys, "--host", "no.such.host.invalid", "--expose", "--data", str(data))
    assert "no.such.host.invalid" in host
    assert "another --host" in host
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = said(capsys, "--port", str(taken.getsockname()[1]), "--data", str(data))
    assert "take another --port" in port


def test_a_cluster_of_ray_has_an_address(data: Path, capsys: pytest.CaptureFixture[str]):
    assert "give HOST:PORT of a cluster, auto, or local" in said(
        capsys, "--ray", "cluster", "--data", str(data)
    )


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)],
)
def test_loopback(host: str, is_own: bool):
    assert is_loopback(host) is is_own
