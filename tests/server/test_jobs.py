"""What becomes of jobs and of their credits, against a model of it; and with real threads."""

import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event, func, select

from unstatic.core.errors import InputError
from unstatic.server import jobs, ledger, queue
from unstatic.server.database import Database
from unstatic.server.errors import ApiError
from unstatic.server.jobs import Asked, Lease, LostLeaseError, Made
from unstatic.server.tables import Account, Entry, Job

MakeAccount = Callable[..., Account]
RANK = {"queued": 0, "in_progress": 1, "completed": 2, "failed": 2}
LEASE_S, ATTEMPTS = 60.0, 3


def asked(cost: int = 4, model: str = "nano") -> Asked:
    return Asked(kind="video", model=model, prompt="p", spec={}, size="128x128", seconds=4.0, cost=cost)


def ask(database: Database, account: Account, cost: int = 4, model: str = "nano") -> str:
    with database.writing() as session:
        held = session.get_one(Account, account.id)
        queue.join_in(session, held)
        return jobs.create(session, held, asked(cost, model), database.now()).id


def claim(database: Database, worker: str, model: str = "nano") -> Lease | None:
    with database.writing() as session:
        found = queue.claim(session, worker, [model], database.now())
    return None if found is None else found[0]


def complete(database: Database, lease: Lease) -> None:
    with database.writing() as session:
        jobs.complete(session, lease, Made(keep_s=100), database.now())


# ------------------------------------------------------------------------------------------------- the model


@dataclass
class Known:
    """What the model knows of a job."""

    account: str
    cost: int
    status: str = "queued"
    progress: int = 0
    holder: Lease | None = None
    attempts: int = 0
    output: str | None = None
    is_deleted: bool = False
    sides: int = 0

    @property
    def is_active(self) -> bool:
        return RANK[self.status] < 2


@dataclass
class Purse:
    """What the model knows of an account."""

    balance: int
    concurrency: int
    spent: int = 0
    given: int = field(init=False)

    def __post_init__(self) -> None:
        self.given = self.balance


def hurry(connection: Any, _: object) -> None:
    """Don't wait for the disk: these tests pull no plug."""
    connection.execute("PRAGMA synchronous=OFF")


