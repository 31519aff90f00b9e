"""How much anybody may ask for: requests a minute of a key, films a minute and seconds a day of an account.

What is counted in the database holds for all processes that answer; requests of a key are counted by each.
"""

import math
import threading
import time
from collections.abc import Callable

from sqlalchemy import ColumnElement, case, func, or_, select, text
from sqlalchemy.orm import Session

from unstatic.server import queue
from unstatic.server.accounts import Tier, tier_of
from unstatic.server.errors import LONGEST_WAIT_S, ApiError
from unstatic.server.jobs import CANCELLED, FAILED
from unstatic.server.settings import Settings
from unstatic.server.tables import Account, Job

MINUTE_S, DAY_S = 60, 86_400
MOST_BUCKETS = 100_000
# How many may ask for films at the same moment, and any number: who takes one of the last places holds it
CROWD, QUEUE_LOCK = 500, 7_210_062


class Rates:
    """A bucket of requests for every key, which fills by `a_minute` and holds so many (token bucket)."""

    def __init__(self, a_minute: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.a_minute, self.monotonic = a_minute, monotonic
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, name: str) -> None:
        """Take one request out. Raises ApiError 429 if the bucket is empty."""
        with self._lock:
            now_s = self.monotonic()
            left, since_s = self._buckets.pop(name, (float(self.a_minute), now_s))
            left = min(self.a_minute, left + (now_s - since_s) * self.a_minute / MINUTE_S)
            taken = left >= 1
            self._buckets[name] = (left - taken, now_s)
            if len(self._buckets) > MOST_BUCKETS:  # the one that was not used for longest
                del self._buckets[next(iter(self._buckets))]
        if not taken:
            wait_s = math.ceil((1 - left) * MINUTE_S / self.a_minute)
            raise _limit(
                f"this key may make {self.a_minute} requests a minute", "rate_limit_exceeded", wait_s
            )


def check_new_job(session: Session, account: Account, seconds: float, now: int, settings: Settings) -> None:
    """Raise ApiError 429, or 403 for what the tier never may, if an account may not ask for this film now."""
    tier = tier_of(account.tier)
    if seconds > tier.longest_s:
        message = f"accounts of the tier {account.tier} make films of up to {tier.longest_s:g} seconds"
        raise ApiError(403, message, code="tier_limit", param="seconds")
    _check_queue(session, settings.max_queue)
    if queue.waiting(session, account.id) >= tier.waiting:
        raise _limit(f"{tier.waiting} films of this account are waiting", "queue_full", 30)
    _check_films(session, account, tier, now)
    _check_day(session, account, tier, seconds, now)


def check_upload(tier: str) -> None:
    """Raise ApiError 403 if accounts of a tier may send no files."""
    if not tier_of(tier).uploads:
        message = f"accounts of the tier {tier} cannot send pictures and videos: leave them out"
        raise ApiError(403, message, code="tier_limit")


def _check_queue(session: Session, most: int) -> None:
    """Near its end the queue takes one transaction after the other, so that none overshoots it.

    Only more than `CROWD` transactions at a moment would: SQLite lets one write at a time anyway.
    """
    waiting = queue.waiting(session)
    if most - CROWD <= waiting < most and session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SELECT pg_advisory_xact_lock({QUEUE_LOCK})"))
        waiting = queue.waiting(session)
    if waiting >= most:
        raise _limit("too many films are waiting", "queue_full", 30)


def _check_films(session: Session, account: Account, tier: Tier, now: int) -> None:
    lately = select(Job.created_at).where(*_since(account, now - MINUTE_S, now)).order_by(Job.created_at)
    made = session.scalars(lately).all()
    if len(made) >= tier.films:
        message = f"this account may ask for {tier.films} films a minute"
        wait_s = made[len(made) - tier.films] + MINUTE_S - now
        raise _limit(message, "rate_limit_exceeded", wait_s)


def _check_day(session: Session, account: Account, tier: Tier, seconds: float, now: int) -> None:
    """Count what was made or is to be made within a day, also of what was cancelled; not what failed."""
    made = or_(Job.status != FAILED, Job.error_code == CANCELLED)
    today = (*_since(account, now - DAY_S, now), made)
    share = case((Job.status == FAILED, Job.progress / 100.0), else_=1.0)
    length_s = Job.seconds * share
    taken = session.scalar(select(func.sum(length_s)).where(*today)) or 0.0
    over = taken + seconds - tier.seconds
    if over <= 0:
        return
    wait_s = LONGEST_WAIT_S
    for created_at, length in session.execute(
        select(Job.created_at, length_s).where(*today).order_by(Job.created_at)
    ):
        over -= length
        if over <= 0:
            wait_s = created_at + DAY_S - now
            break
    message = f"this account may make {tier.seconds} seconds of film a day"
    raise _limit(message, "daily_limit_exceeded", wait_s)


def _since(account: Account, after: int, now: int) -> tuple[ColumnElement[bool], ...]:
    """Return what is true for the jobs that an account asked for after a time."""
    return (Job.account_id == account.id, Job.created_at > after, Job.created_at <= now)


def _limit(message: str, code: str, wait_s: int) -> ApiError:
    return ApiError(429, f"{message}: ask again later", code=code, retry_after_s=wait_s)
