"""The application as a whole: who is let in, and that every error has the one shape."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from serving import add_key, application, client_of
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.testclient import TestClient

from unstatic.core.errors import InputError
from unstatic.server.app import create_app
from unstatic.server.database import Database
from unstatic.server.settings import Settings
from unstatic.server.state import Server
from unstatic.server.tables import Account

SECRET = "/srv/secret/jobs.sqlite of acct_1234"


def error_of(answer: Any, status: int) -> dict[str, Any]:
    """Return an error that has the one shape, and tells nothing of the machine."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert not re.search(r"Traceback|\.py|/srv|sqlite|psycopg|acct_|File \"", answer.text)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    return answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/videos/", 404),
        ("GET", "/v1/nothing/../../etc/passwd", 404),
        ("PUT", "/v1/videos", 405),
        ("POST", "/v1/models", 405),
        ("TRACE", "/v1/videos", 405),
        ("POST", "/v1/videos/characters/x/y", 404),
    ],
)
def test_f24_routes_and_methods_that_there_are_not(client: TestClient, method: str, path: str, status: int):
    error = error_of(client.request(method, path), status)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {"Content-Type": "application/json"}, 400),
        (b"--B", {"Content-Type": "multipart/form-data; boundary=B"}, 400),
        (b"x", {"Content-Type": "text/plain"}, 415),
        (b"x" * 2_000, {"Content-Type": "application/json"}, 413),
        (b'{"prompt": "x", "sedd": 1}', {"Content-Type": "application/json"}, 400),
        (b'{"prompt": "x", "model": "sora-2"}', {"Content-Type": "application/json"}, 400),
        (b'{"prompt": "x", "size": "99999x99999"}', {"Content-Type": "application/json"}, 400),
    ],
)
def test_f24_bodies_that_cannot_be_read(
    database: Database, account: Account, tmp_path: Path, body: bytes, headers: dict[str, str], status: int
):
    app = application(tmp_path, database, max_upload=1_000)
    with client_of(app, add_key(database, account.id)) as client:
        error_of(client.post("/v1/videos", content=body, headers=headers), status)


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_f9_f24_a_database_in_trouble_is_503_without_its_words(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
):
    def broken(*_: object) -> None:
        raise kind(SECRET, {}, Exception(SECRET))

    for way in ("reading", "glancing", "writing"):
        monkeypatch.setattr(app.state.server.database, way, broken)
    answer = client.get("/v1/videos")
    assert error_of(answer, 503)["code"] == "unavailable"
    assert 1 <= int(answer.headers["retry-after"]) <= 120


def test_f9_a_database_without_its_tables_is_503(tmp_path: Path):
    empty = Database(f"sqlite:///{tmp_path}/empty.sqlite")
    with client_of(application(tmp_path, empty)) as client:
        error_of(client.get("/v1/videos"), 503)
        assert client.get("/healthz").json() == {"status": "ok"}
    empty.close()


def test_f24_what_nobody_foresaw_is_500_with_the_name_of_the_request(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    def broken() -> int:
        raise KeyError(SECRET)

    monkeypatch.setattr(app.state.server.database, "now", broken)
    answer = client.get("/v1/videos")
    error = error_of(answer, 500)
    assert answer.headers["x-request-id"] in error["message"]
    assert error["type"] == "server_error"


@pytest.mark.usefixtures("client")
def test_f31_without_a_key_nothing_is_read(app: FastAPI):
    for headers in ({}, {"Authorization": "Bearer sk-wrong"}, {"Authorization": "Basic x"}):
        with client_of(app, **headers) as stranger:
            for path in ("/v1/videos", "/v1/models", "/v1/videos/x", "/v1/videos/x/content"):
                answer = stranger.get(path)
                assert error_of(answer, 401)["type"] == "authentication_error"
                assert answer.headers["www-authenticate"].startswith("Bearer ")
            answer = stranger.post("/v1/videos", content=b"{", headers={"Content-Type": "text/plain"})
            error_of(answer, 401)


def test_f22_a_parameter_of_the_query_that_is_unknown_is_an_error(client: TestClient, app: FastAPI):
    name = client.post("/v1/videos", json={"prompt": "a ball"}).json()["id"]
    for method, path in (
        ("GET", "/v1/videos?limt=3"),
        ("POST", "/v1/videos?model=nano"),
        ("GET", f"/v1/videos/{name}?limit=3"),
        ("GET", f"/v1/videos/{name}/content?variant=video&quality=best"),
        ("GET", f"/v1/videos/{name}/events?after=1"),
        ("POST", f"/v1/videos/{name}/cancel?soon=1"),
        ("DELETE", f"/v1/videos/{name}?force=true"),
        ("GET", "/v1/models?%F0%9F%90%88=1"),
        ("GET", "/v1/webhook_endpoints?order=asc"),
        ("GET", "/v1/videos/characters/x?y="),
        ("GET", "/v1/images/x?expires=1&signature=x&size=8x8"),
    ):
        answer = client.request(method, path)
        assert error_of(answer, 400)["code"] == "unknown_parameter", path
    assert client.get("/v1/videos?limit=3&order=asc").status_code == 200
    assert client.head(f"/v1/videos/{name}/content?quality=best").status_code == 400
    assert client.head(f"/v1/videos/{name}/content?variant=video").status_code == 404  # it is not ready
    with client_of(app) as stranger:  # and a key in the query is none
        error_of(stranger.get("/v1/videos?api_key=sk-unstatic-x"), 401)


def test_a_single_users_server_answers_to_no_page_from_elsewhere(tmp_path: Path):
    with client_of(application(tmp_path)) as client:
        assert client.get("/v1/videos").status_code == 200
        for origin in ("http://localhost:3000", "http://127.0.0.1:8000", "http://[::1]:1"):
            assert client.get("/v1/videos", headers={"Origin": origin}).status_code == 200
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost.evil.example"},
            {"Host": "evil.example"},
            {"Host": "[::"},
            {"Host": "127.0.0.1.evil.example:80"},
        ):
            error_of(client.get("/v1/videos", headers=headers), 403)


def test_f31_a_server_without_keys_answers_to_no_proxy(tmp_path: Path):
    app = application(tmp_path)
    with client_of(app) as client:
        client.headers["Host"] = "127.0.0.1:8000"  # as some proxies say, whatever they were asked for
        assert client.get("/v1/videos").status_code == 200
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host"):
            error_of(client.get("/v1/videos", headers={name: "203.0.113.7"}), 403)
    with client_of(app, peer="203.0.113.7") as stranger:
        error_of(stranger.get("/v1/videos"), 403)


def test_a_server_opens_what_its_settings_say(tmp_path: Path):
    app = create_app(Settings(data=tmp_path / "new"))
    server: Server = app.state.server
    assert list(server.manifests) == ["nano"]
    assert len(server.secret) == 64
    assert ((tmp_path / "new/secret").stat().st_mode & 0o777) == 0o600
    with client_of(app) as client:
        assert client.post("/v1/videos", json={"prompt": "a ball"}).status_code == 200
    again: Server = create_app(Settings(data=tmp_path / "new")).state.server
    assert again.secret == server.secret
    again.database.close()
    with pytest.raises(InputError, match="nano"):
        create_app(Settings(data=tmp_path / "other", models=("nanno",)))


def test_every_route_says_how_it_fails(client: TestClient):
    paths = client.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, said in methods.items():
            assert {"200", "4XX", "5XX"} <= set(said["responses"]), (method, path)
    assert json.dumps(paths).count("/v1/videos/") > 5
