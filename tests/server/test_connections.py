"""Connections that say nothing, say half, or take nothing in, and too many of them (F28)."""

import contextlib
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from listening import listening
from serving import add_key, begin, complete
from starlette.testclient import TestClient

from unstatic.server import connections
from unstatic.server.connections import most_connections
from unstatic.server.database import Database
from unstatic.server.serving import config_of
from unstatic.server.state import Server
from unstatic.server.tables import Account

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def served(app: FastAPI, most: int = 100) -> Iterator[str]:
    """Serve as `serve` does, on a free port."""
    config = config_of(app, most=most)
    config.port = 0
    with listening(app, config) as address:
        yield address


def connect(address: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").removesuffix("/v1").partition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def told(opened: socket.socket) -> bytes:
    """Return what comes until the server ends the connection."""
    found = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := opened.recv(65_536):
            found += piece
    return bytes(found)


def test_f28_who_says_nothing_or_half_of_a_request_is_hung_up_on(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connections, "HEAD_S", 0.4)
    with served(app) as address, ExitStack() as stack:
        silent, half, dripping, used = (stack.enter_context(connect(address)) for _ in range(4))
        half.sendall(HEALTH[:30])
        used.sendall(HEALTH)
        assert used.recv(9_999).startswith(b"HTTP/1.1 200")
        used.sendall(HEALTH[:30])
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for each in HEALTH[:-1]:  # a byte now and then does not help
                dripping.sendall(bytes([each]))
                time.sleep(0.05)
        for each in (silent, half, dripping, used):
            assert told(each) == b""
        assert httpx.get(address.replace("/v1", "/healthz")).status_code == 200


def test_f28_a_request_that_takes_longer_than_its_head_may_is_answered(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connections, "HEAD_S", 0.2)

    @app.get("/slow")
    def slow() -> str:
        time.sleep(0.6)
        return "done"

    with served(app) as address, httpx.Client(base_url=address.removesuffix("/v1")) as client:
        for _ in range(2):
            assert client.get("/slow").json() == "done"
        time.sleep(0.4)  # idle between two requests is another thing
        with connect(address) as opened:
            opened.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
            seen = b""
            while seen.count(b"done") < 2:
                seen += opened.recv(9_999)


def test_f31_a_head_without_an_end_is_refused(app: FastAPI):
    with served(app) as address, connect(address) as endless:
        base = address.removesuffix("/v1")
        endless.sendall(HEALTH[:-2] + b"X-Long: " + b"a" * 60_000)
        assert httpx.get(base + "/healthz", headers={"X-Long": "a" * 60_000}).status_code == 200
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(15):
                endless.sendall(b"a" * 60_000)
        assert httpx.get(base + "/healthz", timeout=connections.HEAD_S / 2).status_code == 200
        began_s, answer = time.monotonic(), told(endless)
        assert time.monotonic() - began_s < connections.HEAD_S / 2
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b'"code":"head_too_large"' in answer


def test_f31_trailers_without_an_end_end_the_connection(app: FastAPI, database: Database, account: Account):
    head = (
        "POST /v1/videos HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {add_key(database, account.id)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with served(app) as address, connect(address) as endless:
        for _ in range(4):  # what comes as a body is no head, however much of it there is
            endless.sendall(head.encode() + b"10000\r\n" + b" " * 65_536 + b"\r\n0\r\n\r\n")
            assert endless.recv(9_999).startswith(b"HTTP/1.1 400 ")
        endless.sendall(head.encode() + b"1\r\n \r\n0\r\n")
        began_s = time.monotonic()
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(15):
                endless.sendall(b"X-Long: " + b"a" * 60_000 + b"\r\n")
        assert told(endless) == b""
        assert time.monotonic() - began_s < 15


def test_f28_a_download_that_nobody_takes_is_ended_and_a_slow_one_is_not(
    app: FastAPI,
    client: TestClient,
    server: Server,
    database: Database,
    account: Account,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(connections, "TAKE_S", 0.5)
    said = client.post("/v1/videos", json={"prompt": "x"}).json()
    found = begin(server)
    assert found is not None
    complete(server, found[0], tmp_path)
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(40_000_000))
    server.storage.put_file(f"{found[0].prefix}/video.mp4", large)
    asked = (
        f"GET /v1/videos/{said['id']}/content HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {add_key(database, account.id)}\r\n\r\n"
    ).encode()
    with served(app) as address, connect(address) as idle, connect(address) as slow:
        for each in (idle, slow):
            each.sendall(asked)
        count = 0
        while piece := slow.recv(4_000_000):
            count += len(piece)
            time.sleep(0.1)
        assert count > 40_000_000
        assert len(told(idle)) < 40_000_000


def test_f28_a_new_connection_takes_the_place_of_one_that_says_nothing(app: FastAPI):
    health = "/healthz"
    with served(app, most=20) as address, ExitStack() as stack:
        base = address.removesuffix("/v1")
        used = stack.enter_context(httpx.Client(base_url=base, timeout=60))
        used.get(health)
        silent = [stack.enter_context(connect(address)) for _ in range(60)]
        assert httpx.get(base + health).status_code == 200
        assert used.get(health).status_code == 200
        assert [told(each) for each in silent[:30]] == [b""] * 30


def test_f28_where_all_are_at_work_one_more_is_told_so(
    app: FastAPI, client: TestClient, database: Database, account: Account
):
    path = f"/v1/videos/{client.post('/v1/videos', json={'prompt': 'x'}).json()['id']}/events"
    headers = {"Authorization": f"Bearer {add_key(database, account.id)}"}
    with served(app, most=10) as address, ExitStack() as stack:
        base = address.removesuffix("/v1")
        for _ in range(10):
            streaming = httpx.stream("GET", base + path, headers=headers, timeout=60)
            assert stack.enter_context(streaming).status_code == 200
        for _ in range(3):
            answer = httpx.get(base + path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
            assert answer.headers["Retry-After"] == "5"


def test_a_process_may_open_as_many_files_as_it_is_allowed_to():
    script = (
        "import resource as r; from unstatic.server.connections import most_connections;"
        "r.setrlimit(r.RLIMIT_NOFILE, (300, {hard})); most = most_connections();"
        "print(most, r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )
    for hard, said in ((300, "32 300"), (1_024, "384 1024"), (4_096, "1920 4096")):
        done = subprocess.run(
            [sys.executable, "-c", script.format(hard=hard)], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == said
    assert most_connections() >= 32


@contextmanager
def a_server(folder: Path, files: int) -> Iterator[str]:
    """Run `unstatic serve` without workers, allowed to open so many files, and yield its address."""
    command = [
        sys.executable,
        "-m",
        "unstatic",
        "serve",
        "--port",
        "0",
        "--workers",
        "0",
        "--data",
        str(folder),
    ]
    limit = f"import resource, os, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}));"
    command = [sys.executable, "-c", f"{limit} os.execv(sys.argv[1], sys.argv[1:])", *command]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process, too, have more than a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4_096:
        pytest.skip("this machine allows too few files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def check_all_is_well(address: str) -> None:
    with httpx.Client(base_url=address, timeout=30) as client:
        for _ in range(5):
            made = client.post("/videos", json={"prompt": "a ball"})
            assert made.status_code == 200
            assert client.get(f"/videos/{made.json()['id']}").json()["status"] == "queued"


@pytest.mark.usefixtures("many_files")
def test_f28_a_thousand_idle_connections_keep_nobody_out_where_files_are_few(tmp_path: Path):
    with a_server(tmp_path / "server", files=1_024) as address, ExitStack() as stack:
        for _ in range(1_020):
            stack.enter_context(connect(address))
        check_all_is_well(address)


@pytest.mark.usefixtures("many_files")
def test_f28_a_thousand_idle_connections_and_a_slow_upload_end_by_themselves(tmp_path: Path):
    head = (
        b"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 20\r\n\r\n"
    )
    with a_server(tmp_path / "server", files=4_096) as address, ExitStack() as stack:
        stalled, slow, *idle = [stack.enter_context(connect(address)) for _ in range(1_022)]
        for each in (stalled, slow):
            each.sendall(head)
        check_all_is_well(address)
        for each in b'{"prompt": "a ball"}':  # slow, but it comes
            slow.sendall(bytes([each]))
            time.sleep(0.3)
        assert slow.recv(9_999).startswith(b"HTTP/1.1 200")
        assert [told(each) for each in idle] == [b""] * 1_020
        assert stalled.recv(9_999).startswith(b"HTTP/1.1 400")
        check_all_is_well(address)
