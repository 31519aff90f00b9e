"""Credits, kept by double entry: every movement is rows that add up to nothing.

    grant    house -> available      somebody gives credits
    reserve  available -> reserved   a job is asked for
    close    reserved -> house       what was made of it (settle)
             reserved -> available   what was not        (refund)

The database refuses a second reserve or close of one job, and a balance below nothing.
"""

import math

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from unstatic.core.errors import InputError
from unstatic.core.shapes import Size
from unstatic.server.errors import LONGEST_WAIT_S, ApiError
from unstatic.server.tables import Account, Entry, new_id

CREDIT_PIXELS = 1280 * 720
AVAILABLE, RESERVED, HOUSE = "available", "reserved", "house"


def price(seconds: float | int, size: Size, *, steps: int = 1, usual: int = 1) -> int:
    """Return the credits for a film: one for a second of up to 1280 x 720 pixels, more in proportion.

    Steps beyond the `usual` ones of its model cost as many times as much: they take as many times as long.
    """
    least = max(1.0, seconds * max(1.0, size.width * size.height / CREDIT_PIXELS))
    return math.ceil(least * max(steps, usual) / usual)


def grant(session: Session, account_id: str, amount: int, reason: str, now: int) -> None:
    """Give credits, or take back where `amount` is below zero.

    Raises ApiError for more than there are, and InputError for an account that there is not.
    """
    _change_balance(session, account_id, amount)
    _move(session, account_id, {HOUSE: -amount, AVAILABLE: amount}, "grant", reason, None, now)


def reserve(session: Session, account_id: str, job_id: str, amount: int, now: int) -> None:
    """Put credits aside for a job. Raises ApiError 429 if there are too few."""
    _change_balance(session, account_id, -amount)
    _move(session, account_id, {AVAILABLE: -amount, RESERVED: amount}, "reserve", "job", job_id, now)


def close(session: Session, account_id: str, job_id: str, amount: int, now: int, *, used: int) -> None:
    """Of what was put aside for a job take what was `used`, and give the rest back, in one movement."""
    assert 0 <= used <= amount, f"{used} of {amount} credits cannot be used"
    if used < amount:
        _change_balance(session, account_id, amount - used)
    reason = "settle" if used == amount else "share" if used else "refund"
    to = {HOUSE: used, AVAILABLE: amount - used}
    sides = {RESERVED: -amount} | {pot: change for pot, change in to.items() if change}
    _move(session, account_id, sides, "close", reason, job_id, now)


def check_balance(account: Account, amount: int) -> None:
    """Raise ApiError 429 if an account has not so many credits at the moment."""
    if account.balance < amount:
        raise _too_few(amount)


def pots(session: Session, account_id: str) -> dict[str, int]:
    """Return what the rows say an account has, in every pot."""
    sums = select(Entry.pot, func.sum(Entry.amount)).where(Entry.account_id == account_id).group_by(Entry.pot)
    found = {pot: int(amount) for pot, amount in session.execute(sums)}
    return {pot: found.get(pot, 0) for pot in (AVAILABLE, RESERVED, HOUSE)}


def _change_balance(session: Session, account_id: str, amount: int) -> None:
    """Change a balance in one statement, so that two who spend the last credit do not both get it."""
    changed = session.execute(
        update(Account)
        .where(Account.id == account_id, Account.balance + amount >= 0)
        .values(balance=Account.balance + amount)
        .returning(Account.balance)
    ).one_or_none()
    if changed is None:
        if session.get(Account, account_id) is None:
            shown = "`unstatic admin account list` shows all"
            raise InputError(f"account {account_id[:80]!r} is unknown: {shown}")
        raise _too_few(amount)


def _too_few(amount: int) -> ApiError:
    message = f"this needs {abs(amount)} credits, which the account has not"
    return ApiError(429, message, code="insufficient_quota", retry_after_s=LONGEST_WAIT_S)


def _move(
    session: Session,
    account_id: str,
    sides: dict[str, int],
    step: str,
    reason: str,
    job_id: str | None,
    now: int,
) -> None:
    movement = new_id("move")
    for pot, change in sides.items():
        session.add(
            Entry(
                movement=movement,
                account_id=account_id,
                pot=pot,
                amount=change,
                step=step,
                reason=reason,
                job_id=job_id,
                created_at=now,
            )
        )
    session.flush()
