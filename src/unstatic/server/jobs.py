"""What becomes of a job: one function changes its state, and who works on it must prove that it still may.

    queued -> in_progress -> completed | failed

A job whose worker is lost is given on while its client goes on seeing "in_progress": a state never goes
back, progress never falls. Deleting ends what is active first, and leaves a row without words.

What was made is paid for: all of a film that is published, and of one that its client ends the share that was
made until then, as it can be watched while it is made. What the server ends costs nothing.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, case, select, update
from sqlalchemy.orm import Session

from unstatic.core.errors import InputError, UnstaticError
from unstatic.server import ledger
from unstatic.server.tables import Account, Delivery, Endpoint, Job, new_id

QUEUED, IN_PROGRESS, COMPLETED, FAILED = "queued", "in_progress", "completed", "failed"
NEXT = {
    QUEUED: (IN_PROGRESS, FAILED),
    IN_PROGRESS: (COMPLETED, FAILED),
    COMPLETED: (),
    FAILED: (),
}
ENDED = (COMPLETED, FAILED)
CANCELLED = "cancelled"
MOST_UNTIL_PUBLISHED = 99
# Clients ask for their films again and again, so these are built once
_OWN = select(Job).where(
    Job.id == bindparam("job_id"), Job.account_id == bindparam("account_id"), Job.deleted_at.is_(None)
)
_OWN_LOCKED = _OWN.with_for_update()
_STILL = select(Job.number).where(
    Job.id == bindparam("job_id"),
    Job.worker == bindparam("worker"),
    Job.fence == bindparam("fence"),
    Job.status == IN_PROGRESS,
)


class LostLeaseError(UnstaticError):
    """Somebody else has the job by now, or nobody wants it any more: the worker stops, and says nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A job that is asked for: `spec` is all that a worker needs, its files named by keys of the storage.

    `trace` is the traceparent of the request that asks.
    """

    kind: str
    model: str
    prompt: str
    spec: dict[str, Any]
    size: str
    seconds: float
    cost: int
    remixed_from: str | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a job: it ends when somebody else claims it."""

    job_id: str
    worker: str
    fence: int

    @property
    def prefix(self) -> str:
        """Where the files of this attempt lie."""
        return f"jobs/{self.job_id}/{self.fence}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What a worker has made: the facts of its files."""

    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    keep_s: int


def create(session: Session, account: Account, asked: Asked, now: int) -> Job:
    """Write a job and put its credits aside. Raises ApiError if there are too few."""
    job = Job(
        id=new_id("video" if asked.kind == "video" else "image"),
        account_id=account.id,
        kind=asked.kind,
        model=asked.model,
        prompt=asked.prompt,
        spec=asked.spec,
        size=asked.size,
        seconds=asked.seconds,
        cost=asked.cost,
        remixed_from=asked.remixed_from,
        trace=asked.trace,
        status=QUEUED,
        progress=0,
        facts={},
        created_at=now,
    )
    session.add(job)
    session.flush()
    ledger.reserve(session, account.id, job.id, asked.cost, now)
    return job


def transition(session: Session, job: Job, to: str, now: int, *, used: int = 0) -> None:
    """Change the state of a job that the transaction holds, with all that follows from it.

    The end closes what its credits were put aside for and tells the account's endpoints, in one
    transaction. Of what is not completed `used` credits are kept. Deleted jobs tell nobody.
    """
    assert to in NEXT[job.status], f"{job.status} never becomes {to}"
    job.status = to
    if to == IN_PROGRESS:
        job.started_at = now
        return
    job.worker, job.completed_at = None, now
    used = job.cost if to == COMPLETED else used
    ledger.close(session, job.account_id, job.id, job.cost, now, used=used)
    if job.kind == "video" and job.deleted_at is None:
        _tell(session, job, f"video.{to}", now)


