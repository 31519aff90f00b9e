"""What the database holds. Times are whole seconds since 1970 by the clock that `Database` was given."""

import secrets
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    func,
    literal_column,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, QueryableAttribute, mapped_column

# SQLite counts up only what it calls INTEGER
Number = BigInteger().with_variant(Integer, "sqlite")


def new_id(kind: str) -> str:
    """Return a name that nobody can guess: the kind and 128 random bits."""
    return f"{kind}_{secrets.token_hex(16)}"


class Table(DeclarativeBase):
    """What all tables have in common: their metadata, and how types of Python are kept."""

    type_annotation_map = {str: Text(), int: BigInteger(), dict[str, Any]: JSON(), list[str]: JSON()}  # noqa: RUF012


class Account(Table):
    """Who asks for films. `balance` is what can be spent; the least `virtual_time` is served first.

    At most `concurrency` of its jobs are made at a time, and it gets `weight` times the share of another.
    `last_start` is the virtual time at which it was served last.
    """

    __tablename__ = "accounts"
    __table_args__ = (CheckConstraint("balance >= 0", name="accounts_never_owe"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    tier: Mapped[str]
    concurrency: Mapped[int]
    weight: Mapped[float]
    balance: Mapped[int] = mapped_column(default=0)
    virtual_time: Mapped[float] = mapped_column(default=0.0)
    last_start: Mapped[float] = mapped_column(default=0.0, index=True)
    created_at: Mapped[int]
    disabled_at: Mapped[int | None] = mapped_column(default=None)


class Key(Table):
    """A key to an account: its SHA-256, and the few characters that are shown again."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str]
    shown: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[int]
    expires_at: Mapped[int | None] = mapped_column(default=None)
    revoked_at: Mapped[int | None] = mapped_column(default=None)
    used_at: Mapped[int | None] = mapped_column(default=None)


class Invite(Table):
    """A code that makes an account of a tier, once."""

    __tablename__ = "invites"

    id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    tier: Mapped[str]
    credits: Mapped[int]
    created_at: Mapped[int]
    expires_at: Mapped[int | None] = mapped_column(default=None)
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"), default=None)


class Job(Table):
    """One film or picture that somebody asked for (`jobs.py` says what may become of it).

    `number` orders lists. A row that is deleted stays, without its words, so that lists go on after it. An
    attempt is known by `fence`, which every claim raises, and `beat` goes up while its worker lives. Its
    files lie under `output` once they count; `tidied_at` what else it left was deleted, and `swept_at` all.
    """

    __tablename__ = "jobs"

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    kind: Mapped[str]
    model: Mapped[str]
    prompt: Mapped[str]
    spec: Mapped[dict[str, Any]]
    size: Mapped[str]
    seconds: Mapped[float]
    cost: Mapped[int]
    remixed_from: Mapped[str | None] = mapped_column(default=None)
    trace: Mapped[str | None] = mapped_column(default=None)

    status: Mapped[str]
    progress: Mapped[int] = mapped_column(default=0)
    error_code: Mapped[str | None] = mapped_column(default=None)
    error_message: Mapped[str | None] = mapped_column(default=None)
    output: Mapped[str | None] = mapped_column(default=None)
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)

    worker: Mapped[str | None] = mapped_column(default=None)
    fence: Mapped[int] = mapped_column(default=0)
    beat: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)

    created_at: Mapped[int]
    started_at: Mapped[int | None] = mapped_column(default=None)
    completed_at: Mapped[int | None] = mapped_column(default=None)
    expires_at: Mapped[int | None] = mapped_column(default=None)
    deleted_at: Mapped[int | None] = mapped_column(default=None)
    tidied_at: Mapped[int | None] = mapped_column(default=None)
    swept_at: Mapped[int | None] = mapped_column(default=None)


# A database takes an index of some rows only where a statement says in the same words which: no parameters
def is_active(status: QueryableAttribute[str]) -> ColumnElement[bool]:
    """Return whether the status of a job, or of an alias of one, says that it waits or is made."""
    return status.in_((literal_column("'queued'", Text), literal_column("'in_progress'", Text)))


ACTIVE = is_active(Job.status)
Index("jobs_of_an_account", Job.account_id, Job.number)
Index("jobs_lately", Job.account_id, Job.created_at)
# With all that a claim asks for: else SQLite takes the index above, and walks through all that ever ended
_ASKED_BY_CLAIMS = (Job.account_id, Job.number, Job.status, Job.worker, Job.model)
Index("jobs_active", *_ASKED_BY_CLAIMS, postgresql_where=ACTIVE, sqlite_where=ACTIVE)
HELD = Job.worker.is_not(None)
Index("jobs_held", Job.account_id, postgresql_where=HELD, sqlite_where=HELD)
UNSWEPT = Job.swept_at.is_(None)
Index("jobs_unswept", Job.number, postgresql_where=UNSWEPT, sqlite_where=UNSWEPT)


class Character(Table):
    """A named clip whose look later films may take up; its `description` is that look in words.

    A row that is deleted stays for a day, so that its like can be counted; its `clip` is "" once it is swept.
    """

    __tablename__ = "characters"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str]
    description: Mapped[str | None]
    clip: Mapped[str]
    created_at: Mapped[int]
    deleted_at: Mapped[int | None] = mapped_column(default=None, index=True)


class Entry(Table):
    """One side of a movement of credits; the sides of a movement add up to nothing.

    A job takes each `step`, "reserve" and "close", once.
    """

    __tablename__ = "entries"
    __table_args__ = (UniqueConstraint("job_id", "step", "pot", name="entries_once"),)

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    movement: Mapped[str] = mapped_column(index=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    pot: Mapped[str]
    amount: Mapped[int]
    step: Mapped[str]
    reason: Mapped[str]
    job_id: Mapped[str | None] = mapped_column(default=None)
    created_at: Mapped[int]


class Remembered(Table):
    """The first answer to an Idempotency-Key, for whoever asks again."""

    __tablename__ = "remembered"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    status: Mapped[int]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[int] = mapped_column(index=True)


# Needed for a short time only, and there is one for every POST
BODIES = func.substr(Remembered.key, 1, 5) == literal_column("'body '", Text)
Index("remembered_bodies", Remembered.created_at, postgresql_where=BODIES, sqlite_where=BODIES)


_FIRST_ID = func.coalesce(Remembered.body[("ids", 0)].as_string(), "")
PICTURES = _FIRST_ID.startswith("image_")


class Endpoint(Table):
    """Where an account wants to be told which events, and the secrets that sign them; the old for a while."""

    __tablename__ = "endpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    url: Mapped[str]
    name: Mapped[str]
    events: Mapped[list[str]]
    secret: Mapped[str]
    old_secret: Mapped[str | None] = mapped_column(default=None)
    old_secret_until: Mapped[int | None] = mapped_column(default=None)
    created_at: Mapped[int]
    failing_since: Mapped[int | None] = mapped_column(default=None)
    disabled_at: Mapped[int | None] = mapped_column(default=None)


class Delivery(Table):
    """Something that an endpoint shall be told; written in the transaction in which it happened."""

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("endpoints.id"), index=True)
    event: Mapped[str]
    job_id: Mapped[str]
    created_at: Mapped[int]
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[int | None] = mapped_column(index=True)
    delivered_at: Mapped[int | None] = mapped_column(default=None, index=True)
