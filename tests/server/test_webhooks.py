"""Endpoints are told what happened: signed, again and again until they listen, by one of several senders."""

import base64
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import openai
import pytest
from sqlalchemy import func, select, update

from unstatic.core.errors import UnstaticError
from unstatic.server import jobs, queue, webhooks
from unstatic.server.database import Database
from unstatic.server.errors import ApiError
from unstatic.server.tables import Account, Delivery, Endpoint, Job
from unstatic.server.webhooks import DAY_S, LONGEST_WAIT_S, WEEK_S, Answer, Sender

MakeAccount = Callable[..., Account]
TIMEOUT_S = 0.5


class Receiver:
    """A server on the loopback that behaves as the path says, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, str], bytes]] = []
        self.codes: dict[str, int] = {}
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.told.append((self.path, headers, body))
                if self.path == "/hangs":
                    receiver.released.wait(10)
                self.send_response(receiver.codes.get(self.path, 204))
                if self.path == "/redirects":
                    self.send_header("location", f"{receiver.url}/elsewhere")
                if self.path == "/later":
                    self.send_header("retry-after", "600")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.told]

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


def post(url: str, body: bytes, headers: dict[str, str], *, timeout_s: float | int = TIMEOUT_S) -> Answer:
    try:
        answer = httpx.post(url, content=body, headers=headers, timeout=timeout_s)
    except httpx.HTTPError as error:
        raise UnstaticError(str(error)) from None
    return Answer(answer.status_code, answer.headers.get("retry-after", ""))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


@pytest.fixture
def sender(database: Database) -> Iterator[Sender]:
    opened = Sender(database, post, dice=random.Random(1))
    yield opened
    opened.close()


def listen(database: Database, account: Account, url: str) -> Endpoint:
    with database.writing() as session:
        return webhooks.make(session, account.id, url, database.now())


def end_a_job(database: Database, account: Account) -> str:
    """Let a job fail; its account is told in the same transaction."""
    asked = jobs.Asked(kind="video", model="nano", prompt="p", spec={}, size="128x128", seconds=4.0, cost=1)
    with database.writing() as session:
        job = jobs.create(session, session.get_one(Account, account.id), asked, database.now())
        jobs.cancel(session, job, database.now())
        return job.id


def look(sender: Sender) -> int:
    begun = sender.look()
    sender.finish()
    return begun


def row(database: Database) -> Delivery:
    with database.reading() as session:
        return session.scalars(select(Delivery)).one()


def endpoint_of(database: Database) -> Endpoint:
    with database.reading() as session:
        return session.scalars(select(Endpoint)).one()


def unwrap(secret: str, headers: dict[str, str], body: bytes) -> object:
    return openai.OpenAI(api_key="none").webhooks.unwrap(body, headers, secret=secret)


def test_f47_the_client_verifies_what_it_is_told(
    database: Database, make_account: MakeAccount, receiver: Receiver, clock, sender: Sender
):
    clock.now_s = time.time()
    account = make_account()
    endpoint = listen(database, account, f"{receiver.url}/hook")
    job_id = end_a_job(database, account)
    assert look(sender) == 1
    [(_, headers, body)] = receiver.told
    unwrap(endpoint.secret, headers, body)
    assert json.loads(body) == {
        "id": headers["webhook-id"],
        "object": "event",
        "created_at": database.now(),
        "type": "video.failed",
        "data": {"id": job_id},
    }
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(endpoint.secret, headers, body.replace(b"failed", b"completed"))
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(webhooks.new_secret(), headers, body)
    assert look(sender) == 0
    assert row(database).delivered_at == database.now()


def test_a_completed_video_is_told_and_a_deleted_one_is_not(
    database: Database, make_account: MakeAccount, receiver: Receiver, sender: Sender
):
    account = make_account()
    listen(database, account, f"{receiver.url}/hook")
    asked = jobs.Asked(kind="video", model="nano", prompt="p", spec={}, size="128x128", seconds=4.0, cost=1)
    with database.writing() as session:
        held = session.get_one(Account, account.id)
        jobs.delete(session, jobs.create(session, held, asked, database.now()), database.now())
        wanted = jobs.create(session, held, asked, database.now()).id
        found = queue.claim(session, "one", ["nano"], database.now())
        assert found is not None
        jobs.complete(session, found[0], jobs.Made(keep_s=100), database.now())
    look(sender)
    assert [json.loads(body)["data"]["id"] for _, _, body in receiver.told] == [wanted]
    assert json.loads(receiver.told[0][2])["type"] == "video.completed"


def test_an_endpoint_hears_only_of_the_events_it_named(database: Database, make_account: MakeAccount):
    account = make_account()
    with database.writing() as session:
        webhooks.make(session, account.id, "http://x", database.now(), events=("video.completed",))
    end_a_job(database, account)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 0


@pytest.mark.parametrize(("path", "code"), [("/fails", 500), ("/redirects", 302), ("/gone", 404)])
def test_f47_what_did_not_arrive_is_sent_again_under_the_same_id(
    path: str,
    code: int,
    database: Database,
    make_account: MakeAccount,
    receiver: Receiver,
    clock,
    sender: Sender,
):
    receiver.codes[path] = code
    account = make_account()
    listen(database, account, f"{receiver.url}{path}")
    end_a_job(database, account)
    assert look(sender) == 1
    assert look(sender) == 0  # not before it is due
    assert endpoint_of(database).failing_since == database.now()
    clock.now_s += webhooks.FIRST_WAIT_S
    receiver.codes[path] = 200
    assert look(sender) == 1
    assert receiver.paths() == [path, path]  # no redirect is followed
    (_, first, body), (_, second, again) = receiver.told
    assert (first["webhook-id"], body) == (second["webhook-id"], again)
    assert first["webhook-timestamp"] != second["webhook-timestamp"]
    assert first["webhook-signature"] != second["webhook-signature"]
    assert endpoint_of(database).failing_since is None


def test_f47_the_waits_grow_to_an_hour(database: Database, make_account: MakeAccount, clock):
    account = make_account()
    listen(database, account, "http://127.0.0.1:1/nobody")
    end_a_job(database, account)
    results: list[str] = []
    sender = Sender(database, post, count=results.append, dice=random.Random(1))
    waits: list[int] = []
    for attempt in range(1, 13):
        assert look(sender) == 1
        waits.append((row(database).next_at or 0) - database.now())
        longest = min(5 * 2 ** (attempt - 1), 3_600)
        assert longest // 2 <= waits[-1] <= longest
        clock.now_s += waits[-1]
    assert waits[0] <= 5
    assert waits[-1] >= 1_800
    assert results == ["failed"] * 12
    sender.close()


def test_f47_a_time_out_is_a_failure(
    database: Database, make_account: MakeAccount, receiver: Receiver, clock, sender: Sender
):
    account = make_account()
    listen(database, account, f"{receiver.url}/hangs")
    end_a_job(database, account)
    assert look(sender) == 1
    assert endpoint_of(database).failing_since == database.now()
    receiver.released.set()
    clock.now_s += webhooks.FIRST_WAIT_S
    assert look(sender) == 1
    assert row(database).delivered_at == database.now()


def test_what_hangs_holds_up_nobody(database: Database, make_account: MakeAccount, receiver: Receiver):
    hanging, other = make_account(), make_account()
    listen(database, hanging, f"{receiver.url}/hangs")
    listen(database, other, f"{receiver.url}/hook")
    for account in (hanging, hanging, other):
        end_a_job(database, account)
    sender = Sender(database, patient)
    assert sender.look() == 2
    until_told(receiver, "/hook", 1)
    end_a_job(database, other)
    until_begun(sender)
    until_told(receiver, "/hook", 2)
    assert receiver.paths().count("/hangs") == 1  # one after the other
    receiver.released.set()
    sender.close()
    assert receiver.paths().count("/hangs") == 2


def test_those_that_fail_leave_half_of_the_threads_to_others(
    database: Database, make_account: MakeAccount, receiver: Receiver
):
    hanging, other = make_account(), make_account()
    for _ in range(4):
        listen(database, hanging, f"{receiver.url}/hangs")
    with database.writing() as session:
        session.execute(update(Endpoint).values(failing_since=database.now()))
    end_a_job(database, hanging)
    sender = Sender(database, patient, threads=4)
    assert sender.look() == 2
    until_told(receiver, "/hangs", 2)
    assert sender.look() == 0
    listen(database, other, f"{receiver.url}/hook")
    end_a_job(database, other)
    assert sender.look() == 1
    until_told(receiver, "/hook", 1)
    receiver.released.set()
    sender.finish()
    assert look(sender) == 2
    assert receiver.paths().count("/hangs") == 4
    sender.close()


def test_f47_a_retry_after_is_honoured_up_to_an_hour(
    database: Database, make_account: MakeAccount, receiver: Receiver, clock, sender: Sender
):
    receiver.codes["/later"] = 503
    account = make_account()
    listen(database, account, f"{receiver.url}/later")
    end_a_job(database, account)
    assert look(sender) == 1
    assert row(database).next_at == database.now() + 600
    clock.now_s += 599
    assert look(sender) == 0
    clock.now_s += 1
    assert look(sender) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30),
        ("999999999999", LONGEST_WAIT_S),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT_S),
        ("-5", 0),
        ("soon", 0),
        ("", 0),
        ("\u0664", 0),
    ],
)
def test_what_a_retry_after_says(value: str, seconds: int):
    assert webhooks.read_retry_after(value, 1_000) == seconds


def test_f47_an_endpoint_that_fails_for_a_day_is_disabled(
    database: Database, make_account: MakeAccount, receiver: Receiver, clock
):
    receiver.codes["/fails"] = 500
    account = make_account()
    listen(database, account, f"{receiver.url}/fails")
    began = database.now()
    end_a_job(database, account)
    results: list[str] = []
    sender = Sender(database, post, count=results.append, dice=random.Random(1))
    while endpoint_of(database).disabled_at is None:
        assert look(sender) == 1
        assert database.now() - began < DAY_S + 2 * LONGEST_WAIT_S
        due = next_due(database)
        clock.now_s = clock.now_s if due is None else due
    assert database.now() - began >= DAY_S
    assert results[-1] == "disabled"
    assert 12 <= len(results) <= webhooks.MOST_ATTEMPTS

    # It hears nothing of what it missed, and once enabled all that happens then
    end_a_job(database, account)
    assert next_due(database) is None
    receiver.codes.clear()
    with database.writing() as session:
        webhooks.enable(session.scalars(select(Endpoint)).one())
    assert look(sender) == 0
    end_a_job(database, account)
    assert look(sender) == 1
    assert results[-1] == "delivered"
    sender.close()


def next_due(database: Database) -> int | None:
    with database.reading() as session:
        return session.scalar(select(func.min(Delivery.next_at)))


def test_what_nobody_takes_for_a_day_is_dropped_where_the_rest_arrives(
    database: Database, make_account: MakeAccount, receiver: Receiver, clock, sender: Sender
):
    receiver.codes["/fails"] = 500
    account = make_account()
    listen(database, account, f"{receiver.url}/fails")
    end_a_job(database, account)
    with database.writing() as session:
        session.execute(update(Delivery).values(attempts=webhooks.LEAST_ATTEMPTS))
    clock.now_s += DAY_S
    assert look(sender) == 1
    assert next_due(database) is None
    assert endpoint_of(database).disabled_at is None


@pytest.mark.parametrize("jump_s", [-365 * DAY_S, -DAY_S, -60, 10 * DAY_S])
def test_f11_a_clock_that_jumps_delays_nothing_for_long_and_drops_nothing(
    jump_s: int, database: Database, make_account: MakeAccount, receiver: Receiver, clock, sender: Sender
):
    receiver.codes["/fails"] = 500
    account = make_account()
    listen(database, account, f"{receiver.url}/fails")
    end_a_job(database, account)
    assert look(sender) == 1
    clock.now_s += jump_s
    jumped = clock.now_s
    while look(sender) == 0:
        clock.now_s += 1
        assert clock.now_s - jumped <= LONGEST_WAIT_S
    assert row(database).next_at is not None
    assert endpoint_of(database).disabled_at is None
    assert (endpoint_of(database).failing_since or 0) <= clock.now_s
    receiver.codes.clear()
    clock.now_s += LONGEST_WAIT_S
    assert look(sender) == 1
    assert row(database).delivered_at is not None


def test_f47_a_sender_that_died_leaves_what_it_held_to_another(
    database: Database, make_account: MakeAccount, receiver: Receiver, clock, sender: Sender
):
    account = make_account()
    listen(database, account, f"{receiver.url}/hook")
    end_a_job(database, account)
    code = (
        "import os, sys\n"
        "from unstatic.server.database import Database\n"
        "from unstatic.server.webhooks import Sender\n"
        "def die(url, body, headers): os._exit(9)\n"
        f"sender = Sender(Database(sys.argv[1], clock=lambda: {clock.now_s}), die)\n"
        "sender.look(); sender.finish()\n"
    )
    url = database.engine.url.render_as_string(hide_password=False)
    assert subprocess.run([sys.executable, "-c", code, url]).returncode == 9
    assert look(sender) == 0  # it might live
    clock.now_s += webhooks.HELD_S
    assert look(sender) == 1
    assert row(database).attempts == 2
    assert row(database).delivered_at is not None


def test_f47_many_senders_send_each_delivery_once(
    database: Database, make_account: MakeAccount, receiver: Receiver
):
    account = make_account()
    for number in range(3):
        listen(database, account, f"{receiver.url}/hook{number}")
    for _ in range(8):
        end_a_job(database, account)
    senders = [Sender(database, patient) for _ in range(4)]
    threads = [threading.Thread(target=sender.look) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sender in senders:
        sender.close()
    assert len(receiver.told) == 24
    assert len({headers["webhook-id"] for _, headers, _ in receiver.told}) == 24


def test_f47_a_rotated_secret_overlaps_for_a_day(
    database: Database, make_account: MakeAccount, receiver: Receiver, clock, sender: Sender
):
    clock.now_s = time.time() - DAY_S
    account = make_account()
    old = listen(database, account, f"{receiver.url}/hook").secret
    with database.writing() as session:
        held = session.scalars(select(Endpoint)).one()
        webhooks.rotate(held, database.now())
        new = held.secret
    assert new != old
    clock.now_s += DAY_S - 10
    end_a_job(database, account)
    assert look(sender) == 1
    for secret in (old, new):
        unwrap(secret, receiver.told[0][1], receiver.told[0][2])

    clock.now_s += 10
    end_a_job(database, account)
    assert look(sender) == 1
    unwrap(new, receiver.told[1][1], receiver.told[1][2])
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(old, receiver.told[1][1], receiver.told[1][2])


def test_a_secret_that_is_known_to_others_ends_at_once(database: Database, make_account: MakeAccount):
    endpoint = listen(database, make_account(), "http://x")
    webhooks.rotate(endpoint, database.now(), keep_old=False)
    assert endpoint.old_secret is None
    assert endpoint.old_secret_until is None


def test_a_week_later_it_is_forgotten(
    database: Database, make_account: MakeAccount, receiver: Receiver, clock
):
    account = make_account()
    listen(database, account, f"{receiver.url}/hook")
    end_a_job(database, account)
    with database.writing() as session:
        webhooks.rotate(session.scalars(select(Endpoint)).one(), database.now())
    sender = Sender(database, post, monotonic=clock)
    look(sender)
    clock.now_s += WEEK_S - 1
    look(sender)
    assert row(database).delivered_at is not None
    assert endpoint_of(database).old_secret is None
    clock.now_s += webhooks.TIDY_EVERY_S
    look(sender)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 0
    sender.close()


def test_f21_an_endpoint_removed_while_it_is_told(
    database: Database, make_account: MakeAccount, receiver: Receiver
):
    account = make_account()
    endpoint = listen(database, account, f"{receiver.url}/hangs")
    for _ in range(2):
        end_a_job(database, account)
    results: list[str] = []
    sender = Sender(database, patient, count=results.append)
    sender.look()
    until_told(receiver, "/hangs", 1)
    with database.writing() as session:
        found = webhooks.find(session, account.id, endpoint.id, lock=True)
        assert found is not None
        webhooks.remove(session, found)
    receiver.released.set()
    sender.close()
    assert results == ["dropped"]
    end_a_job(database, account)


def test_f21_an_endpoint_is_not_removed_in_the_middle_of_an_end(
    database: Database, make_account: MakeAccount
):
    account = make_account()
    endpoint = listen(database, account, "http://x")
    asked = jobs.Asked(kind="video", model="nano", prompt="p", spec={}, size="128x128", seconds=4.0, cost=1)

    def remove() -> None:
        with database.writing() as session:
            found = webhooks.find(session, account.id, endpoint.id, lock=True)
            assert found is not None
            webhooks.remove(session, found)

    thread = threading.Thread(target=remove)
    with database.writing() as session:
        job = jobs.create(session, session.get_one(Account, account.id), asked, database.now())
        jobs.cancel(session, job, database.now())
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join()
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Endpoint)) == 0
        assert session.scalar(select(func.count()).select_from(Delivery)) == 0
        assert session.scalars(select(Job.status)).one() == "failed"


def test_an_account_has_only_so_many_and_finds_only_its_own(database: Database, make_account: MakeAccount):
    account, other = make_account(), make_account()
    made = [listen(database, account, "http://x").id for _ in range(webhooks.MOST_ENDPOINTS)]
    with pytest.raises(ApiError, match="at most 10"):
        listen(database, account, "http://x")
    with database.reading() as session:
        assert {each.id for each in webhooks.list_of(session, account.id)} == set(made)
        assert webhooks.find(session, other.id, made[0]) is None
        assert webhooks.list_of(session, other.id) == []


def test_secrets_are_as_long_as_the_standard_wants():
    secret = webhooks.new_secret()
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret[6:])) <= 64


def until_begun(sender: Sender) -> None:
    """Look until a thread is free to begin."""
    end_s = time.monotonic() + 10
    while sender.look() == 0:
        assert time.monotonic() < end_s
        time.sleep(0.01)


def patient(url: str, body: bytes, headers: dict[str, str]) -> Answer:
    return post(url, body, headers, timeout_s=10)


def until_told(receiver: Receiver, path: str, times: int) -> None:
    end_s = time.monotonic() + 10
    while receiver.paths().count(path) < times:
        assert time.monotonic() < end_s, receiver.paths()
        time.sleep(0.01)
