"""Figures of jobs are what the database says, on every server and after a restart."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from unstatic.server import jobs, queue
from unstatic.server import metrics as module
from unstatic.server.database import Database
from unstatic.server.metrics import FRESH_S, Metrics
from unstatic.server.tables import Account, Job

MakeAccount = Callable[..., Account]


def read(metrics: Metrics) -> dict[str, float]:
    """Return every sample by its name and labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def ask(database: Database, account: Account) -> None:
    asked = jobs.Asked(kind="video", model="nano", prompt="p", spec={}, size="128x128", seconds=4.0, cost=1)
    with database.writing() as session:
        jobs.create(session, session.get_one(Account, account.id), asked, database.now())


def claim(database: Database) -> jobs.Lease:
    with database.writing() as session:
        found = queue.claim(session, "one", ["nano"], database.now())
    assert found is not None
    return found[0]


def test_jobs_are_counted_by_what_became_of_them(database: Database, make_account: MakeAccount, clock):
    account = make_account()
    for _ in range(5):
        ask(database, account)
    made, failed, running = claim(database), claim(database), claim(database)
    clock.now_s += 20
    with database.writing() as session:
        jobs.complete(session, made, jobs.Made(keep_s=1), database.now())
    clock.now_s += 80
    with database.writing() as session:
        jobs.fail(session, failed, "broken", "it broke", database.now())
    found = read(Metrics(database))
    assert found["unstatic_jobs_active queued"] == 2
    assert found["unstatic_jobs_active in_progress"] == 1
    assert found["unstatic_jobs_waiting"] == 2
    assert found["unstatic_oldest_waiting_seconds"] == 100
    assert found["unstatic_jobs_ended_total completed"] == 1
    assert found["unstatic_jobs_ended_total failed"] == 1
    assert found["unstatic_job_seconds_sum completed"] == 20
    assert found["unstatic_job_seconds_bucket 15.0 completed"] == 0
    assert found["unstatic_job_seconds_bucket 30.0 completed"] == 1
    assert found["unstatic_job_seconds_bucket +Inf completed"] == 1
    assert found["unstatic_job_seconds_bucket 60.0 failed"] == 0
    assert found["unstatic_job_seconds_count failed"] == 1

    # What is given on waits again, and what is deleted stays counted
    with database.writing() as session:
        jobs.give_back(session, running)
        job = jobs.find(session, account.id, made.job_id, lock=True)
        assert job is not None
        jobs.delete(session, job, database.now())
    found = read(Metrics(database))
    assert found["unstatic_jobs_waiting"] == 3
    assert found["unstatic_jobs_ended_total completed"] == 1


def test_what_has_ended_for_long_is_counted_once(
    database: Database, make_account: MakeAccount, clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "LATE", 1)
    account, metrics = make_account(concurrency=9), Metrics(database, monotonic=clock)

    def ended() -> float:
        clock.now_s += FRESH_S
        return read(metrics)["unstatic_jobs_ended_total completed"]

    def end(lease: jobs.Lease) -> None:
        with database.writing() as session:
            jobs.complete(session, lease, jobs.Made(keep_s=1), database.now())

    for _ in range(6):
        ask(database, account)
    leases = [claim(database) for _ in range(6)]
    for lease in leases[:2]:
        end(lease)
    assert ended() == 2
    with database.writing() as session:  # what is kept is not asked for again
        session.execute(update(Job).where(Job.number <= 2).values(status="failed"))
    assert ended() == 2
    for lease in (leases[3], leases[5]):  # behind one that is active
        end(lease)
    assert ended() == 4
    for lease in (leases[2], leases[4]):
        end(lease)
    assert ended() == ended() == 6
    assert read(metrics)["unstatic_jobs_ended_total failed"] == 0


def test_f11_a_clock_that_was_set_back_makes_no_figure_negative(
    database: Database, make_account: MakeAccount, clock
):
    ask(database, make_account())
    ask(database, make_account())
    lease = claim(database)
    clock.now_s -= 1_000
    with database.writing() as session:
        jobs.complete(session, lease, jobs.Made(keep_s=1), database.now())
    found = read(Metrics(database))
    assert found["unstatic_job_seconds_sum completed"] == 0
    assert found["unstatic_job_seconds_bucket 5.0 completed"] == 1
    assert found["unstatic_oldest_waiting_seconds"] == 0


def test_the_database_is_asked_now_and_then_only(database: Database, make_account: MakeAccount, clock):
    account, metrics = make_account(), Metrics(database, monotonic=clock)
    assert read(metrics)["unstatic_jobs_waiting"] == 0
    ask(database, account)
    assert read(metrics)["unstatic_jobs_waiting"] == 0
    clock.now_s += FRESH_S
    assert read(metrics)["unstatic_jobs_waiting"] == 1


def test_f9_without_its_database_a_server_still_tells_the_rest(tmp_path: Path):
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"this is no database" * 100)
    opened = Database(f"sqlite:///{broken}")
    metrics = Metrics(opened)
    metrics.count_webhook("delivered")
    metrics.worker_restarts.inc()
    found = read(metrics)
    assert found["unstatic_database_up"] == 0
    assert found["unstatic_webhook_attempts_total delivered"] == 1
    assert found["unstatic_worker_restarts_total"] == 1
    assert "unstatic_jobs_waiting" not in found
    opened.close()


def test_two_servers_in_one_process_count_apart(database: Database):
    first, second = Metrics(database), Metrics(database)
    first.worker_restarts.inc()
    assert read(first)["unstatic_worker_restarts_total"] == 1
    assert read(second)["unstatic_worker_restarts_total"] == 0
    assert read(first)["unstatic_database_up"] == 1
