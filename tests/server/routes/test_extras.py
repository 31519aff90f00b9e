"""Stopping, following, and the tasks that the frozen contract does not have."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from listening import listening
from serving import add_key, begin, complete, finish, write_film
from starlette.testclient import TestClient

from unstatic.server import jobs
from unstatic.server.accounts import make_key, revoke_key
from unstatic.server.database import Database
from unstatic.server.routes import extras, incoming
from unstatic.server.state import Server
from unstatic.server.tables import Account


def ask(client: TestClient, path: str = "", **fields: object) -> dict[str, Any]:
    answer = client.post(f"/v1/videos{path}", json={"prompt": "a red ball"} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def events_of(client: TestClient, name: str) -> list[tuple[str, dict[str, Any]]]:
    answer = client.get(f"/v1/videos/{name}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = [each.split("\n") for each in answer.text.strip().split("\n\n")]
    return [(event[7:], json.loads(data[6:])) for event, data in found]


def test_f21_a_film_that_is_stopped_is_failed_and_paid_back(
    client: TestClient, server: Server, account: Account, tmp_path: Path
):
    waiting, running = ask(client, seconds=4), ask(client, seconds=4)
    assert begin(server) is not None
    for each in (waiting, running):
        for _ in range(2):
            said = client.post(f"/v1/videos/{each['id']}/cancel").json()
            assert (said["status"], said["error"]["code"]) == ("failed", "cancelled")
    with server.database.reading() as session:
        assert session.get_one(Account, account.id).balance == 1_000
    done = ask(client)
    finish(server, tmp_path)
    assert client.post(f"/v1/videos/{done['id']}/cancel").json()["status"] == "completed"


@contextmanager
def following(app: FastAPI, key: str, name: str) -> Iterator[Iterator[str]]:
    """Yield the lines that are told of a film while they come; it fails where nothing comes for long."""
    headers = {"Authorization": f"Bearer {key}"}
    with (
        listening(app) as address,
        httpx.stream("GET", f"{address}/videos/{name}/events", headers=headers, timeout=10) as answer,
    ):
        yield answer.iter_lines()


def test_a_film_is_followed_to_its_end(
    app: FastAPI, client: TestClient, server: Server, account: Account, tmp_path: Path, clock: Any
):
    said = ask(client)
    finish(server, tmp_path)
    ((event, state),) = events_of(client, said["id"])
    assert (event, state["status"], state["progress"], state["preview"]) == (
        "completed",
        "completed",
        100,
        None,
    )

    said = ask(client)
    found = begin(server)
    assert found is not None
    clock.now_s += 30
    with server.database.writing() as session:
        jobs.beat(session, found[0], 75)
    with following(app, add_key(server.database, account.id), said["id"]) as lines:
        assert next(lines) == "event: progress"
        told = json.loads(next(lines).removeprefix("data: "))
        assert (told["status"], told["progress"], told["time_left_s"]) == ("in_progress", 75, 10)
        assert told["preview"].endswith("/content?variant=preview")
        complete(server, found[0], tmp_path)
        assert [line for line in lines if line.startswith("event")] == ["event: completed"]


def test_the_time_that_is_left_is_told(client: TestClient, server: Server, clock: Any):
    from unstatic.server.routes.extras import time_left_s

    said = ask(client)
    found = begin(server)
    assert found is not None
    clock.now_s += 30
    with server.database.writing() as session:
        jobs.beat(session, found[0], 75)
    with server.database.reading() as session:
        job = session.get_one(jobs.Job, found[1].number)
        assert time_left_s(job, server.database.now()) == 10
    assert said["id"] == job.id


def test_f21_a_film_that_is_deleted_ends_its_events(
    app: FastAPI, client: TestClient, server: Server, account: Account
):
    said = ask(client)
    with following(app, add_key(server.database, account.id), said["id"]) as lines:
        assert next(lines) == "event: progress"
        client.delete(f"/v1/videos/{said['id']}")
        assert [line for line in lines if line][-2:] == ["event: deleted", "data: {}"]
    assert client.get(f"/v1/videos/{said['id']}/events").status_code == 404


def test_who_follows_a_film_hears_something_every_15_seconds(
    app: FastAPI, client: TestClient, server: Server, account: Account, monkeypatch: pytest.MonkeyPatch
):
    said, slept = ask(client), [0.0]

    async def sleep(seconds: float | int) -> None:
        """Let time pass quickly, but not for ever."""
        slept[0] += seconds
        assert slept[0] < 60
        await asyncio.sleep(0.001)

    monkeypatch.setattr(extras, "asyncio", SimpleNamespace(sleep=sleep))
    with following(app, add_key(server.database, account.id), said["id"]) as lines:
        for number in range(1, 4):
            next(line for line in lines if line.startswith(":"))
            assert slept[0] <= number * 16


def test_tasks_with_several_videos(client: TestClient, server: Server, tmp_path: Path):
    source = ask(client, size="96x64", seconds=4)
    finish(server, tmp_path)
    mine = {"video": {"id": source["id"]}}
    assert ask(client, "/loops", seconds=2, **mine)["seconds"] == "6"
    assert ask(client, "/recuts", start=1, end=2, after=3, **mine)["seconds"] == "4"
    assert ask(client, "/blends", seconds=1, other={"id": source["id"]}, **mine)["seconds"] == "9"
    film = write_film(tmp_path / "film.mp4", frames=16).read_bytes()
    files = {"video": ("a.mp4", film), "other": ("b.mp4", film)}
    answer = client.post("/v1/videos/blends", data={"prompt": "x", "seconds": "1"}, files=files)
    assert answer.json()["seconds"] == "3"


def test_a_storyboard_in_brackets_and_in_json(client: TestClient):
    cards = [{"at": 0, "prompt": "a ball"}, {"at": 2, "prompt": "a cube"}]
    said = client.post("/v1/videos/storyboards", json={"seconds": 4, "cards": cards}).json()
    assert said["prompt"] == "a ball / a cube"
    form = {
        "seconds": "4",
        "cards[0][at]": "0",
        "cards[0][prompt]": "a ball",
        "cards[1][at]": "2",
        "cards[1][prompt]": "a cube",
    }
    assert client.post("/v1/videos/storyboards", data=form).json()["prompt"] == said["prompt"]


def test_f28_an_account_follows_so_many_films_at_a_time(
    app: FastAPI,
    database: Database,
    account: Account,
    make_account: Callable[..., Account],
    client: TestClient,
    server: Server,
):
    path = f"/videos/{ask(client)['id']}"
    assert begin(server) is not None
    events, preview = f"{path}/events", f"{path}/content?variant=preview"
    keys = [add_key(database, each.id) for each in (account, make_account())]
    with listening(app) as address, httpx.Client(base_url=address, timeout=30) as asker:

        def follow(stack: ExitStack, path: str, key: str) -> int:
            headers = {"Authorization": f"Bearer {key}"}
            return stack.enter_context(asker.stream("GET", path, headers=headers)).status_code

        with ExitStack() as stack:
            for path in (events, preview) * 8:
                assert follow(stack, path, keys[0]) == 200
            for path in (events, preview):
                assert follow(stack, path, keys[0]) == 429
                assert follow(stack, path, keys[1]) == 404  # his own share is free
            assert follow(stack, "/videos", keys[0]) == 200
        for _ in range(600):  # who has gone is noticed soon
            with ExitStack() as stack:
                if (status := follow(stack, events, keys[0])) == 200:
                    break
        assert status == 200


def test_f31_who_follows_is_shut_out_when_the_key_is_revoked(
    app: FastAPI,
    client: TestClient,
    server: Server,
    database: Database,
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(incoming, "AGAIN_S", 0.3)
    films = [ask(client)["id"] for _ in range(2)]
    assert begin(server) is not None
    with database.writing() as session:
        key, text = make_key(session, account.id, "one", database.now())
    headers = {"Authorization": f"Bearer {text}"}
    paths = (f"{films[0]}/content?variant=preview", f"{films[1]}/events")
    with listening(app) as address, ExitStack() as stack:
        asker = stack.enter_context(httpx.Client(base_url=address, headers=headers, timeout=30))
        streams = [stack.enter_context(asker.stream("GET", f"/videos/{path}")) for path in paths]
        assert [each.status_code for each in streams] == [200, 200]
        with database.writing() as session:
            revoke_key(session, key.id, database.now())
        preview, events = (each.read() for each in streams)  # they end
    assert preview == b""
    assert events.count(b"event: progress") == 1
    assert b"deleted" not in events
