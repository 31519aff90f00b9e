"""Credits: nobody spends what is not there, and what was not made is paid back once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.server import jobs, ledger, queue
from unstatic.server.database import Database
from unstatic.server.errors import ApiError
from unstatic.server.jobs import Asked, Lease, LostLeaseError, Made
from unstatic.server.tables import Account, Entry, Job

MakeAccount = Callable[..., Account]


def ask(database: Database, account: Account, cost: int = 1) -> str:
    asked = Asked(kind="video", model="nano", prompt="p", spec={}, size="128x128", seconds=1.0, cost=cost)
    with database.writing() as session:
        return jobs.create(session, session.get_one(Account, account.id), asked, database.now()).id


def claim(database: Database) -> Lease:
    with database.writing() as session:
        found = queue.claim(session, "one", ["nano"], database.now())
    assert found is not None
    return found[0]


def pots(database: Database, account: Account) -> tuple[int, int, int, int]:
    """Return the balance, and what the rows say: available, reserved, house."""
    with database.reading() as session:
        found = ledger.pots(session, account.id)
        balance = session.get_one(Account, account.id).balance
        assert set(session.scalars(select(func.sum(Entry.amount)).group_by(Entry.movement))) <= {0}
    return balance, found["available"], found["reserved"], found["house"]


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Run functions at the same moment, and return what each returned or raised."""
    together = threading.Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        together.wait()
        try:
            return act()
        except (ApiError, LostLeaseError) as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


@pytest.mark.parametrize(
    ("seconds", "size", "credits_"),
    [(4.0, "1280x720", 4), (4.0, "128x128", 4), (4, "1920x1080", 9), (0.1, "64x64", 1), (4.2, "720x1280", 5)],
)
def test_a_film_costs_its_seconds_and_more_for_more_pixels(seconds: float, size: str, credits_: int):
    assert ledger.price(seconds, Size.parse(size)) == credits_


def test_credits_go_from_pot_to_pot(database: Database, make_account: MakeAccount):
    account = make_account(balance=10)
    assert pots(database, account) == (10, 10, 0, -10)
    ask(database, account, 4)
    ask(database, account, 3)
    assert pots(database, account) == (3, 3, 7, -10)
    lease = claim(database)
    with database.writing() as session:
        jobs.complete(session, lease, Made(keep_s=1), database.now())
    assert pots(database, account) == (3, 3, 3, -6)
    lease = claim(database)
    with database.writing() as session:
        jobs.fail(session, lease, "x", "x", database.now())
    assert pots(database, account) == (6, 6, 0, -6)


def test_more_than_there_is_can_neither_be_spent_nor_taken_back(
    database: Database, make_account: MakeAccount
):
    account = make_account(balance=3)
    with pytest.raises(ApiError, match="needs 4 credits") as caught:
        ask(database, account, 4)
    assert (caught.value.status, caught.value.code) == (429, "insufficient_quota")
    with pytest.raises(ApiError), database.writing() as session:
        ledger.grant(session, account.id, -4, "a mistake", database.now())
    assert pots(database, account) == (3, 3, 0, -3)
    with database.writing() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 0, "a job without credits was kept"
        ledger.grant(session, account.id, -3, "a mistake", database.now())
    assert pots(database, account) == (0, 0, 0, 0)


def test_f29_the_last_credit_is_spent_once_by_twenty_at_once(database: Database, make_account: MakeAccount):
    account = make_account(balance=1)
    results = at_once(*[lambda: ask(database, account)] * 20)
    refused = [each for each in results if isinstance(each, ApiError)]
    assert len(refused) == 19
    assert {each.code for each in refused} == {"insufficient_quota"}
    assert pots(database, account) == (0, 0, 1, -1)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1


def test_f29_gifts_and_jobs_at_once_lose_nothing(database: Database, make_account: MakeAccount):
    account = make_account(balance=10)

    def give() -> None:
        with database.writing() as session:
            ledger.grant(session, account.id, 5, "a gift", database.now())

    at_once(*[give] * 8, *[lambda: ask(database, account)] * 8)
    assert pots(database, account) == (42, 42, 8, -50)


