"""Health and figures."""

import pytest
from fastapi import FastAPI
from serving import client_of
from starlette.testclient import TestClient


def test_health_and_figures_need_no_key(client: TestClient, app: FastAPI):
    client.post("/v1/videos", json={"prompt": "a secret ball"})
    with client_of(app) as operator:
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
    from sqlalchemy.exc import OperationalError

    def broken(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("the disk is gone"))

    monkeypatch.setattr(app.state.server.database, "reading", broken)
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "disk" not in answer.text
