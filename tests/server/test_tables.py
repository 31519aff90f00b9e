"""What is asked often is found by an index, however many jobs have ended: their rows stay for ever."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from unstatic.server import jobs, limits, queue
from unstatic.server.database import Database
from unstatic.server.jobs import Asked
from unstatic.server.metrics import FRESH_S, Metrics
from unstatic.server.outbox import Sender
from unstatic.server.settings import read_settings
from unstatic.server.storage import Storage
from unstatic.server.sweep import STEADY_S, Sweeper
from unstatic.server.tables import Account

MakeAccount = Callable[..., Account]
ENDED = 20_000
# Indexes that hold no more than what has not ended, or was not swept
SMALL = ("jobs_active", "jobs_held", "jobs_unswept")
MANY = """INSERT INTO jobs (id, account_id, kind, model, prompt, spec, size, seconds, cost, status, progress,
    facts, fence, beat, attempts, created_at, started_at, completed_at, expires_at, tidied_at, swept_at)
    SELECT 'video_' || i, '{account}', 'video', 'nano', 'p', '{{}}', '128x128', 4, 4, 'completed', 100,
    '{{}}', 1, 9, 1, {now} - 900000 + i, {now} - 900000 + i, {now} - 900000 + i, {now}, {now}, {now}
    FROM {rows}"""
ROWS = {
    "sqlite": "(WITH RECURSIVE g(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM g LIMIT {}) SELECT * FROM g)",
    "postgresql": "generate_series(1, {}) AS i",
}


def ask(database: Database, account: Account) -> str:
    asked = Asked(kind="video", model="nano", prompt="p", spec={}, size="128x128", seconds=4.0, cost=1)
    with database.writing() as session:
        held = session.get_one(Account, account.id)
        queue.join_in(session, held)
        limits.check_new_job(session, held, 4.0, database.now(), read_settings())
        return jobs.create(session, held, asked, database.now()).id


def fill(database: Database, account: Account) -> None:
    """Write jobs that have ended, a few that wait and one that is made."""
    kind = database.engine.dialect.name
    rows = ROWS[kind].format(ENDED)
    with database.writing() as session:
        session.execute(text(MANY.format(account=account.id, now=database.now(), rows=rows)))
    for _ in range(5):
        ask(database, account)
    with database.writing() as session:
        queue.claim(session, "one", ["nano"], database.now())
    if not database.is_sqlite:  # which nobody analyses
        with database.writing() as session:
            session.execute(text("ANALYZE"))


@contextmanager
def explained(database: Database) -> Iterator[dict[str, list[str]]]:
    """Note how every statement about jobs goes about what it looks for."""
    plans: dict[str, list[str]] = {}
    how = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "

    def explain(_: Connection, cursor: Any, statement: str, parameters: Any, __: object, many: bool) -> None:
        if re.match("SELECT|UPDATE|DELETE", statement) and "jobs" in statement and not many:
            cursor.execute(how + statement, parameters)
            plans[statement] = [str(row[-1]) for row in cursor.fetchall()]

    engines = [database.engine, database._glancer] if database.is_sqlite else [database.engine]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", explain)
    yield plans
    for engine in engines:
        event.remove(engine, "before_cursor_execute", explain)


def is_scan(database: Database, step: str) -> bool:
    """Return whether a step of a plan looks at all jobs."""
    if any(name in step for name in SMALL):
        return False
    return re.search(r"\bSCAN jobs" if database.is_sqlite else r"Seq Scan on jobs", step) is not None


def test_nothing_that_runs_often_looks_at_all_jobs(
    database: Database, make_account: MakeAccount, tmp_path: Path, clock: Any
):
    account = make_account(concurrency=9)
    fill(database, account)
    storage = Storage.at(f"file://{tmp_path}/storage")
    sweeper = Sweeper(database, storage, read_settings(data=tmp_path), monotonic=clock)
    metrics, sender = Metrics(database, monotonic=clock), Sender(database, lambda *_: pytest.fail("sent"))
    reaper = queue.Reaper(database, lease_s=60.0, attempts=3, monotonic=clock)
    with explained(database) as plans:
        ask(database, account)
        with database.glancing() as session:
            queue.is_some_waiting(session, ["nano"])
        with database.writing() as session:
            found = queue.claim(session, "two", ["nano"], database.now())
            assert found is not None
        with database.writing() as session:
            jobs.beat(session, found[0], 10)
            jobs.check(session, found[0])
        with database.reading() as session:
            queue.work(session)
            jobs.find(session, account.id, found[0].job_id)
        assert reaper.look() == []
        assert reaper.take_from("nobody") == []
        with database.writing() as session:
            job = jobs.find(session, account.id, found[0].job_id, lock=True)
            assert job is not None
            jobs.delete(session, job, database.now())
        sweeper.look()
        clock.now_s += STEADY_S
        sweeper.look()
        metrics.text()
        clock.now_s += FRESH_S
        metrics.text()
        sender.look()
    sender.close()
    assert len(plans) > 20
    scans = {statement: plan for statement, plan in plans.items() if any(is_scan(database, s) for s in plan)}
    assert scans == {}
