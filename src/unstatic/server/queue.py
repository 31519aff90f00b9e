"""Whose job is next, and which workers are lost.

Fairness is start-time fair queueing (Goyal, Vin, Cheng 1996): every claim moves the virtual time of its
account on by work / weight, and the account with the least is served. The work on a film is what it costs,
and a part of what the seconds would that an edit keeps. Who comes back after a pause begins where whoever was
served last began, so that silence saves nothing up, and use that is long past costs nothing.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import CTE, ScalarSelect, Select, Text, bindparam, func, select
from sqlalchemy.orm import Session, aliased

from unstatic.core.shapes import Size
from unstatic.server.database import Database
from unstatic.server.jobs import IN_PROGRESS, QUEUED, Lease, end_failed, give_on, transition
from unstatic.server.ledger import price
from unstatic.server.tables import ACTIVE, HELD, Account, Job, is_active

MOST_UNOFFERED = 100
KEPT_SHARE = 0.4  # of the work on a second that is made, for one that is only read and written anew
_MODELS, _ACCOUNT = bindparam("models", type_=Text, expanding=True), bindparam("account", type_=Text)
# Idle workers ask this many times a second, so that statements are built once
_WAITING = select(Job.number).where(ACTIVE, Job.worker.is_(None)).where(Job.model.in_(_MODELS)).limit(1)


def _active_accounts() -> CTE:
    """Return whose jobs are waiting or made, each account once.

    It hops through the index from one account to the next: as many looks as there are accounts with jobs.
    A join or `DISTINCT` would read every job that waits, which a long queue made the cost of a claim.
    """
    hops = select(func.min(Job.account_id).label("account_id")).where(ACTIVE).cte("active", recursive=True)
    following = select(func.min(Job.account_id)).where(ACTIVE, Job.account_id > hops.c.account_id)
    return hops.union_all(select(following.scalar_subquery()).where(hops.c.account_id.is_not(None)))


def _first_waiting(account_id: Any) -> ScalarSelect[int]:
    """Return the number of an account's oldest job that one of the models can make and nobody does."""
    waiting = aliased(Job)
    wanted = waiting.account_id == account_id, waiting.worker.is_(None), waiting.model.in_(_MODELS)
    return select(func.min(waiting.number)).where(is_active(waiting.status), *wanted).scalar_subquery()


def _at_work(account_id: Any) -> ScalarSelect[int]:
    """Return how many jobs of an account are made at this moment."""
    running = aliased(Job)
    held = running.worker.is_not(None), running.account_id == account_id
    return select(func.count()).select_from(running).where(*held).scalar_subquery()


def _next_account() -> Select[Account]:
    """Return the statement that locks the account whose turn it is; entries of its ledger may go on."""
    active, first = _active_accounts(), _first_waiting(Account.id)
    whose = select(Account).join(active, active.c.account_id == Account.id)
    whose = whose.where(first.is_not(None), _at_work(Account.id) < Account.concurrency)
    whose = whose.order_by(Account.virtual_time, first).limit(1)
    return whose.with_for_update(of=Account, skip_locked=True, key_share=True)


def _next_job() -> Select[Job]:
    """Return the statement that locks the next job of an account, unless as many are made as may be."""
    next_one = select(Job).where(Job.number == _first_waiting(_ACCOUNT), ACTIVE, Job.worker.is_(None))
    may_be = _at_work(_ACCOUNT) < bindparam("concurrency")
    return next_one.where(may_be).with_for_update(skip_locked=True)


_NEXT_ACCOUNT, _NEXT_JOB = _next_account(), _next_job()


def is_some_waiting(session: Session, models: Sequence[str]) -> bool:
    """Return whether a worker that can make some models should try to claim: a look locks nothing."""
    return session.execute(_WAITING, {"models": models}).first() is not None


def claim(session: Session, worker: str, models: Sequence[str], now: int) -> tuple[Lease, Job] | None:
    """Give the next job that one of the models can make to a worker, or nothing."""
    account = session.scalars(_NEXT_ACCOUNT, {"models": models}).one_or_none()
    if account is None:
        return None
    # Others may have claimed until the account was locked: only now it can be said which job it is
    asked = {"models": models, "account": account.id, "concurrency": account.concurrency}
    job = session.scalars(_NEXT_JOB, asked).one_or_none()
    if job is None:
        return None
    if job.fence == 0:  # another attempt is not the account's fault
        account.last_start = account.virtual_time
        account.virtual_time += _work_on(job) / account.weight
    job.worker, job.fence, job.attempts = worker, job.fence + 1, job.attempts + 1
    if job.status == QUEUED:
        transition(session, job, IN_PROGRESS, now)
    return Lease(job.id, worker, job.fence), job


def _work_on(job: Job) -> float:
    """Return how much work a job is, in credits; nobody pays for the seconds that an edit keeps."""
    kept = price(job.seconds, Size.parse(job.size)) - job.cost
    return job.cost + KEPT_SHARE * max(0, kept)


