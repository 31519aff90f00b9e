"""One job for one wish: by key, by retries of the official client, at once and after a restart."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from listening import working
from serving import add_key, application, client_of, finish, write_image
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from unstatic.server import jobs
from unstatic.server.database import Database
from unstatic.server.idempotency import attempt_of
from unstatic.server.routes import incoming
from unstatic.server.schemas import CreateBody, EditBody
from unstatic.server.state import Server
from unstatic.server.sweep import STEADY_S, Sweeper
from unstatic.server.tables import Account, Job

MakeAccount = Callable[..., Account]
BODY = {"prompt": "a red ball", "seconds": 4}
KEY = {"Idempotency-Key": "once-only"}
RETRY = {"x-stainless-retry-count": "1"}


def ask(client: TestClient, headers: dict[str, str] | None = None, **fields: object) -> dict[str, Any]:
    answer = client.post("/v1/videos", json=BODY | fields, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def count(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def test_f15_twenty_at_once_with_one_key_are_one_job(client: TestClient, database: Database):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask(client, KEY), range(20)))
    assert len({each["id"] for each in answers}) == 1
    assert all(each == answers[0] for each in answers)
    assert count(database) == 1


def test_f16_one_key_for_another_body_is_422(client: TestClient, database: Database):
    ask(client, KEY)
    answer = client.post("/v1/videos", json=BODY | {"prompt": "a blue ball"}, headers=KEY)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "idempotency_key_reused"
    assert count(database) == 1


def test_f16_what_counts_is_what_is_said_and_the_bytes_of_files(client: TestClient, tmp_path: Path):
    first = ask(client, KEY)
    for seconds in ("4", 4.0):
        assert ask(client, KEY, seconds=seconds) == first
    form = client.post("/v1/videos", data={"prompt": BODY["prompt"], "seconds": "4"}, headers=KEY)
    assert form.json() == first
    path, key = write_image(tmp_path / "a.png"), {"Idempotency-Key": "with-a-file"}
    codes = []
    for data in (path.read_bytes(), path.read_bytes(), path.read_bytes() + b"x"):
        files = {"input_reference": ("a.png", data)}
        codes.append(client.post("/v1/videos", data=BODY, files=files, headers=key).status_code)
    assert codes == [200, 200, 422]


def test_f17_one_key_of_two_accounts_is_two_jobs(
    client: TestClient, database: Database, make_account: MakeAccount
):
    first = ask(client, KEY)
    with client_of(client.app, add_key(database, make_account().id)) as other:
        assert ask(other, KEY)["id"] != first["id"]
    assert count(database) == 2


def test_f18_a_key_is_known_after_a_restart_after_deletion_and_not_for_ever(
    client: TestClient, database: Database, account: Account, server: Server, tmp_path: Path, clock: Any
):
    first = ask(client, KEY)
    finish(server, tmp_path)
    again = application(
        tmp_path / "again", Database(database.engine.url.render_as_string(False), clock=clock)
    )
    with client_of(again, add_key(database, account.id)) as restarted:
        assert ask(restarted, KEY) == first  # as it was answered first: queued
    again.state.server.database.close()
    client.delete(f"/v1/videos/{first['id']}")
    replayed = ask(client, KEY)
    assert replayed == first | {"prompt": ""}  # the words are forgotten
    assert count(database) == 1
    clock.now_s += server.settings.remember + 1
    assert ask(client, KEY)["id"] != first["id"]
    assert client.post("/v1/videos", json=BODY | {"seed": 1}, headers=KEY).status_code == 422


def test_f19_an_answer_that_got_lost_is_given_again(client: TestClient, database: Database):
    first = ask(client)  # the client sees nothing of it
    assert ask(client, RETRY) == first
    assert ask(client, {"x-stainless-retry-count": "2"}) == first
    assert count(database) == 1


def test_f20_only_retries_of_the_same_body_in_a_short_time_are_taken_for_one(
    client: TestClient, database: Database, server: Server, make_account: MakeAccount, clock: Any
):
    first = ask(client)
    ids = {first["id"], ask(client)["id"], ask(client, RETRY, seed=3)["id"]}
    with client_of(client.app, add_key(database, make_account().id)) as other:
        ids.add(ask(other, RETRY)["id"])
    clock.now_s += server.settings.retry_window + 1
    ids.add(ask(client, RETRY)["id"])
    assert len(ids) == count(database) == 5


def test_f20_pictures_that_are_waited_for_are_not_made_twice(
    client: TestClient, database: Database, server: Server, tmp_path: Path, clock: Any
):
    body = {"prompt": "a red cube", "size": "96x64"}
    sweeper = Sweeper(database, server.storage, server.settings, monotonic=clock)
    sweeper.look()
    clock.now_s += STEADY_S

    def draw(headers: dict[str, str] | None = None) -> Any:
        return client.post("/v1/images/generations", json=body, headers=headers).json()["data"]

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(draw)  # its client waits for less than the queue is long
        while count(database) == 0:
            time.sleep(0.02)
        clock.now_s += server.settings.retry_window + 1
        sweeper.look()
        second = pool.submit(draw, RETRY)
        time.sleep(0.5)
        with working(server, tmp_path):
            assert first.result() == second.result()
    assert count(database) == 1
    clock.now_s += server.settings.retry_window
    sweeper.look()
    assert draw(RETRY) == first.result()  # that was the third one's time-out
    assert count(database) == 1
    clock.now_s += 1
    with working(server, tmp_path):
        draw(RETRY)
    assert count(database) == 2


def test_f8_a_transaction_that_fails_leaves_no_files(
    client: TestClient, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise OperationalError("INSERT", {}, Exception("the disk is full"))

    files = {"input_reference": ("a.png", write_image(tmp_path / "a.png").read_bytes())}
    with monkeypatch.context() as patched:
        patched.setattr(jobs, "create", fail)
        assert client.post("/v1/videos", data=BODY, files=files).status_code == 503
    assert list(server.storage.list("uploads")) == []

    engine = server.database.engine
    for number in (1, 2):  # the first to write is the note that the key was used
        commits: list[object] = []

        def on_commit(_: object, number: int = number, commits: list[object] = commits) -> None:
            commits.append(None)
            if len(commits) == number:
                fail()

        event.listen(engine, "commit", on_commit)
        said = client.post("/v1/videos", data=BODY, files=files).status_code
        event.remove(engine, "commit", on_commit)
        assert said in (200, 503)
    assert count(server.database) == len(list(server.storage.list("uploads")))


def test_f19_what_was_written_keeps_its_files_though_nobody_could_be_told(
    client: TestClient, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = {"input_reference": ("a.png", write_image(tmp_path / "a.png").read_bytes())}
    writing, broken = server.database.writing, []

    @contextmanager
    def breaking() -> Iterator[Session]:
        with writing() as session:
            yield session
            made = session.scalar(select(func.count()).select_from(Job))
        if made and not broken:
            broken.append(made)
            raise OperationalError("COMMIT", {}, Exception("the line is dead"))

    with monkeypatch.context() as patched:
        patched.setattr(server.database, "writing", breaking)
        assert client.post("/v1/videos", data=BODY, files=files).status_code == 503
    assert count(server.database) == 1
    assert len(list(server.storage.list("uploads"))) == 1
    again = client.post("/v1/videos", data=BODY, files=files, headers=RETRY)
    assert again.status_code == 200
    assert count(server.database) == len(list(server.storage.list("uploads"))) == 1


def test_what_was_refused_is_not_remembered(
    client: TestClient, database: Database, make_account: MakeAccount
):
    poor = make_account(balance=1)
    with client_of(client.app, add_key(database, poor.id)) as other:
        assert other.post("/v1/videos", json=BODY, headers=KEY).status_code == 429
        assert other.post("/v1/videos", json=BODY | {"seconds": 1}, headers=KEY).status_code == 200


def test_files_that_no_job_needs_are_taken_back(
    client: TestClient, server: Server, make_account: MakeAccount, tmp_path: Path
):
    poor, path = make_account(balance=1), write_image(tmp_path / "a.png")
    with client_of(client.app, add_key(server.database, poor.id)) as other:
        files = {"input_reference": ("a.png", path.read_bytes())}
        assert other.post("/v1/videos", data=BODY, files=files).status_code == 429
    assert list(server.storage.list("uploads")) == []


def test_f29_the_last_credit_is_spent_once(client: TestClient, database: Database, make_account: MakeAccount):
    poor = make_account(balance=1)
    with client_of(client.app, add_key(database, poor.id)) as other, ThreadPoolExecutor(8) as pool:
        codes = list(
            pool.map(lambda n: other.post("/v1/videos", json=BODY | {"seconds": 1, "seed": n}), range(8))
        )
    assert sorted(each.status_code for each in codes) == [200] + [429] * 7
    assert {each.json()["error"]["code"] for each in codes if each.status_code == 429} == {
        "insufficient_quota"
    }


def test_f29_a_wish_is_not_refused_for_what_itself_took(
    client: TestClient,
    database: Database,
    make_account: MakeAccount,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    key, picture = add_key(database, make_account(balance=1).id), write_image(tmp_path / "a.png").read_bytes()
    check_room, answers = incoming._check_room, list[Any]()

    def send() -> None:
        with client_of(client.app, key) as other:
            files = {"input_reference": ("a.png", picture)}
            answers.append(other.post("/v1/videos", data=BODY | {"seconds": 1}, files=files, headers=KEY))

    def check_late(*given: Any) -> None:
        monkeypatch.setattr(incoming, "_check_room", check_room)
        send()  # the same wish takes the last credit before this one is looked at
        check_room(*given)

    monkeypatch.setattr(incoming, "_check_room", check_late)
    send()
    assert [each.status_code for each in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert count(database) == 1


def test_f20_a_request_that_its_retry_overtakes_makes_no_second_job(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch, clock: Any
):
    check_room, retried = incoming._check_room, list[dict[str, Any]]()

    def check_late(*given: Any) -> None:
        monkeypatch.setattr(incoming, "_check_room", check_room)
        clock.now_s += 60  # the client has given up waiting
        retried.append(ask(client, RETRY))
        check_room(*given)

    monkeypatch.setattr(incoming, "_check_room", check_late)
    assert [ask(client)] == retried
    assert count(database) == 1
    assert ask(client) not in retried  # whoever comes later wants another one
    assert count(database) == 2


def test_digests_differ_by_route_and_field():
    create = attempt_of({}, "/v1/videos", CreateBody(prompt="x"), {})
    assert create == attempt_of({"idempotency-key": "k"}, "/v1/videos", CreateBody(prompt="x"), {}).__class__(
        None, False, create.digest
    )
    others = [
        attempt_of({}, "/v1/videos/edits", EditBody(prompt="x"), {}),
        attempt_of({}, "/v1/videos", CreateBody(prompt="y"), {}),
        attempt_of({}, "/v1/videos", CreateBody(prompt="x", seed=1), {}),
    ]
    assert len({create.digest, *(each.digest for each in others)}) == 4


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "\u00e9"])
def test_a_key_that_is_none_is_refused(client: TestClient, key: str):
    answer = client.post("/v1/videos", json=BODY, headers={"Idempotency-Key": key.encode()})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_idempotency_key")
