"""How much anybody may ask for: requests a minute of a key, films a minute and seconds a day of an account.

What is counted in the database holds for all processes that answer; requests of a key are counted by each.
"""

import math
import time
from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from unstatic.server import queue
from unstatic.server.accounts import tier_of
from unstatic.server.errors import LONGEST_WAIT_S, ApiError
from unstatic.server.settings import Settings
from unstatic.server.tables import Account, Job

MINUTE_S, DAY_S = 60, 86_400
MOST_BUCKETS = 100_000


class Rates:
    """A bucket of requests for every key, which fills by `a_minute` and holds so many (token bucket)."""

    def __init__(self, a_minute: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.a_minute, self.monotonic = a_minute, monotonic
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> None:
        """Take one request out. Raises ApiError 429 if the bucket is empty."""
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
    if queue.waiting(session) >= settings.max_queue:
        raise _limit("too many films are waiting", "queue_full", 30)
    if queue.waiting(session, account.id) >= tier.waiting:
        raise _limit(f"{tier.waiting} films of this account are waiting", "queue_full", 30)
    lately = select(func.count(), func.min(Job.created_at)).where(
        Job.account_id == account.id, Job.created_at > now - MINUTE_S, Job.created_at <= now
    )
    count, first = session.execute(lately).one()
    if count >= tier.films:
        message = f"this account may ask for {tier.films} films a minute"
        raise _limit(message, "rate_limit_exceeded", first + MINUTE_S - now)
    today = select(func.coalesce(func.sum(Job.seconds), 0.0)).where(
        Job.account_id == account.id,
        Job.created_at > now - DAY_S,
        Job.created_at <= now,
        Job.status != "failed",
    )
    if float(session.scalar(today) or 0) + seconds > tier.seconds:
        message = f"this account may make {tier.seconds} seconds of film a day"
        raise _limit(message, "daily_limit_exceeded", LONGEST_WAIT_S)


def _limit(message: str, code: str, wait_s: int) -> ApiError:
    return ApiError(429, f"{message}: ask again later", code=code, retry_after_s=wait_s)
