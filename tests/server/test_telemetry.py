"""What the log says of requests, and what it never says."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.responses import StreamingResponse

from unstatic.server.database import Database
from unstatic.server.metrics import Metrics
from unstatic.server.telemetry import JsonLines, Telemetry, name_of
from unstatic.server.tracing import Tracing

SECRETS = ("sk-secret", "a red fox", "page=2", "/videos/video_1")


def make_app() -> FastAPI:
    app = FastAPI()

    @app.post("/videos/{video_id}")
    def show(video_id: str, request: Request) -> str:
        request.state.account_id = "acct_1"
        return video_id

    @app.get("/fails/{word}")
    def fail(word: str) -> str:
        raise ValueError(f"no {word}: a red fox") from KeyError("a red fox")

    @app.get("/pieces")
    def pieces() -> StreamingResponse:
        return StreamingResponse(iter([b"one", b"two"]))

    return app


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Return where the log of telemetry goes."""
    stream, logger = io.StringIO(), logging.getLogger("unstatic.server.telemetry")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def metrics(database: Database) -> Metrics:
    return Metrics(database)


@pytest.fixture
def client(metrics: Metrics) -> TestClient:
    app = make_app()
    app.add_middleware(Telemetry, metrics=metrics, tracing=Tracing())
    return TestClient(app, raise_server_exceptions=False)


def said(lines: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_f34_a_request_is_one_line_without_keys_prompts_paths_and_queries(
    client: TestClient, lines: io.StringIO
):
    answer = client.post(
        "/videos/video_1?page=2", headers={"Authorization": "Bearer sk-secret"}, json={"prompt": "a red fox"}
    )
    assert answer.json() == "video_1"
    [line] = said(lines)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert {key: line[key] for key in ("level", "method", "route", "status", "account_id")} == {
        "level": "info",
        "method": "POST",
        "route": "/videos/{video_id}",
        "status": 200,
        "account_id": "acct_1",
    }
    assert 0 <= float(str(line["ms"])) < 10_000
    assert str(line["time"]).endswith("+00:00")
    assert [word for word in SECRETS if word in lines.getvalue()] == []


def test_f34_an_error_is_told_by_its_kind_and_lines_without_its_words(
    client: TestClient, lines: io.StringIO, metrics: Metrics
):
    answer = client.get("/fails/something")
    assert answer.status_code == 500
    [line] = said(lines)
    assert (line["level"], line["status"], line["route"]) == ("error", 500, "/fails/{word}")
    error = line["error"]
    assert isinstance(error, dict)
    assert (error["kind"], error["cause"]) == ("builtins.ValueError", "KeyError")
    assert error["lines"][-1].endswith(" fail")
    assert "red fox" not in lines.getvalue()
    assert "something" not in lines.getvalue()
    wanted = b'unstatic_requests_total{method="GET",route="/fails/{word}",status="500"} 1.0'
    assert wanted in metrics.text()


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ("abcdefgh", True),
        ("0123-ABCD-" + "x" * 54, True),
        ("x" * 65, False),
        ("short", False),
        ("with space", False),
        ("line\nbreak", False),
        ("abcdefgh\n", False),
        ("", False),
        ("\u0661" * 8, False),
    ],
)
def test_f34_a_client_may_name_a_request_by_a_plain_word(asked: str, taken: bool):
    assert (name_of(asked) == asked) == taken
    assert name_of(name_of(asked)) == name_of(name_of(asked)) or not taken


def test_every_answer_has_an_id_of_its_own(client: TestClient):
    names = {client.get(path).headers["x-request-id"] for path in ("/pieces", "/pieces", "/nothing")}
    assert len(names) == 3
    assert client.get("/pieces", headers={"X-Request-Id": "mine-0001"}).headers["x-request-id"] == "mine-0001"


def test_what_strangers_write_makes_no_series(client: TestClient, metrics: Metrics, lines: io.StringIO):
    for number in range(3):
        assert client.get(f"/nothing/{number}").status_code == 404
        assert client.request(f"BREW{number}", "/pieces").status_code == 405
    text = metrics.text().decode()
    assert 'unstatic_requests_total{method="GET",route="(none)",status="404"} 3.0' in text
    assert 'unstatic_requests_total{method="OTHER",route="/pieces",status="405"} 3.0' in text
    assert "BREW" not in text + lines.getvalue()


def test_an_answer_in_pieces_is_one_request(client: TestClient, lines: io.StringIO):
    assert client.get("/pieces").content == b"onetwo"
    assert [line["status"] for line in said(lines)] == [200]


def test_f34_a_process_logs_json_only_and_no_lines_of_uvicorn_about_requests():
    code = """
import logging
from unstatic.server.telemetry import log_to
log_to()
logging.getLogger("uvicorn.access").info("GET /v1/videos?key=sk-secret")
logging.getLogger("httpx").info("POST https://example.org/sk-secret")
logging.getLogger("uvicorn.error").info("Started")
try:
    raise ValueError("sk-secret")
except ValueError:
    logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"] for line in found] == ["Started", "Exception in ASGI application"]
    assert found[1]["error"]["kind"] == "builtins.ValueError"
    assert "sk-secret" not in done.stderr
    assert done.stdout == ""
