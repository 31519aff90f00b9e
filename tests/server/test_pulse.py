"""Beats from a thread beside the work, until that hangs, is taken away or has no more time."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from unstatic.server import jobs, queue
from unstatic.server.database import Database
from unstatic.server.jobs import Asked, Lease, LostLeaseError
from unstatic.server.pulse import Pulse, ReturnedError
from unstatic.server.settings import Settings
from unstatic.server.tables import Account, Job

MakeAccount = Callable[..., Account]


@pytest.fixture
def lease(database: Database, make_account: MakeAccount) -> Lease:
    """Return a claimed job."""
    asked = Asked(kind="video", model="nano", prompt="p", spec={}, size="128x128", seconds=1.0, cost=1)
    account = make_account()
    with database.writing() as session:
        jobs.create(session, session.get_one(Account, account.id), asked, database.now())
    with database.writing() as session:
        found = queue.claim(session, "one", ["nano"], database.now())
    assert found is not None
    return found[0]


def beating(database: Database, lease: Lease, **given: Any) -> Pulse:
    """Return a pulse of a lease of 0.3 s, which beats every 50 ms."""
    given = {"drained_s": lambda: -1.0, "hangs": lambda: None} | given
    settings = Settings(lease=0.3, patience=given.pop("patience", 60))
    return Pulse(database, lease, settings, **given)


def row(database: Database) -> Job:
    with database.reading() as session:
        return session.get_one(Job, 1)


def wait_for(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_it_beats_during_a_step_that_takes_longer_than_the_lease(database: Database, lease: Lease):
    with beating(database, lease) as pulse:
        pulse.tell(7)
        wait_for(lambda: row(database).beat >= 8)
        pulse.tell(7)
    assert row(database).progress == 7
    beats = row(database).beat
    time.sleep(0.2)
    assert row(database).beat == beats, "nothing beats for work that has ended"


def test_f9_a_database_that_fails_for_a_moment_costs_no_film(
    database: Database, lease: Lease, monkeypatch: pytest.MonkeyPatch
):
    beat, failed = jobs.beat, 0

    def fails_thrice(session: Session, lease: Lease, progress: int) -> None:
        nonlocal failed
        if failed < 3:
            failed += 1
            raise OperationalError("no", {}, Exception("no"))
        beat(session, lease, progress)

    monkeypatch.setattr(jobs, "beat", fails_thrice)
    with beating(database, lease) as pulse:
        pulse.tell(40)
        wait_for(lambda: row(database).progress == 40)
        pulse.tell(50)
    assert failed == 3


def test_f12_what_takes_no_step_for_too_long_hangs_and_is_silent(database: Database, lease: Lease):
    hung = threading.Event()
    with beating(database, lease, patience=0.2, hangs=hung.set):
        assert hung.wait(20)
        beats = row(database).beat
        time.sleep(0.2)
        assert row(database).beat == beats


@pytest.mark.parametrize("how", ["deleted", "cancelled", "given on"])
def test_f21_work_on_a_job_that_was_taken_away_stops_at_its_next_step(
    database: Database, lease: Lease, how: str
):
    with beating(database, lease) as pulse:
        pulse.tell(10)
        with database.writing() as session:
            job = session.get_one(Job, 1)
            if how == "given on":
                jobs.give_on(session, job, 3, database.now())
            else:
                (jobs.delete if how == "deleted" else jobs.cancel)(session, job, database.now())
        wait_for(lambda: pulse.ended is not None)
        with pytest.raises(LostLeaseError):
            pulse.tell(20)
    assert row(database).progress < 20


def test_f10_a_worker_whose_time_is_over_gives_its_job_back_in_the_middle_of_a_step(
    database: Database, lease: Lease
):
    left_s = -1.0
    with beating(database, lease, drained_s=lambda: left_s) as pulse:
        pulse.tell(10)
        wait_for(lambda: row(database).progress == 10)
        left_s = 0.0
        wait_for(lambda: row(database).worker is None)
        assert (row(database).status, row(database).attempts) == ("in_progress", 0)
        with pytest.raises(ReturnedError):
            pulse.tell(20)