def join_in(session: Session, account: Account) -> None:
    """Let an account of which nothing waits begin where the others are, before its job is written.

    That is the system's virtual time: the latest at which anybody was served, also while nobody is. A film
    that is being made saves up no more than silence does.
    """
    own = select(Job.number).where(Job.account_id == account.id, ACTIVE, Job.worker.is_(None)).limit(1)
    if session.scalar(own) is None:
        latest = session.scalar(select(func.max(Account.last_start))) or 0.0
        account.virtual_time = max(account.virtual_time, latest)


def waiting(session: Session, account_id: str | None = None) -> int:
    """Return how many jobs nobody works on, or no longer, of one account or of all."""
    count = select(func.count()).where(ACTIVE, Job.worker.is_(None))
    return session.scalar(count if account_id is None else count.where(Job.account_id == account_id)) or 0


def unoffered(session: Session, models: Collection[str], before: int) -> list[str]:
    """Return jobs asked for until then that nobody makes: for none of these models, nor for one in work."""
    other = aliased(Job)
    in_work = select(other.number).where(other.worker.is_not(None), other.model == Job.model)
    wanted = select(Job.id).where(ACTIVE, Job.worker.is_(None), Job.created_at <= before)
    wanted = wanted.where(Job.model.not_in(models), ~in_work.exists())
    return list(session.scalars(wanted.limit(MOST_UNOFFERED)))


def end_unoffered(session: Session, job_id: str, now: int) -> bool:
    """End a job that nobody offers to make, with its credits given back, unless somebody has begun it."""
    wanted = select(Job).where(Job.id == job_id, ACTIVE, Job.worker.is_(None))
    job = session.scalars(wanted.with_for_update(skip_locked=True)).one_or_none()
    if job is not None:
        message = f"the model {job.model} is not offered any more: ask for another"
        end_failed(session, job, "model_not_found", message, now)
    return job is not None


class Work(NamedTuple):
    """What there is to do: so many jobs can be made side by side, and `busy` workers make some already."""

    side_by_side: int
    busy: frozenset[str]


def work(session: Session) -> Work:
    """Return what there is to do; no account has more made at once than it may."""
    active = (
        select(Account.concurrency, func.count())
        .join(Job, Job.account_id == Account.id)
        .where(ACTIVE)
        .group_by(Account.id, Account.concurrency)
    )
    busy = frozenset(name for name in session.scalars(select(Job.worker).where(HELD)) if name is not None)
    return Work(sum(min(most, count) for most, count in session.execute(active)), busy)


class Reaper:
    """Finds workers that are silent for `lease_s` by its own clock: no two clocks are compared.

    `alive` are those that hold a job for which they beat: one for which they do not is theirs by mistake.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease_s: float,
        attempts: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database, self.lease_s, self.attempts, self.monotonic = database, lease_s, attempts, monotonic
        self._seen: dict[str, tuple[int, int, float]] = {}
        self.alive: frozenset[str] = frozenset()

    def look(self) -> list[Lease]:
        """Give on what lost workers held, and return their leases."""
        with self.database.reading() as session:
            rows = session.execute(select(Job.id, Job.worker, Job.fence, Job.beat).where(HELD)).all()
        now_s = self.monotonic()
        before, self._seen = self._seen, {}
        lost: list[tuple[Lease, int]] = []
        alive: set[str] = set()
        for job_id, worker, fence, beat in rows:
            since_s = now_s
            if job_id in before and before[job_id][:2] == (fence, beat):
                since_s = before[job_id][2]
            if worker is not None and now_s - since_s < self.lease_s:
                alive.add(worker)
            elif worker is not None:
                lost.append((Lease(job_id, worker, fence), beat))
            self._seen[job_id] = (fence, beat, since_s)
        self.alive = frozenset(alive)
        return [lease for lease, beat in lost if self._take(lease, beat)]

    def take_from(self, worker: str) -> list[Lease]:
        """Give on what a worker held that is known to be dead."""
        with self.database.reading() as session:
            held = select(Job.id, Job.fence).where(HELD, Job.worker == worker)
            leases = [Lease(job_id, worker, fence) for job_id, fence in session.execute(held)]
        return [lease for lease in leases if self._take(lease)]

    def _take(self, lease: Lease, beat: int | None = None) -> bool:
        """Give a job on unless its worker has lost it already, or has moved on from `beat`."""
        with self.database.writing() as session:
            wanted = select(Job).where(
                Job.id == lease.job_id, Job.fence == lease.fence, Job.worker == lease.worker
            )
            # Who died in the middle of a beat may hold the row for a while: a look comes again
            locked = wanted.with_for_update(skip_locked=beat is not None)
            job = session.scalars(locked).one_or_none()
            if job is None or (beat is not None and job.beat != beat) or job.status != IN_PROGRESS:
                return False
            give_on(session, job, self.attempts, self.database.now())
            return True
