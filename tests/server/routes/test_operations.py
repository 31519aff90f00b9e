"""Health and figures."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from listening import listening
from serving import add_key, application, client_of
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from unstatic.server.accounts import change_tier
from unstatic.server.database import Database
from unstatic.server.tables import Account

LOCAL = ("127.0.0.1", 50_000)


def test_on_this_machine_health_and_figures_need_no_key(client: TestClient, app: FastAPI):
    client.post("/v1/videos", json={"prompt": "a secret ball"})
    with TestClient(app, base_url="http://localhost", client=LOCAL) as operator:
        assert operator.get("/healthz").json() == {"status": "ok"}
        assert operator.get("/readyz").json() == {"status": "ok"}
        said = operator.get("/metrics")
    assert said.headers["content-type"].startswith("text/plain")
    assert 'unstatic_requests_total{method="POST",route="/v1/videos",status="200"} 1.0' in said.text
    assert 'unstatic_jobs_active{status="queued"} 1.0' in said.text
    assert "secret" not in said.text


def test_f8_a_server_without_its_storage_lives_but_is_not_ready(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise OSError(5, "the disk of /srv/films is gone")

    monkeypatch.setattr(app.state.server.storage.place, "open", broken)
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert "disk" not in answer.text


def test_f9_a_server_without_its_database_lives_but_is_not_ready(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("the disk is gone"))

    monkeypatch.setattr(app.state.server.database, "reading", broken)
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "disk" not in answer.text


@pytest.mark.usefixtures("client")
def test_f31_f34_figures_are_for_this_machine_and_for_who_administers(
    app: FastAPI, database: Database, make_account: Callable[..., Account]
):
    admin, other = make_account(), make_account()
    with database.writing() as session:
        change_tier(session, admin.id, "admin")
    for account, status in ((None, 401), (other, 403), (admin, 200)):
        key = None if account is None else add_key(database, account.id)
        with client_of(app, key, peer="203.0.113.7") as stranger:
            assert stranger.get("/metrics").status_code == status
            assert stranger.get("/healthz").json() == stranger.get("/readyz").json() == {"status": "ok"}
    with TestClient(app, client=("::1", 1)) as local:
        assert local.get("http://[::1]:8000/metrics").status_code == 200
        assert local.get("http://evil.example/metrics").status_code == 401  # a name that leads here
        for headers in ({"Origin": "https://evil.example"}, {"X-Forwarded-For": "203.0.113.7"}):
            assert local.get("http://localhost/metrics", headers=headers).status_code == 401


def test_f34_without_accounts_no_page_from_elsewhere_reads_figures(tmp_path: Path):
    with TestClient(application(tmp_path), base_url="http://localhost", client=LOCAL) as local:
        assert local.get("/metrics").status_code == 200
        assert local.get("/metrics", headers={"Host": "evil.example"}).status_code == 403


def test_f9_figures_are_told_while_the_database_is_gone(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    del client

    def broken(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("the disk is gone"))

    for way in ("reading", "glancing", "writing"):
        monkeypatch.setattr(app.state.server.database, way, broken)
    with TestClient(app, base_url="http://localhost", client=LOCAL) as operator:
        assert "unstatic_database_up 0.0" in operator.get("/metrics").text


def _is_ready(base: str) -> bool:
    """Return whether a thread is left that answers."""
    try:
        return httpx.get(f"{base}/readyz", timeout=1).status_code == 200
    except httpx.ReadTimeout:
        return False


def test_f27_a_server_whose_threads_are_all_at_work_still_says_that_it_lives(app: FastAPI):
    over = threading.Event()

    @app.get("/work")
    def work() -> None:
        over.wait(60)

    with listening(app) as address, ExitStack() as stack:
        base = address.removesuffix("/v1")
        busy: list[threading.Thread] = []
        for _ in range(45):
            busy.append(threading.Thread(target=lambda: httpx.get(f"{base}/work", timeout=90)))
            busy[-1].start()
        stack.callback(over.set)
        until_s = time.monotonic() + 60
        while _is_ready(base):
            assert time.monotonic() < until_s
        assert httpx.get(f"{base}/healthz", timeout=20).status_code == 200
        over.set()
        for each in busy:
            each.join()
