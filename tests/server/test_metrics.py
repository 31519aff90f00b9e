"""Figures of jobs are what the database says, on every server and after a restart."""

from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from unstatic.server import jobs, queue
from unstatic.server.database import Database
from unstatic.server.metrics import FRESH_S, Metrics
from unstatic.server.tables import Account

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
