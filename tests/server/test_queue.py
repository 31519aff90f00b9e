"""Who is served next, and whose workers are lost."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from unstatic.server import jobs, queue
from unstatic.server.database import BUSY_S, Database
from unstatic.server.jobs import Asked, Lease, LostLeaseError
from unstatic.server.tables import Account, Job

MakeAccount = Callable[..., Account]


def ask(database: Database, account: Account, *, cost: int = 4, seconds: float = 4) -> str:
    about = {"kind": "video", "model": "nano", "prompt": "p", "spec": {}, "size": "128x128"}
    asked = Asked(**about, seconds=float(seconds), cost=cost)
    with database.writing() as session:
        held = session.get_one(Account, account.id)
        queue.join_in(session, held)
        return jobs.create(session, held, asked, database.now()).id


def claim(database: Database, worker: str = "one") -> Lease | None:
    with database.writing() as session:
        found = queue.claim(session, worker, ["nano"], database.now())
    return None if found is None else found[0]


def must_claim(database: Database, worker: str = "one") -> Lease:
    lease = claim(database, worker)
    assert lease is not None
    return lease


def owner_of(database: Database, lease: Lease) -> str:
    with database.reading() as session:
        return session.scalars(select(Job).where(Job.id == lease.job_id)).one().account_id


def only_postgresql(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite locks no rows")


def complete(database: Database, lease: Lease) -> None:
    with database.writing() as session:
        jobs.complete(session, lease, jobs.Made(keep_s=100), database.now())


def test_f27_an_account_that_floods_does_not_keep_another_waiting(
    database: Database, make_account: MakeAccount
):
    flood, other = make_account(), make_account()
    for _ in range(20):
        ask(database, flood)
    first = claim(database)
    assert first is not None
    waiting = ask(database, other)
    second, third = claim(database), claim(database)
    assert second is not None
    assert third is not None
    assert waiting in (second.job_id, third.job_id)


def test_twice_the_weight_is_twice_the_share(database: Database, make_account: MakeAccount):
    light, heavy = make_account(), make_account(weight=2.0)
    mine = {ask(database, light) for _ in range(12)}
    for _ in range(12):
        ask(database, heavy)
    served: list[str] = []
    for _ in range(12):
        lease = claim(database)
        assert lease is not None
        served.append(lease.job_id)
        complete(database, lease)
    assert sum(each in mine for each in served) == 4


def test_a_pause_saves_nothing_up(database: Database, make_account: MakeAccount):
    busy, back = make_account(), make_account()
    for _ in range(8):
        ask(database, busy)
    for _ in range(4):
        lease = claim(database)
        assert lease is not None
        complete(database, lease)
    mine = {ask(database, back) for _ in range(4)}
    served = [claim(database) for _ in range(4)]
    assert sum(each is not None and each.job_id in mine for each in served) in (2, 3)


def test_an_account_has_no_more_at_work_than_it_may(database: Database, make_account: MakeAccount):
    account = make_account(concurrency=1)
    for _ in range(2):
        ask(database, account)
    first = claim(database)
    assert first is not None
    assert claim(database) is None
    complete(database, first)
    assert claim(database) is not None


def test_f6_a_late_worker_cannot_overwrite(database: Database, make_account: MakeAccount):
    ask(database, make_account())
    late = claim(database, "late")
    assert late is not None
    reaper = queue.Reaper(database, lease_s=1.0, attempts=3)
    assert reaper.take_from("late") == [late]
    quick = claim(database, "quick")
    assert quick is not None
    assert quick.prefix != late.prefix
    complete(database, quick)
    with pytest.raises(LostLeaseError):
        complete(database, late)
    with database.reading() as session:
        assert session.get_one(Job, 1).output == quick.prefix


def test_f11_f12_a_silent_worker_is_lost_by_the_reapers_own_clock(
    database: Database, make_account: MakeAccount, clock: Callable[[], float]
):
    ask(database, make_account())
    lease = claim(database)
    assert lease is not None
    seconds = [0.0]
    reaper = queue.Reaper(database, lease_s=60.0, attempts=3, monotonic=lambda: seconds[0])
    assert reaper.look() == []
    seconds[0] = 59
    clock.now_s += 1e6  # somebody sets the clock
    assert reaper.look() == []
    with database.writing() as session:
        jobs.beat(session, lease, 10)
    seconds[0] = 61
    clock.now_s -= 2e6
    assert reaper.look() == []
    seconds[0] = 122
    assert reaper.look() == [lease]
    with database.reading() as session:
        job = session.get_one(Job, 1)
        assert (job.status, job.progress, job.worker) == ("in_progress", 10, None)


def test_f12_who_beats_between_a_look_and_its_end_is_not_lost(
    database: Database, make_account: MakeAccount, monkeypatch: pytest.MonkeyPatch
):
    ask(database, make_account())
    lease, seconds = must_claim(database), [0.0]
    reaper = queue.Reaper(database, lease_s=60.0, attempts=3, monotonic=lambda: seconds[0])
    reaper.look()
    take = reaper._take

    def beat_first(lost: Lease, beat: int | None = None) -> bool:
        with database.writing() as session:
            jobs.beat(session, lease, 10)
        return take(lost, beat)

    monkeypatch.setattr(reaper, "_take", beat_first)
    seconds[0] = 61
    assert reaper.look() == []
    with database.reading() as session:
        assert session.get_one(Job, 1).worker == lease.worker


def effort_of_a_claim(database: Database) -> int:
    """Return how many steps SQLite makes for one, or how many rows and entries PostgreSQL reads."""
    steps = [0]

    def step() -> int:
        steps[0] += 1
        return 0

    def effort(session: Session) -> int:
        read = "sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
        return steps[0] if database.is_sqlite else int(session.scalar(text(f"SELECT {read}")) or 0)

    with database.writing() as session:
        driver: Any = session.connection().connection.driver_connection
        if database.is_sqlite:
            driver.set_progress_handler(step, 1)
        before = effort(session)  # PostgreSQL counts earlier transactions with this one
        assert queue.claim(session, "one", ["nano"], database.now()) is not None
        session.flush()
        after = effort(session)
        if database.is_sqlite:
            driver.set_progress_handler(None, 1)
        session.rollback()
    return after - before


def test_the_next_job_of_a_long_queue_costs_no_more_than_that_of_a_short_one(
    database: Database, make_account: MakeAccount
):
    account = make_account(balance=9_000, concurrency=9)
    for _ in range(2):
        ask(database, account, cost=1)
    short = effort_of_a_claim(database)
    copied = "account_id, kind, model, prompt, spec, size, seconds, cost, status, progress, facts, fence"
    copied += ", beat, attempts, created_at"
    numbers = "WITH RECURSIVE more(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM more WHERE i < 4000)"
    rows = f"{numbers} SELECT 'video_' || i, {copied} FROM jobs, more WHERE number = 2"
    with database.writing() as session:
        session.execute(text(f"INSERT INTO jobs (id, {copied}) {rows}"))
    assert 0 < short < 1_000
    assert effort_of_a_claim(database) < 2 * short


def test_f7_what_always_crashes_fails_and_the_queue_moves_on(database: Database, make_account: MakeAccount):
    account = make_account(balance=8)
    poison = ask(database, account)
    behind = ask(database, account)
    reaper = queue.Reaper(database, lease_s=1.0, attempts=3)
    for _ in range(3):
        assert claim(database, "one") is not None
        reaper.take_from("one")
    with database.reading() as session:
        job = session.get_one(Job, 1)
        assert (job.id, job.status, job.error_code, job.attempts) == (poison, "failed", "worker_lost", 3)
        assert session.get_one(Account, account.id).balance == 4  # one is paid back, one waits
    lease = claim(database)
    assert lease is not None
    assert lease.job_id == behind


def test_f27_what_an_account_was_served_long_ago_does_not_hold_it_back(
    database: Database, make_account: MakeAccount
):
    regular, new = make_account(), make_account()
    for _ in range(20):  # all were made, and nobody asks for anything
        ask(database, regular)
        complete(database, must_claim(database))
    for _ in range(20):
        ask(database, new)
    complete(database, must_claim(database))
    wanted = ask(database, regular)
    assert wanted in [must_claim(database).job_id for _ in range(2)]


def test_f27_one_that_is_held_back_by_its_own_limit_lets_no_newcomer_begin_behind_the_others(
    database: Database, make_account: MakeAccount
):
    capped, busy, new = make_account(concurrency=1), make_account(), make_account()
    for _ in range(2):
        ask(database, capped)
    must_claim(database)  # takes long
    for _ in range(20):
        ask(database, busy)
    for _ in range(10):
        complete(database, must_claim(database))
    for _ in range(10):
        ask(database, new)
    served: list[str] = []
    for _ in range(8):
        lease = must_claim(database)
        served.append(owner_of(database, lease))
        complete(database, lease)
    assert served.count(busy.id) == served.count(new.id) == 4


def test_f27_an_account_saves_nothing_up_while_a_film_of_it_is_made(
    database: Database, make_account: MakeAccount
):
    slow, busy = make_account(), make_account()
    ask(database, slow)
    must_claim(database)  # takes long
    for _ in range(30):
        ask(database, busy)
    for _ in range(20):
        complete(database, must_claim(database))
    for _ in range(10):
        ask(database, slow)
    served: list[str] = []
    for _ in range(8):
        lease = must_claim(database)
        served.append(owner_of(database, lease))
        complete(database, lease)
    assert served.count(slow.id) in (4, 5)


def test_f27_what_an_edit_keeps_counts_as_a_part_of_the_work(database: Database, make_account: MakeAccount):
    account = make_account()

    def turn(*, cost: int, seconds: float) -> float:
        with database.writing() as session:
            before = session.get_one(Account, account.id).virtual_time
        ask(database, account, cost=cost, seconds=seconds)
        complete(database, must_claim(database))
        with database.reading() as session:
            return session.get_one(Account, account.id).virtual_time - before

    assert turn(cost=4, seconds=4) == 4  # all is made
    assert turn(cost=12, seconds=4) == 12  # in three times the steps
    assert turn(cost=1, seconds=0) == 1  # a picture
    assert turn(cost=4, seconds=24) == pytest.approx(4 + 20 * queue.KEPT_SHARE)
    assert turn(cost=1, seconds=60) == pytest.approx(1 + 59 * queue.KEPT_SHARE)


def test_f27_an_attempt_that_broke_off_costs_an_account_no_turn(
    database: Database, make_account: MakeAccount
):
    unlucky = make_account()
    ask(database, unlucky, cost=4)
    reaper = queue.Reaper(database, lease_s=1.0, attempts=9)
    for _ in range(3):
        must_claim(database, "dies")
        reaper.take_from("dies")
    with database.reading() as session:
        assert session.get_one(Account, unlucky.id).virtual_time == 4.0


def test_f12_a_reaper_does_not_wait_for_the_row_of_a_worker_that_stands_in_a_beat(
    database: Database, make_account: MakeAccount
):
    only_postgresql(database)
    stands, silent = make_account(), make_account()
    for account in (stands, silent):
        ask(database, account)
    leases = [must_claim(database, worker) for worker in ("stands", "is silent")]
    seconds = [0.0]
    reaper = queue.Reaper(database, lease_s=60.0, attempts=3, monotonic=lambda: seconds[0])
    reaper.look()
    seconds[0] = 61
    with database.writing() as session:
        jobs.beat(session, leases[0], 5)
        began_s = time.monotonic()
        assert reaper.look() == [leases[1]]
        assert time.monotonic() - began_s < BUSY_S / 2
        session.rollback()
    assert reaper.look() == [leases[0]]


def test_f6_a_claim_that_gets_nothing_locks_nothing(database: Database, make_account: MakeAccount):
    only_postgresql(database)
    account = make_account(balance=10_000)
    for _ in range(30):
        ask(database, account)
    with database.writing() as asking, database.writing() as claiming, database.writing() as other:
        asking.get_one(Account, account.id, with_for_update={"key_share": True})  # as a POST does
        assert queue.claim(claiming, "one", ["nano"], database.now()) is None
        free = other.scalars(select(Job.number).with_for_update(skip_locked=True)).all()
        assert len(free) == 30


def test_f6_an_account_is_served_while_a_film_of_it_ends(database: Database, make_account: MakeAccount):
    only_postgresql(database)
    account = make_account()
    for _ in range(2):
        ask(database, account)
    first = must_claim(database)
    with database.writing() as session:
        jobs.complete(session, first, jobs.Made(keep_s=100), database.now())
        must_claim(database, "two")