def test_f30_failing_and_being_reaped_at_once_pays_back_once(database: Database, make_account: MakeAccount):
    account = make_account(balance=20)
    for round_ in range(5):
        ask(database, account, 4)
        lease = claim(database)

        def fail(lease: Lease = lease) -> str:
            with database.writing() as session:
                jobs.fail(session, lease, "out_of_memory", "too large", database.now())
            return "failed"

        def complete(lease: Lease = lease) -> str:
            with database.writing() as session:
                jobs.complete(session, lease, Made(keep_s=1), database.now())
            return "completed"

        def reap() -> list[Lease]:
            return queue.Reaper(database, lease_s=1.0, attempts=1).take_from("one")

        def cancel(lease: Lease = lease) -> None:
            with database.writing() as session:
                job = jobs.find(session, account.id, lease.job_id, lock=True)
                assert job is not None
                jobs.cancel(session, job, database.now())

        results = at_once(fail, reap, cancel, fail, complete, reap)
        with database.reading() as session:
            job = session.get_one(Job, round_ + 1)
            assert job.status in ("failed", "completed")
            assert ("completed" in results) == (job.status == "completed")
            closes = select(func.count()).where(Entry.job_id == job.id, Entry.step == "close")
            assert session.scalar(closes) == 2
    with database.reading() as session:
        made = session.scalar(select(func.count()).where(Job.status == "completed")) or 0
    assert pots(database, account) == (20 - 4 * made, 20 - 4 * made, 0, 4 * made - 20)


@pytest.mark.parametrize("used", [4, 0, 3])
def test_f30_the_database_itself_refuses_a_second_close(
    database: Database, make_account: MakeAccount, used: int
):
    account = make_account(balance=4)
    job_id = ask(database, account, 4)
    with database.writing() as session:
        ledger.close(session, account.id, job_id, 4, database.now(), used=used)
    before = pots(database, account)
    for again in (4, 0, 1):
        with pytest.raises(IntegrityError), database.writing() as session:
            ledger.close(session, account.id, job_id, 4, database.now(), used=again)
        with pytest.raises((IntegrityError, ApiError)), database.writing() as session:
            ledger.reserve(session, account.id, job_id, 4, database.now())
    assert pots(database, account) == before


def test_f30_what_its_client_ends_is_paid_for_by_the_share_that_was_made(
    database: Database, make_account: MakeAccount
):
    account, expected = make_account(balance=40), 40

    def end(job_id: str, how: str) -> None:
        with database.writing() as session:
            job = jobs.find(session, account.id, job_id, lock=True)
            assert job is not None
            match how:
                case "cancel":
                    jobs.cancel(session, job, database.now())
                case "delete":
                    jobs.delete(session, job, database.now())
                case _:
                    jobs.cancel(session, job, database.now(), free=True)

    for how, progress, used in [
        ("cancel", None, 0),  # nobody had begun
        ("cancel", 0, 0),
        ("cancel", 1, 1),
        ("delete", 50, 5),
        ("cancel", 41, 5),
        ("cancel", 99, 10),
        ("by an operator", 99, 0),
    ]:
        job_id = ask(database, account, 10)
        if progress is not None:
            lease = claim(database)
            with database.writing() as session:
                jobs.beat(session, lease, progress)
        end(job_id, how)
        expected -= used
        assert pots(database, account) == (expected, expected, 0, -expected), (how, progress)
        with database.reading() as session:
            kinds = select(Entry.pot, Entry.amount).where(Entry.job_id == job_id, Entry.step == "close")
            assert sum(amount for _, amount in session.execute(kinds)) == 0


def test_f29_cancelling_at_the_end_again_and_again_makes_nothing_for_nothing(
    database: Database, make_account: MakeAccount
):
    account = make_account(balance=4)
    job_id = ask(database, account, 4)
    lease = claim(database)
    with database.writing() as session:
        jobs.beat(session, lease, 99)
        job = jobs.find(session, account.id, job_id)
        assert job is not None
        jobs.cancel(session, job, database.now())
    with pytest.raises(ApiError, match="needs 4 credits"):
        ask(database, account, 4)
    assert pots(database, account) == (0, 0, 0, 0)


def test_f30_ending_a_job_twenty_times_at_once_closes_it_once(database: Database, make_account: MakeAccount):
    account = make_account(balance=10)
    job_id = ask(database, account, 10)
    lease = claim(database)
    with database.writing() as session:
        jobs.beat(session, lease, 30)

    def cancel() -> None:
        with database.writing() as session:
            job = jobs.find(session, account.id, job_id, lock=True)
            assert job is not None
            jobs.cancel(session, job, database.now())

    at_once(*[cancel] * 10)
    assert pots(database, account) == (7, 7, 0, -7)


def test_credits_for_an_account_that_there_is_not_are_refused_as_that(database: Database):
    with pytest.raises(InputError, match="account 'acct_none' is unknown"), database.writing() as session:
        ledger.grant(session, "acct_none", 5, "test", database.now())
