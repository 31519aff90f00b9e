"""Endpoints have secrets that sign, and belong to their account."""

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

import openai
import pytest
from sqlalchemy import func, select
from webhook_receiver import Receiver, end_a_job, listen, look, row

from unstatic.server import fetching, jobs, webhooks
from unstatic.server.database import Database
from unstatic.server.errors import ApiError
from unstatic.server.fetching import Answer
from unstatic.server.outbox import Sender
from unstatic.server.settings import read_settings
from unstatic.server.tables import Account, Delivery, Endpoint, Job
from unstatic.server.webhooks import OVERLAP_S

MakeAccount = Callable[..., Account]


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


def test_an_endpoint_hears_only_of_the_events_it_named(database: Database, make_account: MakeAccount):
    account = make_account()
    with database.writing() as session:
        webhooks.make(session, account.id, "http://x", database.now(), events=("video.completed",))
    end_a_job(database, account)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 0


def test_f47_a_rotated_secret_overlaps_for_a_day(
    database: Database, make_account: MakeAccount, receiver: Receiver, clock, sender: Sender
):
    clock.now_s = time.time() - OVERLAP_S
    account = make_account()
    old = listen(database, account, f"{receiver.url}/hook").secret
    with database.writing() as session:
        held = session.scalars(select(Endpoint)).one()
        webhooks.rotate(held, database.now())
        new = held.secret
    assert new != old
    clock.now_s += OVERLAP_S - 10
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


def test_f37_a_webhook_goes_where_everybody_may_look_and_within_ten_seconds(
    database: Database, make_account: MakeAccount, receiver: Receiver
):
    policy = webhooks.policy_of(read_settings(allowed_networks="10.0.0.0/8"))
    assert (policy.http, policy.ports, policy.time_s) == (True, (80, 443), 10)
    assert policy.allowed_networks == ("10.0.0.0/8",)
    account = make_account()
    listen(database, account, f"{receiver.url}/hook")
    end_a_job(database, account)

    def send(url: str, body: bytes, headers: dict[str, str]) -> Answer:
        return fetching.post(url, body, headers, replace(policy, ports=(urlsplit(url).port or 80,)))

    results: list[str] = []
    sender = Sender(database, send, count=results.append)
    look(sender)
    sender.close()
    assert (results, receiver.told) == (["failed"], [])


def test_secrets_are_as_long_as_the_standard_wants():
    secret = webhooks.new_secret()
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret[6:])) <= 64