class Jobs(RuleBasedStateMachine):
    """Clients, workers, deaths and operators in any order; after each step the store is as the model says."""

    template: Path

    @initialize(purses=st.lists(st.tuples(st.integers(6, 20), st.integers(1, 3)), min_size=1, max_size=3))
    def begin(self, purses: list[tuple[int, int]]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.url = f"sqlite:///{shutil.copy(self.template, self.folder.name)}"
        self.now_s, self.ticks_s = 1_800_000_000.0, 0.0
        self.known: dict[str, Known] = {}
        self.purses: dict[str, Purse] = {}
        self.leases: list[Lease] = []
        self.open()
        for number, (balance, concurrency) in enumerate(purses):
            name, kind = f"acct_{number}", "creator"
            row = Account(id=name, name="a", tier=kind, concurrency=concurrency, weight=1.0, created_at=1)
            with self.database.writing() as session:
                session.add(row)
                session.flush()
                ledger.grant(session, name, balance, "test", 1)
            self.purses[name] = Purse(balance, concurrency)
            self.ask_for(name, [1, 2])

    def open(self) -> None:
        self.database = Database(self.url, clock=lambda: self.now_s)
        event.listen(self.database.engine, "connect", hurry)
        self.reaper = queue.Reaper(
            self.database, lease_s=LEASE_S, attempts=ATTEMPTS, monotonic=lambda: self.ticks_s
        )

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    # What the model says of an end

    def end(self, job: Known, status: str, *, used: int = 0) -> None:
        job.status, job.holder = status, None
        if status == "completed":
            job.progress, used = 100, job.cost
        purse = self.purses[job.account]
        purse.spent += used
        purse.balance += job.cost - used
        job.sides = 3 if 0 < used < job.cost else 2

    # What clients do

    @rule(data=st.data(), costs=st.lists(st.integers(1, 6), min_size=1, max_size=3))
    def ask(self, data: st.DataObject, costs: list[int]) -> None:
        self.ask_for(data.draw(st.sampled_from(sorted(self.purses))), costs)

    def ask_for(self, name: str, costs: list[int]) -> None:
        for cost in costs:
            if self.purses[name].balance >= cost:
                self.purses[name].balance -= cost
                self.known[self.create(name, cost)] = Known(name, cost)
                continue
            with pytest.raises(ApiError, match=f"{cost} credits"):
                self.create(name, cost)

    def create(self, name: str, cost: int) -> str:
        with self.database.writing() as session:
            account = session.get_one(Account, name)
            queue.join_in(session, account)
            return jobs.create(session, account, asked(cost), self.database.now()).id

    @precondition(lambda self: self.known)
    @rule(data=st.data(), also_delete=st.booleans())
    def cancel_or_delete(self, data: st.DataObject, also_delete: bool) -> None:
        job_id = data.draw(st.sampled_from(list(self.known)))
        known = self.known[job_id]
        with self.database.writing() as session:
            job = jobs.find(session, known.account, job_id, lock=True)
            assert (job is None) == known.is_deleted
            if job is None:
                return
            (jobs.delete if also_delete else jobs.cancel)(session, job, self.database.now())
        known.is_deleted = also_delete
        if known.is_active:
            self.end(known, "failed", used=-(-known.cost * known.progress // 100))

    # What workers do

    @rule(workers=st.lists(st.sampled_from(["one", "two"]), min_size=1, max_size=3))
    def claim(self, workers: list[str]) -> None:
        for worker in workers:
            at_work = [job.account for job in self.known.values() if job.holder]
            eligible = {
                job_id
                for job_id, job in self.known.items()
                if job.is_active
                and job.holder is None
                and at_work.count(job.account) < self.purses[job.account].concurrency
            }
            lease = claim(self.database, worker)
            if lease is None:
                assert not eligible
                continue
            assert lease.job_id in eligible
            job = self.known[lease.job_id]
            job.holder, job.status, job.attempts = lease, "in_progress", job.attempts + 1
            self.leases.append(lease)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), act=st.sampled_from(["beat", "beat", "complete", "fail", "give back"]))
    def work(self, data: st.DataObject, act: str) -> None:
        """Let whoever has or had a lease do something: exactly those whose lease is over are refused."""
        lease = data.draw(st.sampled_from(self.leases))
        job = self.known[lease.job_id]
        if job.holder != lease:
            progress = data.draw(st.integers(-5, 150))
            with pytest.raises(LostLeaseError):
                self.act(act, lease, progress)
            return
        progress = data.draw(st.integers(-5, 150))
        self.act(act, lease, progress)
        match act:
            case "beat":
                job.progress = max(job.progress, min(max(progress, 0), 99))
            case "complete":
                job.output = lease.prefix
                self.end(job, "completed")
            case "fail":
                self.end(job, "failed")
            case _:
                job.holder, job.attempts = None, job.attempts - 1

    def act(self, act: str, lease: Lease, progress: int = 0) -> None:
        with self.database.writing() as session:
            match act:
                case "beat":
                    jobs.beat(session, lease, progress)
                case "complete":
                    jobs.complete(session, lease, Made(keep_s=9), self.database.now())
                case "fail":
                    jobs.fail(session, lease, "out_of_memory", "too large", self.database.now())
                case _:
                    jobs.give_back(session, lease)

    # What death, operators and time do

    @rule(data=st.data(), how=st.sampled_from(["dies", "is silent", "is slow", "is told to stop"]))
    def a_worker(self, data: st.DataObject, how: str) -> None:
        """Take jobs from workers as reapers and operators do."""
        held = [job for job in self.known.values() if job.holder]
        self.reaper.look()
        alive = [job for job in held if data.draw(st.booleans())]
        for job in alive:
            assert job.holder is not None
            self.act("beat", job.holder)
        match how:
            case "dies":  # however lately it beat
                lost = [job for job in held if job.holder and job.holder.worker == "one"]
                leases = self.reaper.take_from("one")
            case "is silent":
                lost = [job for job in held if job not in alive]
                self.ticks_s += LEASE_S
                leases = self.reaper.look()
            case "is slow":
                lost = []
                leases = self.reaper.look()
            case _:
                self.stop(data.draw(st.sampled_from(list(self.known) or ["video_none"])))
                return
        assert {lease.job_id for lease in leases} == {job.holder.job_id for job in lost if job.holder}
        for job in lost:
            job.holder = None
            if job.attempts >= ATTEMPTS:
                self.end(job, "failed")

    def stop(self, job_id: str) -> None:
        known = self.known.get(job_id)
        if known is None or known.holder is None:
            with pytest.raises(InputError), self.database.writing() as session:
                jobs.requeue(session, job_id)
            return
        with self.database.writing() as session:
            jobs.requeue(session, job_id)
        known.holder = None

    @rule(seconds=st.integers(-100_000, 100_000), again=st.integers(0, 5))
    def the_clock_is_set_and_the_server_may_start_again(self, seconds: int, again: int) -> None:
        self.now_s += seconds
        if again == 5:
            self.database.close()
            self.open()

    # What is always true

    @invariant()
    def the_store_is_as_the_model_says(self) -> None:
        with self.database.reading() as session:
            rows = session.scalars(select(Job).order_by(Job.number)).all()
            assert [row.id for row in rows] == list(self.known)
            for row, known in zip(rows, self.known.values(), strict=True):
                assert (row.status, row.progress) == (known.status, known.progress)
                assert (row.attempts, row.output) == (known.attempts, known.output)
                assert row.worker == (known.holder.worker if known.holder else None)
                assert (row.status == "completed") == (row.output is not None)
                assert (row.completed_at is None) == known.is_active
                assert (row.error_code is None) == (row.status != "failed")
                assert bool(row.prompt) != known.is_deleted

    @invariant()
    def credits_add_up(self) -> None:
        with self.database.reading() as session:
            sums = select(func.sum(Entry.amount)).group_by(Entry.movement)
            assert set(session.scalars(sums)) <= {0}
            for name, purse in self.purses.items():
                mine = [job for job in self.known.values() if job.account == name]
                reserved = sum(job.cost for job in mine if job.is_active)
                pots = ledger.pots(session, name)
                assert session.get_one(Account, name).balance == pots["available"] == purse.balance >= 0
                assert pots["reserved"] == reserved
                assert pots["house"] == purse.spent - purse.given
                assert purse.given == purse.balance + reserved + purse.spent
            closed = select(Entry.job_id, func.count()).where(Entry.step == "close").group_by(Entry.job_id)
            ended = {job_id: job.sides for job_id, job in self.known.items() if not job.is_active}
            assert dict(map(tuple, session.execute(closed))) == ended


@pytest.mark.slow
def test_f5_f14_f30_jobs_and_credits_are_as_a_model_says(tmp_path: Path):
    path = tmp_path / "jobs.sqlite"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    machine = type("Machine", (Jobs,), {"template": path})
    # What fails is shown as it was found: making it shorter would take longer than a test may
    found = settings(max_examples=30, stateful_step_count=40, phases=[Phase.generate])
    run_state_machine_as_test(machine, settings=found)


# ---------------------------------------------------------------------------------------------- with threads


def test_f6_eight_workers_claim_forty_jobs_each_once(database: Database, make_account: MakeAccount):
    wanted = {ask(database, account) for account in [make_account(concurrency=40) for _ in range(4)] * 10}
    assert len(wanted) == 40
    leases: list[Lease] = []
    together = threading.Barrier(8)

    def work(number: int) -> None:
        together.wait()
        while len(leases) < 40:
            lease = claim(database, f"worker {number}")
            if lease is not None:
                leases.append(lease)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert sorted(lease.job_id for lease in leases) == sorted(wanted)
    assert {lease.fence for lease in leases} == {1}
    with database.reading() as session:
        rows = {row.id: (row.worker, row.attempts) for row in session.scalars(select(Job))}
    assert rows == {lease.job_id: (lease.worker, 1) for lease in leases}


def test_f6_workers_who_race_never_make_more_at_once_than_an_account_may(
    database: Database, make_account: MakeAccount
):
    """Of two models: where all want the same next job, whoever comes second sees that it is taken."""
    account, films = make_account(concurrency=1, balance=9_000), 200
    for number in range(films):
        ask(database, account, model="nano" if number % 2 else "other")
    done: list[str] = []
    seen: list[int] = []
    at_work = select(func.count()).where(Job.worker.is_not(None), Job.status == "in_progress")

    def work(number: int) -> None:
        while len(done) < films:
            lease = claim(database, f"worker {number}", "nano" if number % 2 else "other")
            if lease is not None:
                with database.reading() as session:
                    seen.append(session.scalar(at_work) or 0)
                complete(database, lease)
                done.append(lease.job_id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(done) == len(set(done)) == films
    assert max(seen) == 1


def test_f6_fewer_at_once_holds_also_for_what_is_already_made(database: Database, make_account: MakeAccount):
    account = make_account(concurrency=3)
    for _ in range(5):
        ask(database, account)
    leases = [claim(database, "one") for _ in range(3)]
    with database.writing() as session:
        session.get_one(Account, account.id).concurrency = 1
    for lease in leases:
        assert lease is not None
        assert claim(database, "two") is None
        complete(database, lease)
    assert claim(database, "two") is not None


def test_f14_order_and_state_survive_opening_the_database_again(
    database: Database, make_account: MakeAccount, database_url: str, clock: Callable[[], float]
):
    account = make_account(concurrency=8)
    made = [ask(database, account) for _ in range(6)]
    leases = [claim(database, "one") for _ in range(4)]
    assert all(leases)
    complete(database, leases[0])
    with database.writing() as session:
        jobs.fail(session, leases[1], "out_of_memory", "too large", database.now())
        jobs.beat(session, leases[2], 42)
        job = jobs.find(session, account.id, made[3], lock=True)
        assert job is not None
        jobs.delete(session, job, database.now())

    def state(opened: Database) -> list[tuple[Any, ...]]:
        with opened.reading() as session:
            rows = session.scalars(select(Job).order_by(Job.number)).all()
            return [(row.id, row.status, row.progress, row.fence, row.output, row.deleted_at) for row in rows]

    before = state(database)
    assert [row[0] for row in before] == made
    assert [row[1] for row in before] == ["completed", "failed", "in_progress", "failed", "queued", "queued"]
    database.close()
    again = Database(database_url, clock=clock)
    again.migrate()
    assert state(again) == before
    complete(again, leases[2])  # whoever held a job goes on with it
    assert ask(again, account) not in made
    assert [row[0] for row in state(again)][:6] == made
    again.close()


def test_f6_a_worker_that_claims_its_own_job_again_has_a_new_lease(
    database: Database, make_account: MakeAccount
):
    ask(database, make_account())
    old = claim(database, "one")
    assert old is not None
    with database.writing() as session:
        jobs.requeue(session, old.job_id)
    new = claim(database, "one")
    assert new is not None
    with pytest.raises(LostLeaseError), database.writing() as session:
        jobs.beat(session, old, 50)
    with pytest.raises(LostLeaseError):
        complete(database, old)
    complete(database, new)


def test_f12_a_dead_workers_job_goes_on_at_once_however_lately_it_beat(
    database: Database, make_account: MakeAccount
):
    ask(database, make_account())
    lease = claim(database, "one")
    assert lease is not None
    reaper = queue.Reaper(database, lease_s=60.0, attempts=3)
    reaper.look()
    with database.writing() as session:
        jobs.beat(session, lease, 50)
    assert reaper.take_from("one") == [lease]
    assert claim(database, "two") is not None


def test_no_other_step_is_possible(database: Database, make_account: MakeAccount):
    ask(database, make_account())
    reached = {"queued": ["in_progress", "failed"], "in_progress": ["completed", "failed"]}
    with database.reading() as session:
        job = session.get_one(Job, 1)
        for status in RANK:
            for to in RANK:
                if to not in reached.get(status, []):
                    job.status = status
                    with pytest.raises(AssertionError, match=f"{status} never becomes {to}"):
                        jobs.transition(session, job, to, database.now())
        session.rollback()