def beat(session: Session, lease: Lease, progress: int) -> None:
    """Say that the worker lives and how far it is, in hundredths. Raises LostLeaseError if it shall stop."""
    progress = min(max(progress, 0), MOST_UNTIL_PUBLISHED)
    changed = session.execute(
        update(Job)
        .where(*_still(lease))
        .values(beat=Job.beat + 1, progress=case((Job.progress > progress, Job.progress), else_=progress))
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if changed is None:
        raise LostLeaseError(lease.job_id)


def check(session: Session, lease: Lease) -> None:
    """Raise LostLeaseError if a worker shall stop. Nothing is written."""
    wanted = {"job_id": lease.job_id, "worker": lease.worker, "fence": lease.fence}
    if session.execute(_STILL, wanted).first() is None:
        raise LostLeaseError(lease.job_id)


def complete(session: Session, lease: Lease, made: Made, now: int) -> None:
    """Publish what a worker has made, once: asked again, since no answer came, it is done.

    Raises LostLeaseError if it is too late.
    """
    try:
        job = _held(session, lease)
    except LostLeaseError:
        counts = select(Job.number).where(Job.id == lease.job_id, Job.output == lease.prefix)
        if session.execute(counts).first() is None:
            raise
        return
    job.output, job.facts, job.progress = lease.prefix, made.facts, 100
    job.expires_at = now + made.keep_s
    transition(session, job, COMPLETED, now)


def fail(session: Session, lease: Lease, code: str, message: str, now: int) -> None:
    """End a job that cannot be made. Raises LostLeaseError if it is another's by now."""
    end_failed(session, _held(session, lease), code, message, now)


def end_failed(session: Session, job: Job, code: str, message: str, now: int, *, used: int = 0) -> None:
    """End a job, which the transaction holds, as failed; `used` of its credits are not given back."""
    job.error_code, job.error_message = code, message
    transition(session, job, FAILED, now, used=used)


def give_back(session: Session, lease: Lease) -> None:
    """Let another worker make a job, as if this one had not begun. Raises LostLeaseError."""
    job = _held(session, lease)
    job.worker, job.attempts = None, job.attempts - 1


def give_on(session: Session, job: Job, most_attempts: int, now: int) -> None:
    """Take a job, which the transaction holds, from a lost worker; fail it if that was often enough."""
    job.worker = None
    if job.attempts >= most_attempts:
        message = f"the work on it broke off {job.attempts} times"
        end_failed(session, job, "worker_lost", message, now)


def give_up(session: Session, lease: Lease, most_attempts: int, now: int) -> None:
    """Let another attempt be made after this one, unless it was the last. Raises LostLeaseError."""
    give_on(session, _held(session, lease), most_attempts, now)


def requeue(session: Session, job_id: str) -> Job:
    """Take a job from its worker, who is not to be waited for, and let the next one have it.

    Raises InputError for one that nobody works on.
    """
    job = session.scalars(select(Job).where(Job.id == job_id).with_for_update()).one_or_none()
    if job is None or job.worker is None:
        state = "unknown" if job is None else "waiting" if job.status not in ENDED else job.status
        raise InputError(f"job {job_id[:80]!r} is {state}: only a job that a worker holds can be requeued")
    job.worker = None
    return job


def find(session: Session, account_id: str, job_id: str, *, lock: bool = False) -> Job | None:
    """Return a job of an account that is not deleted."""
    wanted = {"job_id": job_id, "account_id": account_id}
    return session.scalars(_OWN_LOCKED if lock else _OWN, wanted).one_or_none()


def cancel(session: Session, job: Job, now: int, *, free: bool = False) -> None:
    """End a job that is still active; one that has ended stays as it is. The transaction holds it.

    The share that was made is paid for, unless it is `free`.
    """
    if job.status not in ENDED:
        used = 0 if free else math.ceil(job.cost * job.progress / 100)
        end_failed(session, job, CANCELLED, "the job was cancelled", now, used=used)


def delete(session: Session, job: Job, now: int) -> None:
    """End a job if it is active, and forget what it says; its files are swept. The transaction holds it.

    Of its spec only where its uploads lie is left, for the sweeper.
    """
    job.deleted_at = now
    cancel(session, job, now)
    job.spec = {"inputs": job.spec["inputs"]} if job.spec.get("inputs") else {}
    job.prompt, job.facts, job.error_message = "", {}, None


def _held(session: Session, lease: Lease) -> Job:
    """Return the job of a lease, locked. Raises LostLeaseError if the lease is over."""
    job = session.scalars(select(Job).where(*_still(lease)).with_for_update()).one_or_none()
    if job is None:
        raise LostLeaseError(lease.job_id)
    return job


def _still(lease: Lease) -> tuple[Any, ...]:
    return (
        Job.id == lease.job_id,
        Job.worker == lease.worker,
        Job.fence == lease.fence,
        Job.status == IN_PROGRESS,
    )


def _tell(session: Session, job: Job, event: str, now: int) -> None:
    """Write down what the account's endpoints shall be told; none of them goes away meanwhile."""
    enabled = select(Endpoint).where(Endpoint.account_id == job.account_id, Endpoint.disabled_at.is_(None))
    listening = session.scalars(enabled.with_for_update(read=True, key_share=True)).all()
    for endpoint_id in (each.id for each in listening if event in each.events):
        session.add(
            Delivery(
                id=new_id("evt"),
                endpoint_id=endpoint_id,
                event=event,
                job_id=job.id,
                created_at=now,
                next_at=now,
            )
        )
