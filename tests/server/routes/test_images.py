"""Pictures: made as jobs while the request waits, in the answer or at a signed address."""

import base64
import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from listening import listening, working
from PIL import Image
from serving import add_key, client_of, fail, write_image
from starlette.testclient import TestClient

from unstatic.server import queue
from unstatic.server.database import Database
from unstatic.server.state import Server
from unstatic.server.tables import Account

BODY = {"prompt": "a red cube", "size": "96x64"}


def waiting(server: Server) -> int:
    with server.database.reading() as session:
        return queue.waiting(session)


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_pictures_in_the_answer(client: TestClient, server: Server, tmp_path: Path, output_format: str):
    with working(server, tmp_path):
        answer = client.post("/v1/images/generations", json=BODY | {"n": 2, "output_format": output_format})
    said = answer.json()
    assert (said["output_format"], said["size"], len(said["data"])) == (output_format, "96x64", 2)
    for each in said["data"]:
        assert each["url"] is None
        with Image.open(io.BytesIO(base64.b64decode(each["b64_json"]))) as image:
            assert (image.format, image.size) == (output_format.upper(), (96, 64))


def test_an_address_is_good_for_a_while_and_for_that_picture_only(
    client: TestClient, server: Server, tmp_path: Path, clock: Any
):
    with working(server, tmp_path):
        answer = client.post("/v1/images/generations", json=BODY | {"response_format": "url"})
    url = answer.json()["data"][0]["url"]
    assert url.startswith("http://localhost/v1/images/image_")
    with client_of(client.app) as browser:  # without a key
        seen = browser.get(url)
        assert (seen.status_code, seen.headers["content-type"]) == (200, "image/png")
        for wrong in (
            url[:-1] + ("0" if url[-1] != "0" else "1"),
            url.replace("format=png", "format=jpeg"),
            url.replace("expires=", "expires=1"),
            url.replace("image_", "image_0"),
            url.partition("?")[0] + "?expires=99999999999&format=png&signature=\u00e9",
        ):
            assert browser.get(wrong).status_code == 404, wrong
        assert browser.get(url.partition("?")[0]).status_code == 400
        clock.now_s += 3_601
        assert browser.get(url).status_code == 404


@pytest.mark.parametrize("is_swept", [True, False])
def test_a_picture_that_has_expired_is_404_and_no_reason_to_ask_again(
    client: TestClient, server: Server, tmp_path: Path, clock: Any, is_swept: bool
):
    key, answers = {"Idempotency-Key": "k"}, []
    with working(server, tmp_path):
        for form in ("url", "b64_json"):
            body = BODY | {"response_format": form}
            answers.append(client.post("/v1/images/generations", json=body, headers=key))
            key = {"Idempotency-Key": "l"}
    if is_swept:
        server.storage.delete_tree("jobs")
    else:
        clock.now_s += 1_001
    for answer in (
        client.get(answers[0].json()["data"][0]["url"]),
        client.post("/v1/images/generations", json=BODY | {"response_format": "b64_json"}, headers=key),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "expired")
        assert "retry-after" not in answer.headers


def test_a_picture_is_edited(client: TestClient, server: Server, tmp_path: Path):
    files = {"image": ("a.png", write_image(tmp_path / "a.png").read_bytes())}
    with working(server, tmp_path):
        answer = client.post("/v1/images/edits", data={"prompt": "in blue"}, files=files)
    assert answer.json()["size"] == "96x64"
    answer = client.post("/v1/images/edits", data={"prompt": "in blue"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image")


def test_a_picture_that_cannot_be_made_is_an_error(client: TestClient, server: Server):
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(client.post("/v1/images/generations", json=BODY)))
    asking.start()
    while asking.is_alive() and waiting(server) == 0:
        time.sleep(0.02)
    fail(server, "out_of_memory", "it needs more memory")
    asking.join()
    assert answers[0].status_code == 500
    assert answers[0].json()["error"]["code"] == "out_of_memory"


def test_f25_addresses_of_pictures_are_asked_no_more_often_than_a_key_may_ask(
    app: FastAPI, client: TestClient, server: Server, tmp_path: Path
):
    with working(server, tmp_path):
        answer = client.post("/v1/images/generations", json=BODY | {"response_format": "url"})
    url = answer.json()["data"][0]["url"]
    server.rates.a_minute = 3
    with client_of(app) as browser:
        assert [browser.get(url).status_code for _ in range(5)] == [200] * 3 + [429] * 2
        assert browser.get(url.replace("expires=", "expires=1")).status_code == 404


def test_f27_an_account_has_so_many_requests_that_wait_for_pictures(
    app: FastAPI, client: TestClient, server: Server, make_account: Callable[..., Account], tmp_path: Path
):
    server.waits.most, same = 1, {"Idempotency-Key": "same"}

    def ask() -> httpx.Response:
        return client.post("/v1/images/generations", json=BODY, headers=same)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask)
        while not first.done() and waiting(server) == 0:
            time.sleep(0.02)
        for headers in (same, {}):
            answer = client.post("/v1/images/generations", json=BODY, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "busy")
            assert answer.headers["retry-after"] == "5"
        assert waiting(server) == 1  # who is sent away has nothing made
        other = add_key(server.database, make_account().id)
        with client_of(app, other) as theirs, working(server, tmp_path):
            assert theirs.post("/v1/images/generations", json=BODY).status_code == 200
            assert first.result().status_code == 200
    assert ask().json()["data"] == first.result().json()["data"]


def test_f27_pictures_that_take_long_are_looked_for_less_and_less_often(
    client: TestClient, server: Server, monkeypatch: pytest.MonkeyPatch
):
    slept: list[float] = []

    async def sleep(pause_s: float) -> None:
        slept.append(pause_s)
        if len(slept) == 10:
            fail(server, "out_of_memory", "it needs more memory")

    monkeypatch.setattr("unstatic.server.routes.images.asyncio", SimpleNamespace(sleep=sleep))
    assert client.post("/v1/images/generations", json=BODY).status_code == 500
    assert slept == sorted(slept)
    assert (slept[0], slept[-1]) == (0.1, 1.0)


def test_films_and_pictures_are_told_apart(client: TestClient, server: Server, tmp_path: Path):
    with working(server, tmp_path):
        answer = client.post("/v1/images/generations", json=BODY | {"response_format": "url"})
    name = answer.json()["data"][0]["url"].partition("?")[0].rpartition("/")[2]
    assert client.get("/v1/videos").json()["data"] == []
    assert client.get(f"/v1/videos/{name}").status_code == 404
    assert client.delete(f"/v1/videos/{name}").status_code == 404


def test_f28_nobody_goes_on_waiting_for_a_client_that_has_gone(
    app: FastAPI, server: Server, database: Database, account: Account, tmp_path: Path
):
    files = {"image": ("a.png", write_image(tmp_path / "a.png").read_bytes())}
    headers = {"Authorization": f"Bearer {add_key(database, account.id)}"}
    with listening(app) as address:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{address}/images/edits", data={"prompt": "x"}, files=files, headers=headers, timeout=10
            )
        assert waiting(server) == 1
        until_s = time.monotonic() + 10
        while list(server.spool.iterdir()) and time.monotonic() < until_s:
            time.sleep(0.05)
        assert list(server.spool.iterdir()) == []
