"""One job for one wish, however often it is sent: after a time-out, at once, or again after a restart.

Who sends an Idempotency-Key gets the first answer to it. Who sends none, but says that it is a retry (as the
official client does, in x-stainless-retry-count), gets the answer to the same body if that was lately, or of
pictures, which are waited for, if they are still made or lately were. So does who is overtaken by the retry
of the same body. Both are rows of `remembered`, written in the transaction that writes the job; `sweep.py`
deletes those of bodies as soon as nothing is a retry of them, and those of pictures with the keys.

What was made may be deleted when its key is sent again. It is not made a second time then: a film is answered
as it was at first but for its words, which are forgotten, and all else that is gone is 404.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from unstatic.server.database import Database
from unstatic.server.errors import ApiError
from unstatic.server.forms import Upload
from unstatic.server.state import Server
from unstatic.server.tables import ACTIVE, Account, Job, Remembered

KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What tells one wish from another: its key, whether it is a retry, and the SHA-256 of what it says."""

    key: str | None
    again: bool
    digest: str


def attempt_of(
    headers: Mapping[str, str], path: str, body: BaseModel, files: Mapping[str, Upload]
) -> Attempt:
    """Return what tells this request from others. Raises ApiError for a key that is none."""
    key = headers.get("idempotency-key")
    if key is not None and KEY.fullmatch(key) is None:
        message = "the Idempotency-Key has 1 to 255 visible characters of ASCII"
        raise ApiError(400, message, code="invalid_idempotency_key")
    said = body.model_dump(mode="json", exclude_unset=True)
    sent = {name: upload.digest for name, upload in files.items()}
    digest = hashlib.sha256(json.dumps([path, said, sent], sort_keys=True).encode()).hexdigest()
    count = headers.get("x-stainless-retry-count", "0")
    return Attempt(key, count.isdecimal() and count.strip("0") != "", digest)


def once(
    server: Server,
    account_id: str,
    attempt: Attempt,
    *,
    prepare: Callable[[], T],
    write: Callable[[Session, Account, T], list[str]],
    undo: Callable[[T], None],
) -> list[str]:
    """Return the ids of what a wish made: what `write` wrote, now or when it was first sent.

    `prepare` does what takes time before the transaction, and `undo` takes that back where it was not needed.
    When a commit fails the database is asked whether it counts; if it is silent all stays for the sweeper.
    """
    database, arrived = server.database, server.database.now()

    def known() -> list[str] | None:
        with database.reading() as session:
            return _remembered(session, server, account_id, attempt, arrived)

    if (made := known()) is not None:
        return made
    try:
        prepared, written = prepare(), list[str]()
    except ApiError:  # maybe only because the same wish was granted meanwhile, and took what is lacking now
        if (made := known()) is None:
            raise
        return made
    try:
        with database.writing() as session:
            account = session.get_one(Account, account_id, with_for_update={"key_share": True})  # one by one
            made = _remembered(session, server, account_id, attempt, arrived)
            if made is None:
                made = write(session, account, prepared)
                _remember(session, account_id, attempt, made, database.now())
                written = made
    except BaseException:
        if not (written and _counts(database, account_id, attempt, written)):
            undo(prepared)
        raise
    if not written:
        undo(prepared)
    return made


def _counts(database: Database, account_id: str, attempt: Attempt, made: list[str]) -> bool:
    """Return whether a commit that failed may have been one."""
    try:
        with database.writing() as session:
            session.get_one(Account, account_id, with_for_update=True)  # it may not be over yet
            row = session.get(Remembered, (account_id, _names(attempt)[1]))
    except SQLAlchemyError:
        return True
    return row is not None and row.body["ids"] == made


def _names(attempt: Attempt) -> tuple[str | None, str]:
    """Return the primary keys under which a wish is remembered."""
    return (None if attempt.key is None else f"key {attempt.key}", f"body {attempt.digest}")


def _remembered(
    session: Session, server: Server, account_id: str, attempt: Attempt, arrived: int
) -> list[str] | None:
    """Return what a wish made before. Raises ApiError 422 if its key stood for another one.

    What is no retry is known only by one that was written after it had `arrived`: its client gave up waiting.
    """
    by_key, by_body = _names(attempt)
    now = server.database.now()
    if by_key is not None:
        row = session.get(Remembered, (account_id, by_key))
        if row is not None and now - row.created_at <= server.settings.remember:
            if row.digest != attempt.digest:
                message = "this Idempotency-Key was sent with another body before: take a new one"
                raise ApiError(422, message, code="idempotency_key_reused")
            return list(row.body["ids"])
        return None
    row = session.get(Remembered, (account_id, by_body))
    if row is None:
        return None
    ids, since = list(row.body["ids"]), now - server.settings.retry_window
    if not attempt.again:
        return ids if row.body.get("again") and row.created_at > arrived else None
    return ids if row.created_at >= since or _are_waited_for(session, ids, since) else None


def _are_waited_for(session: Session, ids: list[str], since: float | int) -> bool:
    """Return whether a job is a picture that has not ended, or has since then."""
    lately = ACTIVE | (Job.completed_at >= since)
    pictures = select(Job.number).where(Job.id.in_(ids), Job.kind == "image", lately)
    return session.scalar(pictures.limit(1)) is not None


def _remember(session: Session, account_id: str, attempt: Attempt, made: list[str], now: int) -> None:
    for name in filter(None, _names(attempt)):
        session.execute(delete(Remembered).where(Remembered.account_id == account_id, Remembered.key == name))
        session.add(
            Remembered(
                account_id=account_id,
                key=name,
                digest=attempt.digest,
                status=200,
                body={"ids": made, "again": attempt.again},
                created_at=now,
            )
        )
    session.flush()
