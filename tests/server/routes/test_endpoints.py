"""/v1/webhook_endpoints, as the official client manages them."""

import threading
import time
from collections.abc import Callable, Iterator

import httpx
import openai
import pytest
import uvicorn
from fastapi import FastAPI
from listening import listening
from serving import add_key, application, client_of
from sqlalchemy import func, select
from starlette.testclient import TestClient

from unstatic.server import jobs, webhooks
from unstatic.server.database import Database
from unstatic.server.fetching import FetchError
from unstatic.server.tables import Account, Delivery, Endpoint, Job

MakeAccount = Callable[..., Account]
URL = "https://127.0.0.1/hook"
PATH = "/v1/webhook_endpoints"


@pytest.fixture
def app(database: Database, tmp_path) -> FastAPI:
    """Return the application of a server to whom the loopback is public."""
    return application(tmp_path, database, allowed_networks=("127.0.0.0/8",))


@pytest.fixture
def official(app: FastAPI, database: Database, account: Account) -> Iterator[openai.OpenAI]:
    """Yield the official client of a server that runs."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    key = add_key(database, account.id)
    with openai.OpenAI(api_key=key, base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as opened:
        yield opened
    server.should_exit = True
    thread.join()


def make(client: TestClient, **fields: object) -> dict[str, object]:
    answer = client.post(PATH, json={"url": URL} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_f47_the_official_client_manages_endpoints(official: openai.OpenAI, database: Database):
    events = ["video.completed", "video.failed"]
    made = official.webhooks.create(event_types=events, name="mine", url=URL)
    assert (made.object, made.name, made.url, made.event_types) == ("webhook_endpoint", "mine", URL, events)
    assert made.created_at == database.now()
    assert made.signing_secret.startswith("whsec_")
    assert [each.id for each in official.webhooks.list()] == [made.id]
    found = official.webhooks.retrieve(made.id)
    assert found.signing_secret_hint == f"whsec_...{made.signing_secret[-4:]}"
    assert made.signing_secret not in found.to_json()

    changed = official.webhooks.update(made.id, name="other", event_types=["video.failed"])
    assert (changed.name, changed.url, changed.event_types) == ("other", URL, ["video.failed"])
    kept = official.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    with database.reading() as session:
        row = session.get_one(Endpoint, made.id)
    assert (row.secret, row.old_secret) == (kept.signing_secret, made.signing_secret)
    official.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=False)
    with database.reading() as session:
        assert session.get_one(Endpoint, made.id).old_secret is None

    gone = official.webhooks.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "webhook_endpoint.deleted")
    with pytest.raises(openai.NotFoundError):
        official.webhooks.retrieve(made.id)


def test_pages_follow_each_other(official: openai.OpenAI, clock):
    made: list[str] = []
    for _ in range(3):
        made.append(official.webhooks.create(event_types=["video.failed"], name="", url=URL).id)
        clock.now_s += 1
    page = official.webhooks.list(limit=2)
    assert page.has_more
    assert [each.id for each in page] == made[::-1]  # the client turns the pages


def test_a_disabled_endpoint_hears_nothing_until_it_is_enabled(
    client: TestClient, database: Database, account: Account
):
    path = f"{PATH}/{make(client)['id']}"
    end_a_job(database, account)
    assert client.post(path, json={"disabled": True}).json()["disabled_at"] == database.now()
    end_a_job(database, account)
    assert count(database) == 0
    assert client.post(path, json={"disabled": False}).json()["disabled_at"] is None
    end_a_job(database, account)
    assert count(database) == 1
    assert client.delete(path).json()["deleted"] is True
    assert count(database) == 0


def end_a_job(database: Database, account: Account) -> None:
    asked = jobs.Asked(kind="video", model="nano", prompt="p", spec={}, size="128x128", seconds=4.0, cost=1)
    with database.writing() as session:
        job: Job = jobs.create(session, session.get_one(Account, account.id), asked, database.now())
        jobs.cancel(session, job, database.now())


def count(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(Delivery)) or 0


@pytest.mark.parametrize("path", ["", "/rotate_secret"])
def test_f19_a_request_that_is_sent_again_makes_no_second_secret(path: str, client: TestClient):
    made = make(client)
    where = f"{PATH}/{made['id']}{path}" if path else PATH
    body = {} if path else {"url": URL, "name": "again"}
    first = client.post(where, json=body)
    again = client.post(where, json=body, headers={"x-stainless-retry-count": "1"})
    assert first.status_code == 200
    assert again.json() == first.json()
    assert len(client.get(PATH).json()["data"]) == (1 if path else 2)


def test_f19_a_request_is_sent_again_while_no_name_is_resolved(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    def unresolved(*_: object) -> None:
        raise FetchError("127.0.0.1 is not found", "url_fetch_failed")

    key = {"Idempotency-Key": "k"}
    first = client.post(PATH, json={"url": URL}, headers=key)
    monkeypatch.setattr("unstatic.server.routes.endpoints.check_target", unresolved)
    assert client.post(PATH, json={"url": URL}, headers=key).json() == first.json()
    assert client.post(PATH, json={"url": URL}).status_code == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "ftp://127.0.0.1/"},
        {"url": "https://10.0.0.1/"},
        {"url": "https://127.0.0.1:22/"},
        {"url": "https://me@127.0.0.1/"},
        {"url": "data:image/png;base64,AAAA"},
        {"url": ""},
        {"url": 7},
        {},
        {"url": URL, "event_types": ["video.completed", "batch.completed"]},
        {"url": URL, "event_types": []},
        {"url": URL, "secret": "mine"},
        {"url": URL, "name": "n" * 201},
    ],
)
def test_f37_what_is_no_endpoint_is_refused(client: TestClient, fields: dict[str, object]):
    answer = client.post(PATH, json=fields)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] in {"url", "event_types", "event_types[1]", "secret", "name"}
    assert client.get(PATH).json()["data"] == []


def test_f32_endpoints_of_others_are_not_there(
    app: FastAPI, client: TestClient, database: Database, make_account: MakeAccount
):
    mine = make(client)["id"]
    with client_of(app, add_key(database, make_account().id)) as other:
        assert other.get(PATH).json()["data"] == []
        for name in (mine, "we_" + "0" * 32, "../x", "%2e%2e", "a" * 300):
            answers = [
                other.get(f"{PATH}/{name}"),
                other.delete(f"{PATH}/{name}"),
                other.post(f"{PATH}/{name}", json={"name": "x"}),
                other.post(f"{PATH}/{name}/rotate_secret", json={}),
            ]
            assert {answer.status_code for answer in answers} <= {404, 405}
        assert other.get(PATH, params={"after": mine}).status_code == 404
    assert client.get(f"{PATH}/{mine}").status_code == 200


def test_f31_without_a_key_there_is_nothing(app: FastAPI, client: TestClient):
    make(client)
    with client_of(app) as stranger:
        assert stranger.get(PATH).status_code == 401
        assert stranger.post(PATH, json={"url": URL}).status_code == 401


def test_an_account_has_so_many(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    for _ in range(webhooks.MOST_ENDPOINTS):
        make(client)
    looked_up: list[object] = []
    monkeypatch.setattr(
        "unstatic.server.routes.endpoints.check_target", lambda *given: looked_up.append(given)
    )
    answer = client.post(PATH, json={"url": URL})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_endpoints")
    assert client.post(f"{PATH}/we_{'0' * 32}", json={"url": URL}).status_code == 404
    assert looked_up == []


def test_f27_names_that_take_long_to_be_resolved_keep_nobody_else_waiting(
    app: FastAPI,
    database: Database,
    account: Account,
    make_account: MakeAccount,
    monkeypatch: pytest.MonkeyPatch,
):
    arrived, answers = threading.Event(), list[int]()
    monkeypatch.setattr("unstatic.server.fetching._addresses", lambda *_: [arrived.wait(60), "127.0.0.1"][1:])
    keys = [add_key(database, each.id) for each in (account, make_account())]
    ada, bob = ({"Authorization": f"Bearer {each}"} for each in keys)
    body = {"url": "https://slow.example.org/hook"}
    with listening(app) as address:
        where = f"{address}/webhook_endpoints"

        def post() -> None:
            answers.append(httpx.post(where, json=body, headers=ada, timeout=60).status_code)

        posts = [threading.Thread(target=post) for _ in range(50)]
        for each in posts:
            each.start()
        try:
            until_s = time.monotonic() + 30
            while len(answers) < 48 and time.monotonic() < until_s:
                time.sleep(0.02)
            assert answers == [429] * 48
            assert httpx.get(f"{address}/videos", headers=bob, timeout=10).status_code == 200
        finally:
            arrived.set()
            for each in posts:
                each.join()
        assert sorted(answers) == [200] * 2 + [429] * 48
        assert httpx.post(where, json=body, headers=ada).status_code == 200
