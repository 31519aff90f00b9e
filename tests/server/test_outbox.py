"""Endpoints are told what happened: again and again until they listen, by one of several senders."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, func, select, text, update
from webhook_receiver import Receiver, end_a_job, listen, look, post, post_hastily, row, until_told

from unstatic.server import jobs, outbox, queue, webhooks
from unstatic.server.database import Database
from unstatic.server.fetching import Answer
from unstatic.server.outbox import DAY_S, LONGEST_WAIT_S, WEEK_S, Sender
from unstatic.server.tables import Account, Delivery, Endpoint

MakeAccount = Callable[..., Account]


def endpoint_of(database: Database) -> Endpoint:
    with database.reading() as session:
        return session.scalars(select(Endpoint)).one()


def next_due(database: Database) -> int | None:
    with database.reading() as session:
        return session.scalar(select(func.min(Delivery.next_at)))


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
    clock.now_s += outbox.FIRST_WAIT_S
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
    hasty = Sender(database, post_hastily)
    assert look(hasty) == 1
    hasty.close()
    assert endpoint_of(database).failing_since == database.now()
    receiver.released.set()
    clock.now_s += outbox.FIRST_WAIT_S
    assert look(sender) == 1
    assert row(database).delivered_at == database.now()


def test_what_hangs_holds_up_nobody(database: Database, make_account: MakeAccount, receiver: Receiver):
    hanging, other = make_account(), make_account()
    listen(database, hanging, f"{receiver.url}/hangs")
    listen(database, other, f"{receiver.url}/hook")
    for account in (hanging, hanging, other):
        end_a_job(database, account)
    sender = Sender(database, post)
    assert sender.look() == 2
    until_told(receiver, "/hook", 1)
    end_a_job(database, other)
    until_told(receiver, "/hook", 2, sender.look)
    assert receiver.paths().count("/hangs") == 1  # one after the other
    receiver.released.set()
    sender.finish()
    assert receiver.paths().count("/hangs") == 2
    sender.close()


def test_f10_a_sender_that_is_closed_leaves_the_rest_to_another(
    database: Database, make_account: MakeAccount, receiver: Receiver, sender: Sender
):
    account = make_account()
    listen(database, account, f"{receiver.url}/hangs")
    for _ in range(3):
        end_a_job(database, account)
    closed = Sender(database, post)
    closed.look()
    until_told(receiver, "/hangs", 1)
    closing = threading.Thread(target=closed.close)
    closing.start()
    time.sleep(0.2)
    receiver.released.set()
    closing.join()
    assert len(receiver.told) == 1
    assert closed.look() == 0
    assert look(sender) == 1
    assert len({headers["webhook-id"] for _, headers, _ in receiver.told}) == 3


def test_those_that_fail_leave_half_of_the_threads_to_others(
    database: Database, make_account: MakeAccount, receiver: Receiver
):
    *hanging, other = (make_account() for _ in range(5))
    for account in hanging:
        listen(database, account, f"{receiver.url}/hangs")
        end_a_job(database, account)
    with database.writing() as session:
        session.execute(update(Endpoint).values(failing_since=database.now()))
    sender = Sender(database, post, threads=4)
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


def test_f27_one_account_leaves_three_quarters_of_the_threads_to_others(
    database: Database, make_account: MakeAccount, receiver: Receiver
):
    slow, other = make_account(), make_account()  # one that answers late never counts as failing
    for _ in range(10):
        listen(database, slow, f"{receiver.url}/hangs")
    end_a_job(database, slow)
    sender = Sender(database, post, threads=8)
    assert (sender.look(), sender.look()) == (2, 0)
    listen(database, other, f"{receiver.url}/hook")
    end_a_job(database, other)
    assert sender.look() == 1
    until_told(receiver, "/hook", 1)
    receiver.released.set()
    while receiver.paths().count("/hangs") < 10:
        look(sender)
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
    assert outbox.read_retry_after(value, 1_000) == seconds


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
    assert 12 <= len(results) <= outbox.MOST_ATTEMPTS

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


def test_what_nobody_takes_for_a_day_is_dropped_where_the_rest_arrives(
    database: Database, make_account: MakeAccount, receiver: Receiver, clock, sender: Sender
):
    receiver.codes["/fails"] = 500
    account = make_account()
    listen(database, account, f"{receiver.url}/fails")
    end_a_job(database, account)
    with database.writing() as session:
        session.execute(update(Delivery).values(attempts=outbox.LEAST_ATTEMPTS))
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
        "from unstatic.server.outbox import Sender\n"
        "def die(url, body, headers): os._exit(9)\n"
        f"sender = Sender(Database(sys.argv[1], clock=lambda: {clock.now_s}), die)\n"
        "sender.look(); sender.finish()\n"
    )
    url = database.engine.url.render_as_string(hide_password=False)
    assert subprocess.run([sys.executable, "-c", code, url]).returncode == 9
    assert look(sender) == 0  # it might live
    clock.now_s += outbox.HELD_S
    assert look(sender) == 1
    assert row(database).attempts == 2
    assert row(database).delivered_at is not None


def test_f47_a_sender_that_fails_late_sends_nothing_again_that_another_delivered(
    database: Database, make_account: MakeAccount, receiver: Receiver, clock, sender: Sender
):
    account = make_account()
    listen(database, account, f"{receiver.url}/hook")
    end_a_job(database, account)

    def be_slow(*_: object) -> Answer:
        clock.now_s += outbox.HELD_S
        assert look(sender) == 1  # another takes it for dead
        raise OSError("no answer came")

    slow = Sender(database, be_slow)
    look(slow)
    slow.close()
    assert row(database).next_at is None
    clock.now_s += LONGEST_WAIT_S
    assert look(sender) == 0
    assert len(receiver.told) == 1


def test_f9_a_sender_holds_no_delivery_while_it_waits_for_its_endpoint(
    database: Database, make_account: MakeAccount, receiver: Receiver, sender: Sender
):
    """Who removes an endpoint locks it first and its deliveries then: the other way round they would meet."""
    if database.is_sqlite:
        pytest.skip("SQLite locks no rows")
    account = make_account()
    endpoint = listen(database, account, f"{receiver.url}/hook")
    end_a_job(database, account)
    with database.writing() as removing:
        assert webhooks.find(removing, account.id, endpoint.id, lock=True) is not None
        sender.look()
        until_told(receiver, "/hook", 1)
        waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        until_s = time.monotonic() + 5
        while removing.scalar(waits) == 0:  # the sender, for the endpoint
            assert time.monotonic() < until_s
            time.sleep(0.01)
        free = select(Delivery.id).with_for_update(skip_locked=True)
        assert len(removing.scalars(free).all()) == 1
    sender.finish()
    assert row(database).delivered_at is not None


def test_f47_many_senders_send_each_delivery_once(
    database: Database, make_account: MakeAccount, receiver: Receiver
):
    account = make_account()
    for number in range(3):
        listen(database, account, f"{receiver.url}/hook{number}")
    for _ in range(8):
        end_a_job(database, account)
    senders = [Sender(database, post) for _ in range(4)]
    threads = [threading.Thread(target=sender.look) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sender in senders:
        sender.finish()
        sender.close()
    assert len(receiver.told) == 24
    assert len({headers["webhook-id"] for _, headers, _ in receiver.told}) == 24


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
    clock.now_s += outbox.TIDY_EVERY_S
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
    sender = Sender(database, post, count=results.append)
    sender.look()
    until_told(receiver, "/hangs", 1)
    with database.writing() as session:
        found = webhooks.find(session, account.id, endpoint.id, lock=True)
        assert found is not None
        webhooks.remove(session, found)
    receiver.released.set()
    sender.finish()
    sender.close()
    assert results == ["dropped"]
    end_a_job(database, account)


def test_tidying_waits_for_nobody_who_removes_an_endpoint_and_goes_on_until_little_is_left(
    database: Database, make_account: MakeAccount, sender: Sender, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outbox, "AT_ONCE", 3)
    account = make_account()
    with database.writing() as session:
        endpoint = webhooks.make(session, account.id, "http://x.example/", database.now())
        webhooks.rotate(endpoint, database.now() - 2 * DAY_S)
        for number in range(8):
            old = {"delivered_at": database.now() - WEEK_S, "created_at": 1, "next_at": None}
            names = {"event": "video.failed", "job_id": "video_1"}
            session.add(Delivery(id=f"evt_{number}", endpoint_id=endpoint.id, **names, **old))
    tidying, removing = threading.Event(), threading.Event()

    def pause(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith("UPDATE endpoints"):
            tidying.set()
            removing.wait(5)

    event.listen(database.engine, "before_cursor_execute", pause)
    with ThreadPoolExecutor(1) as pool:
        tidied = pool.submit(sender._tidy)
        assert tidying.wait(20)
        if not database.is_sqlite:  # which lets one write at a time
            with database.writing() as session:
                found = webhooks.find(session, account.id, endpoint.id, lock=True)
                assert found is not None
                removing.set()
                webhooks.remove(session, found)
        removing.set()
        tidied.result()
    event.remove(database.engine, "before_cursor_execute", pause)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 0
