"""/v1/videos, as a client sees it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from listening import listening
from serving import add_key, begin, client_of, complete, fail, finish, write_film, write_image
from sqlalchemy import select
from starlette.testclient import TestClient

from unstatic.server import jobs
from unstatic.server.database import Database
from unstatic.server.spec import read_spec
from unstatic.server.state import Server
from unstatic.server.tables import Account, Job

MakeAccount = Callable[..., Account]


def ask(client: TestClient, **fields: object) -> dict[str, Any]:
    answer = client.post("/v1/videos", json={"prompt": "a red ball", "seconds": "4"} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def spec_of(server: Server, job_id: str) -> Any:
    with server.database.reading() as session:
        return read_spec(session.scalars(select(Job).where(Job.id == job_id)).one().spec)


def error_of(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    return answer.json()["error"]


def test_a_film_from_the_first_word_to_the_last_byte(client: TestClient, server: Server, tmp_path: Path):
    said = ask(client, size="128x128", seed=7)
    assert said == {
        "id": said["id"],
        "object": "video",
        "model": "nano",
        "status": "queued",
        "progress": 0,
        "created_at": server.database.now(),
        "completed_at": None,
        "expires_at": None,
        "prompt": "a red ball",
        "size": "128x128",
        "seconds": "4",
        "remixed_from_video_id": None,
        "error": None,
    }
    assert spec_of(server, said["id"]).seed == 7
    found = begin(server)
    assert found is not None
    with server.database.writing() as session:
        jobs.beat(session, found[0], 100)
    seen = client.get(f"/v1/videos/{said['id']}")
    assert (seen.json()["status"], seen.json()["progress"]) == ("in_progress", 99)
    assert seen.headers["openai-poll-after-ms"].isdecimal()
    files = complete(server, found[0], tmp_path)
    seen = client.get(f"/v1/videos/{said['id']}").json()
    assert (seen["status"], seen["progress"], seen["error"]) == ("completed", 100, None)
    assert seen["expires_at"] == seen["completed_at"] + 1_000
    for variant, data in files.items():
        content = client.get(f"/v1/videos/{said['id']}/content", params={"variant": variant})
        assert content.content == data
        assert content.headers["x-content-type-options"] == "nosniff"
        assert content.headers["content-disposition"].startswith("attachment")
    part = client.get(f"/v1/videos/{said['id']}/content", headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, files["video"][2:6])
    head = client.head(f"/v1/videos/{said['id']}/content")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(files["video"])))


def test_what_is_not_ready_or_expired_has_no_content(
    client: TestClient, server: Server, tmp_path: Path, clock: Any
):
    said = ask(client)
    assert error_of(client.get(f"/v1/videos/{said['id']}/content"), 404)["code"] == "not_ready"
    finish(server, tmp_path)
    clock.now_s += 1_001
    assert error_of(client.get(f"/v1/videos/{said['id']}/content"), 404)["code"] == "expired"


def test_f23_a_film_that_failed_is_found_and_says_why(client: TestClient, server: Server):
    said = ask(client)
    fail(server, "out_of_memory", "the film needs more memory than there is")
    seen = client.get(f"/v1/videos/{said['id']}")
    assert seen.status_code == 200
    assert seen.json()["status"] == "failed"
    assert seen.json()["error"] == {
        "code": "out_of_memory",
        "message": "the film needs more memory than there is",
    }


def test_the_preview_is_watched_while_the_film_is_made(client: TestClient, server: Server, tmp_path: Path):
    said = ask(client)
    found = begin(server)
    assert found is not None
    for number, piece in enumerate((b"one", b"two")):
        server.storage.put_bytes(f"{found[0].prefix}/preview/{number:06d}", piece)
    complete(server, found[0], tmp_path)
    with server.database.writing() as session:  # as if it were still made when the request came
        job = session.scalars(select(Job).where(Job.id == said["id"])).one()
        job.status = "in_progress"
    with client.stream("GET", f"/v1/videos/{said['id']}/content?variant=preview") as answer:
        pieces = answer.iter_raw()
        read = next(pieces)
        with server.database.writing() as session:
            session.scalars(select(Job).where(Job.id == said["id"])).one().status = "completed"
        assert read + b"".join(pieces) == b"onetwo"


def test_f43_head_of_a_film_that_grows_ends_at_once(
    app: FastAPI, client: TestClient, server: Server, database: Database, account: Account
):
    path = f"/videos/{ask(client)['id']}/content?variant=preview"
    assert begin(server) is not None
    headers = {"Authorization": f"Bearer {add_key(database, account.id)}"}
    with listening(app) as address, httpx.Client(base_url=address, headers=headers, timeout=10) as asker:
        for _ in range(2):  # the connection is free for what comes next
            answer = asker.head(path)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "content-length" not in answer.headers
        with asker.stream("GET", path) as answer:
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_how_a_film_looks_meanwhile_is_its_thumbnail(client: TestClient, server: Server):
    said = ask(client)
    found = begin(server)
    assert found is not None
    thumbnail = f"/v1/videos/{said['id']}/content?variant=thumbnail"
    assert error_of(client.get(thumbnail), 404)["code"] == "not_found"
    server.storage.put_bytes(f"{found[0].prefix}/look.webp", b"first")
    assert client.get(thumbnail).content == b"first"


def test_pages_of_a_list(client: TestClient):
    ids = [ask(client)["id"] for _ in range(5)]
    page = client.get("/v1/videos", params={"limit": 2}).json()
    assert [each["id"] for each in page["data"]] == [ids[4], ids[3]]
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == (
        "list",
        ids[4],
        ids[3],
        True,
    )
    page = client.get("/v1/videos", params={"limit": 2, "after": ids[1], "order": "asc"}).json()
    assert [each["id"] for each in page["data"]] == [ids[2], ids[3]]
    page = client.get("/v1/videos", params={"after": ids[0]}).json()
    assert (page["data"], page["first_id"], page["last_id"], page["has_more"]) == ([], None, None, False)
    assert client.get("/v1/videos", params={"limit": 0}).json()["has_more"] is True
    for wrong in (
        {"limit": 101},
        {"limit": -1},
        {"order": "up"},
        {"after": "video_" + "0" * 32},
        {"after": "../x"},
    ):
        error_of(client.get("/v1/videos", params=wrong), 400)


def test_f21_a_list_goes_on_after_a_film_that_was_deleted(client: TestClient):
    ids = [ask(client)["id"] for _ in range(3)]
    assert client.delete(f"/v1/videos/{ids[1]}").json() == {
        "id": ids[1],
        "object": "video.deleted",
        "deleted": True,
    }
    page = client.get("/v1/videos", params={"after": ids[1]}).json()
    assert [each["id"] for each in page["data"]] == [ids[0]]
    error_of(client.delete(f"/v1/videos/{ids[1]}"), 404)
    error_of(client.get(f"/v1/videos/{ids[1]}"), 404)


def test_f21_an_edit_outlives_its_source(client: TestClient, server: Server, tmp_path: Path):
    said = ask(client, size="96x64")
    film = finish(server, tmp_path)["video"]
    remixed = client.post(f"/v1/videos/{said['id']}/remix", json={"prompt": "at night"}).json()
    assert remixed["remixed_from_video_id"] == said["id"]
    assert client.delete(f"/v1/videos/{said['id']}").status_code == 200
    server.storage.delete_tree(f"jobs/{said['id']}")
    spec = spec_of(server, remixed["id"])
    assert spec.task == "remix"
    assert server.storage.read_bytes(spec.video, 10**6) == film
    assert spec.video.startswith(f"{spec.inputs}/")


def test_f18_a_key_of_a_remix_is_known_after_its_source_was_deleted(
    client: TestClient, server: Server, tmp_path: Path
):
    source, key = ask(client, size="96x64"), {"Idempotency-Key": "k"}
    finish(server, tmp_path)
    path, body = f"/v1/videos/{source['id']}/remix", {"prompt": "at night"}
    first = client.post(path, json=body, headers=key)
    assert first.status_code == 200
    client.delete(f"/v1/videos/{source['id']}")
    again = client.post(path, json=body, headers=key)
    assert (again.status_code, again.json()) == (200, first.json())
    error_of(client.post(path, json=body), 404)


def test_f32_what_is_somebody_elses_is_not_there(
    client: TestClient, server: Server, make_account: MakeAccount, tmp_path: Path
):
    said, other = ask(client), make_account()
    finish(server, tmp_path)
    missing = "video_" + "0" * 32
    with client_of(client.app, add_key(server.database, other.id)) as stranger:
        for method, path, body in (
            ("GET", "", None),
            ("DELETE", "", None),
            ("GET", "/content", None),
            ("HEAD", "/content", None),
            ("GET", "/events", None),
            ("POST", "/cancel", None),
            ("POST", "/remix", {"prompt": "x"}),
        ):
            answers = [
                stranger.request(method, f"/v1/videos/{each}{path}", json=body)
                for each in (said["id"], missing)
            ]
            assert [each.status_code for each in answers] == [404, 404], (method, path)
            assert answers[0].text.replace(said["id"], missing) == answers[1].text
        for each in (said["id"], missing):
            body = {"prompt": "x", "video": {"id": each}, "seconds": 1}
            assert stranger.post("/v1/videos/extensions", json=body).status_code == 404
        assert stranger.get("/v1/videos").json()["data"] == []
        cursors = [stranger.get("/v1/videos", params={"after": each}) for each in (said["id"], missing)]
        assert cursors[0].text == cursors[1].text
    assert client.get(f"/v1/videos/{said['id']}").status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/b",
        "%2e%2e%2fx",
        "..%5cx",
        "a%00b",
        "x" * 5_000,
        "%EF%BC%8E%EF%BC%8E",
        "video_" + "A" * 32,
        "%ff",
    ],
)
def test_f36_an_id_that_climbs_is_not_found(client: TestClient, name: str):
    for method in ("GET", "DELETE"):
        answer = client.request(method, f"/v1/videos/{name}")
        assert answer.status_code in (404, 405), answer.text
        assert "error" in answer.json()
    error_of(client.get(f"/v1/videos/{name}/content"), 404)


def test_a_video_that_is_sent_is_edited_and_extended(client: TestClient, server: Server, tmp_path: Path):
    film = write_film(tmp_path / "film.mp4")
    with film.open("rb") as file:
        edited = client.post("/v1/videos/edits", data={"prompt": "in snow"}, files={"video": file})
    assert edited.status_code == 200, edited.text
    assert (edited.json()["seconds"], edited.json()["size"]) == ("0.75", "96x64")
    with film.open("rb") as file:
        data = {"prompt": "it goes on", "seconds": "2"}
        extended = client.post("/v1/videos/extensions", data=data, files={"video": file})
    assert extended.json()["seconds"] == "2.75"
    spec = spec_of(server, extended.json()["id"])
    assert (spec.task, spec.seconds) == ("extend", 2.0)
    assert server.storage.size(spec.video) > 0
    for wrong in ({"prompt": "x"}, {"prompt": "x", "video": {"id": "video_1"}}):
        answer = client.post("/v1/videos/edits", json=wrong)
        assert answer.status_code in (400, 404)
    with film.open("rb") as file:
        answer = client.post("/v1/videos", data={"prompt": "x"}, files={"video": file})
        assert error_of(answer, 400)["param"] == "video"


def test_a_picture_must_have_the_size_of_the_film(client: TestClient, tmp_path: Path):
    path = write_image(tmp_path / "first.png")
    for size, status in (("96x64", 200), ("128x128", 400)):
        with path.open("rb") as file:
            fields = {"prompt": "it falls", "size": size}
            answer = client.post("/v1/videos", data=fields, files={"input_reference": file})
        assert answer.status_code == status, answer.text
    assert error_of(answer, 400)["param"] == "input_reference"


def test_answers_fit_the_schema_that_is_published(client: TestClient):
    document = client.get("/openapi.json").json()
    assert "422" not in json.dumps(document)
    assert "$defs" not in json.dumps(document)
    body = document["paths"]["/v1/videos"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}
    assert "binary" in json.dumps(body["multipart/form-data"])
