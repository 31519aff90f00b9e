"""`unstatic admin`, and what it lets clients of the server do."""

import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import postgres
import pytest
from serving import application, begin, client_of, fail
from starlette.testclient import TestClient

from unstatic.cli import admin
from unstatic.server import accounts, jobs
from unstatic.server.accounts import KEY_PREFIX, TIERS

Command = Callable[..., Any]
FILM = {"prompt": "a red ball, seen by nobody else", "seconds": 4}
PUBLIC = "http://93.184.216.34/hook"  # an address, so that no name is resolved


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return the folder of a server that holds nothing yet."""
    return tmp_path / "server"


@pytest.fixture
def operate(unstatic: Command, data: Path) -> Command:
    """Return a function that runs `unstatic admin` on that server and returns what it prints, stripped."""

    def command(*arguments: object) -> str:
        ran = unstatic("admin", *arguments, "--data", data)
        assert (ran.code, ran.files) == (0, []), ran.err
        return ran.out.strip()

    return command


@pytest.fixture
def read(operate: Command) -> Command:
    """Return a function that runs a command and returns its JSON."""
    return lambda *arguments: json.loads(operate(*arguments, "--json"))


@pytest.fixture
def refused(unstatic: Command, data: Path) -> Command:
    """Return a function that runs a command which fails by the user's doing, and returns its one line."""

    def command(*arguments: object) -> str:
        ran = unstatic("admin", *arguments, "--data", data)
        assert ran.code == 2
        return ran.complaint

    return command


@pytest.fixture
def alice(operate: Command) -> tuple[str, str]:
    """Return the id and a key of an account."""
    account, key = operate("account", "new", "alice", "--credits", 10, "--key").split("\n")
    return account, key


@pytest.fixture
def client(alice: tuple[str, str], data: Path) -> Iterator[TestClient]:
    """Yield a client that has her key, of a server on the same folder."""
    app = application(data.parent)
    with client_of(app, alice[1]) as opened:
        yield opened
    app.state.server.database.close()


@pytest.mark.parametrize("group", [[], *([each] for each in admin.GROUPS)])
def test_summaries_fit_their_lines(unstatic: Command, group: list[str]):
    text = unstatic("admin", *group, "--help").out.replace("[ARGS]...", "")
    assert "Commands:" in text
    assert "..." not in text


# --------------------------------------------------------------------------------------------------- accounts


def test_an_account_has_what_its_tier_gives(operate: Command, read: Command):
    plain = operate("account", "new", "bob")
    rich = read("account", "new", "carol", "--tier", "viewer", "--credits", 7, "--key")
    assert re.fullmatch(r"acct_[0-9a-f]{32}", plain)
    assert rich["key"].startswith(KEY_PREFIX)
    rows = {row["id"]: row for row in read("account", "list")}
    assert (rows[plain]["tier"], rows[plain]["balance"]) == ("creator", TIERS["creator"].credits)
    assert (rows[rich["id"]]["name"], rows[rich["id"]]["balance"]) == ("carol", 7)

    operate("account", "change", plain, "--tier", "red_team")
    assert {row["id"]: row["tier"] for row in read("account", "list")}[plain] == "red_team"


def test_a_table_has_a_line_for_every_row(operate: Command, alice: tuple[str, str]):
    head, line = operate("account", "list").splitlines()
    assert head.split() == ["id", "name", "tier", "balance", "created", "disabled"]
    assert line.split()[:4] == [alice[0], "alice", "creator", "10"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d +-", line[line.index("10 ") + 2 :].strip())
    assert line.index("alice") == head.index("name")


def test_an_account_that_is_disabled_is_let_in_again(
    operate: Command, alice: tuple[str, str], client: TestClient
):
    assert client.get("/v1/videos").status_code == 200
    operate("account", "disable", alice[0])
    assert client.get("/v1/videos").json()["error"]["code"] == "account_disabled"
    operate("account", "disable", alice[0], "--undo")
    assert client.get("/v1/videos").status_code == 200


# ----------------------------------------------------------------------------------------- keys and invites


def test_a_key_opens_the_server_until_it_is_revoked(
    operate: Command, read: Command, alice: tuple[str, str], client: TestClient, data: Path
):
    text = operate("key", "new", alice[0], "--name", "laptop", "--days", 2)
    headers = {"Authorization": f"Bearer {text}"}
    assert client.get("/v1/videos", headers=headers).status_code == 200
    first, second = sorted(read("key", "list", "--account", alice[0]), key=lambda row: row["name"])
    assert (first["name"], second["name"]) == ("first", "laptop")
    assert second["expires_at"] - second["created_at"] == 2 * admin.DAY_S
    assert text.endswith(second["shown"][-4:])
    assert read("key", "list", "--account", "acct_other") == []
    for listed in (operate("key", "list"), *(file.read_bytes() for file in data.glob("jobs.sqlite*"))):
        assert (text if isinstance(listed, str) else text.encode()) not in listed, "only its hash is kept"

    operate("key", "revoke", second["id"])
    assert client.get("/v1/videos", headers=headers).status_code == 401
    assert client.get("/v1/videos").status_code == 200


def test_an_invite_makes_an_account_of_its_tier(operate: Command, read: Command, data: Path):
    code = operate("invite", "new", "--tier", "viewer", "--credits", 3, "--days", 1)
    app = application(data.parent)
    database = app.state.server.database
    now = database.now()
    with database.writing() as session:
        made, _ = accounts.redeem(session, code, "dave", now, arrived=now, window_s=0.0)
    database.close()
    (row,) = read("invite", "list")
    assert (row["account_id"], row["tier"], row["credits"]) == (made.id, "viewer", 3)
    assert row["expires_at"] == row["created_at"] + admin.DAY_S
    assert code not in operate("invite", "list")


# --------------------------------------------------------------------------------------------------- credits


def test_credits_are_given_taken_and_shown(
    operate: Command, read: Command, refused: Command, alice: tuple[str, str], client: TestClient
):
    account = alice[0]
    assert operate("credits", "give", account, 5, "--reason", "a prize") == "15"
    assert operate("credits", "give", account, 3, "--take") == "12"
    message = refused("credits", "give", account, 13, "--take")
    assert message == "unstatic: 13 credits cannot be taken: the account has 12"
    assert client.post("/v1/videos", json=FILM).status_code == 200
    shown = read("credits", "show", account)
    assert (shown["balance"], shown["reserved"]) == (8, 4)
    moved = [(each["reason"], each["pot"], each["amount"]) for each in shown["entries"]]
    assert moved == [
        ("opened", "available", 10),
        ("a prize", "available", 5),
        ("given", "available", -3),
        ("job", "available", -4),
        ("job", "reserved", 4),
    ]
    assert operate("credits", "show", account).splitlines()[-1] == "8 to spend, 4 put aside for jobs"


def test_what_only_looks_works_on_postgresql_which_lets_it_lock_nothing(
    operate: Command, refused: Command, monkeypatch: pytest.MonkeyPatch
):
    if (programs := postgres.found()) is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: .ci/run installs it")
        pytest.skip("PostgreSQL is not installed")
    with postgres.running(programs) as folder:
        monkeypatch.setenv("UNSTATIC_SERVE_DATABASE", postgres.url(folder, "postgres"))
        account = operate("account", "new", "alice", "--credits", 10)
        assert operate("credits", "show", account).splitlines()[-1] == "10 to spend, 0 put aside for jobs"
        assert "is unknown" in refused("credits", "show", "acct_none")
        for group in ("account", "key", "invite", "jobs", "endpoint"):
            operate(group, "list")
        operate("report")


# ------------------------------------------------------------------------------------------------------ jobs


def test_jobs_are_listed_without_their_prompts_and_cancelled(
    operate: Command, read: Command, refused: Command, alice: tuple[str, str], client: TestClient
):
    first, second = (client.post("/v1/videos", json=FILM | {"seed": seed}).json()["id"] for seed in (1, 2))
    assert [row["id"] for row in read("jobs", "list")] == [second, first]
    assert [row["id"] for row in read("jobs", "list", "--limit", 1)] == [second]
    assert read("jobs", "list", "--account", "acct_other") == []
    assert FILM["prompt"] not in operate("jobs", "list") + operate("jobs", "list", "--json")

    operate("jobs", "cancel", first)
    answer = client.get(f"/v1/videos/{first}").json()
    assert (answer["status"], answer["error"]["code"]) == ("failed", "cancelled")
    assert read("credits", "show", alice[0])["balance"] == 6
    assert [row["id"] for row in read("jobs", "list", "--status", "queued")] == [second]
    assert "is failed" in refused("jobs", "cancel", first)
    client.delete(f"/v1/videos/{second}")
    assert "is unknown" in refused("jobs", "cancel", second)


def test_a_job_that_is_made_is_taken_from_its_worker(operate: Command, client: TestClient):
    client.post("/v1/videos", json=FILM)
    server = client.app.state.server
    found = begin(server)
    assert found is not None
    operate("jobs", "cancel", found[0].job_id)
    with pytest.raises(jobs.LostLeaseError), server.database.writing() as session:
        jobs.beat(session, found[0], 50)


def test_a_job_goes_to_another_worker(operate: Command, refused: Command, client: TestClient):
    made = client.post("/v1/videos", json=FILM).json()["id"]
    server = client.app.state.server
    assert "is waiting" in refused("jobs", "requeue", made)
    first = begin(server)
    operate("jobs", "requeue", made)
    second = begin(server, "two")
    assert first is not None
    assert second is not None
    assert (second[0].job_id, second[0].fence) == (made, first[0].fence + 1)


def test_the_report_counts_jobs_and_credits(
    operate: Command, read: Command, alice: tuple[str, str], client: TestClient
):
    idle = operate("account", "new", "bob", "--credits", 1)
    for seed in (1, 2):
        client.post("/v1/videos", json=FILM | {"seed": seed})
    fail(client.app.state.server, "out_of_memory", "too large")
    report = read("report")
    rows = {row["account_id"]: row for row in report["accounts"]}
    mine = {"queued": 1, "in_progress": 0, "completed": 0, "failed": 1, "balance": 6, "reserved": 4}
    assert rows[alice[0]].items() >= mine.items()
    assert rows[idle].items() >= {"queued": 0, "failed": 0, "balance": 1, "reserved": 0}.items()
    assert report["waiting"] == 1
    assert 0 <= report["oldest_waiting_s"] < 60
    assert re.fullmatch(r"1 waiting, the oldest for \d+ s", operate("report").splitlines()[-1])


# ------------------------------------------------------------------------------------------------- endpoints


def test_an_endpoint_is_made_given_a_new_secret_and_disabled(
    operate: Command, read: Command, alice: tuple[str, str]
):
    secret = operate("endpoint", "new", alice[0], PUBLIC, "--name", "hook", "--event", "video.failed")
    assert secret.startswith("whsec_")
    (row,) = read("endpoint", "list", "--account", alice[0])
    assert (row["url"], row["name"], row["events"]) == (PUBLIC, "hook", ["video.failed"])
    assert (row["failing_since"], row["disabled_at"]) == (None, None)
    assert secret not in operate("endpoint", "list")

    rotated = operate("endpoint", "rotate", row["id"])
    assert rotated.startswith("whsec_")
    assert rotated != secret
    assert operate("endpoint", "rotate", row["id"], "--forget") not in (secret, rotated)
    operate("endpoint", "disable", row["id"])
    assert read("endpoint", "list")[0]["disabled_at"] is not None
    operate("endpoint", "disable", row["id"], "--undo")
    assert read("endpoint", "list")[0]["disabled_at"] is None


# -------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["account", "new", "x", "--tier", "king"], "tier 'king' is unknown: take one of admin"),
        (["account", "new", "x", "--credits", "many"], "'many' is not a whole number"),
        (["account", "new", "x", "--credits", -1], "-1 credits cannot be given"),
        (["account", "new", "x", "--credits", 10**30], "credits cannot be given: give 0 to"),
        (["account", "new", ""], "must have 1 to 80 characters"),
        (["account", "new", "a\x1b[2J"], "that can be printed"),
        (["account", "change", "nobody", "--tier", "viewer"], "account 'nobody' is unknown"),
        (["account", "disable", "nobody"], "account 'nobody' is unknown"),
        (["key", "new", "nobody"], "account 'nobody' is unknown"),
        (["key", "new", "ALICE", "--days", 0], "cannot last 0 seconds"),
        (["key", "new", "ALICE", "--days", 10**20], "cannot last"),
        (["key", "revoke", "nothing"], "key 'nothing' is unknown"),
        (["invite", "new", "--tier", "king"], "tier 'king' is unknown"),
        (["invite", "new", "--days", -3], "cannot last"),
        (["credits", "give", "nobody", 1], "account 'nobody' is unknown"),
        (["credits", "give", "ALICE", 0], "0 credits cannot be given: give 1 to"),
        (["credits", "give", "ALICE", 10**30], "give 1 to"),
        (["credits", "show", "nobody"], "account 'nobody' is unknown"),
        (["jobs", "list", "--status", "done"], "status 'done' is unknown: take one of queued"),
        (["jobs", "list", "--limit", 0], "limit is 0"),
        (["jobs", "requeue", "nothing"], "job 'nothing' is unknown"),
        (["jobs", "cancel", "nothing"], "job 'nothing' is unknown"),
        (["endpoint", "new", "nobody", PUBLIC], "account 'nobody' is unknown"),
        (["endpoint", "new", "ALICE", "http://127.0.0.1/"], "URL"),
        (["endpoint", "new", "ALICE", "file:///etc/passwd"], "must begin with https://"),
        (["endpoint", "new", "ALICE", PUBLIC, "--event", "video.begun"], "event 'video.begun' is unknown"),
        (["endpoint", "rotate", "nothing"], "endpoint 'nothing' is unknown"),
        (["endpoint", "disable", "nothing"], "endpoint 'nothing' is unknown"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(
    read: Command, refused: Command, alice: tuple[str, str], arguments: list[object], message: str
):
    before = [read("report"), read("key", "list"), read("invite", "list"), read("endpoint", "list")]
    assert message in refused(*(alice[0] if each == "ALICE" else each for each in arguments))
    after = [read("report"), read("key", "list"), read("invite", "list"), read("endpoint", "list")]
    assert before == after


def test_names_that_clients_choose_do_nothing_to_a_terminal(operate: Command, client: TestClient):
    name = "red\x1b[31m\nline"
    made = client.post("/v1/webhook_endpoints", json={"url": PUBLIC, "name": name})
    assert made.status_code == 200, made.text
    assert "red?[31m?line" in operate("endpoint", "list")


@pytest.mark.parametrize("command", [("report",), ("account", "list"), ("jobs", "cancel", "x")])
def test_a_missing_extra_is_said_in_one_line(
    refused: Command, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
):
    monkeypatch.delattr("unstatic.server")  # given back with the modules: else a name leads to the new one
    for name in [each for each in sys.modules if each.startswith("unstatic.server")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("pydantic_settings", "sqlalchemy"):
        monkeypatch.setitem(sys.modules, name, None)
    assert refused(*command).endswith("is not installed: pip install 'unstatic[server]'")


def test_an_account_has_few_endpoints(operate: Command, refused: Command, alice: tuple[str, str]):
    for _ in range(10):
        operate("endpoint", "new", alice[0], PUBLIC)
    assert "at most 10 webhook endpoints" in refused("endpoint", "new", alice[0], PUBLIC)


def test_an_empty_server_says_how_to_begin(unstatic: Command, data: Path):
    for group, what in (
        ("account", "account"),
        ("key", "key"),
        ("invite", "invite"),
        ("endpoint", "endpoint"),
    ):
        ran = unstatic("admin", group, "list", "--data", data)
        assert (ran.code, ran.out) == (0, "")
        assert f"make one with `unstatic admin {what} new`" in ran.err
    assert unstatic("admin", "report", "--data", data).out == "0 waiting\n"


def test_f9_a_database_that_is_none_is_said_in_one_line(unstatic: Command, data: Path):
    data.mkdir()
    (data / "jobs.sqlite").write_bytes(b"no database" * 1_000)
    ran = unstatic("admin", "account", "list", "--data", data)
    assert ran.code == 1
    assert ran.complaint == "unstatic: the server's database cannot be used: file is not a database"


def test_f9_a_table_that_is_gone_is_said_in_one_line(unstatic: Command, operate: Command, data: Path):
    operate("account", "new", "alice")
    connection = sqlite3.connect(data / "jobs.sqlite")
    connection.execute("DROP TABLE keys")
    connection.close()
    ran = unstatic("admin", "key", "list", "--data", data)
    assert (ran.code, ran.complaint.startswith("unstatic: the server's database cannot be used: ")) == (
        1,
        True,
    )
