"""Sending what the outbox holds: webhooks to endpoints, again and again for a day.

What shall be told is a row of `deliveries`, written with what happened. A sender claims a row, sends it, and
writes down how that went. If it dies in between, the row is due again after `HELD_S`, and the endpoint is
told twice, under the same id.
"""

import logging
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, func, or_, select, update

from unstatic.core.errors import UnstaticError
from unstatic.server.database import Database
from unstatic.server.fetching import Answer
from unstatic.server.tables import Delivery, Endpoint
from unstatic.server.webhooks import disable, sign, write_body

DAY_S, WEEK_S = 86_400, 7 * 86_400
FIRST_WAIT_S, LONGEST_WAIT_S = 5, 3_600
# A clock that jumps ahead does not use a day up, and one that jumps back does not make it endless
LEAST_ATTEMPTS, MOST_ATTEMPTS = 12, 64
# How long a claim lasts: longer than an attempt may take
HELD_S = 120
IN_A_ROW = 20
TIDY_EVERY_S = 600
AT_ONCE = 1_000

Post = Callable[[str, bytes, dict[str, str]], Answer]

log = logging.getLogger(__name__)


class Due(NamedTuple):
    """An endpoint that shall be told something, and whether that failed last time."""

    endpoint_id: str
    account_id: str
    failing: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """What a sender may send now: attempt `attempt` of a delivery."""

    delivery_id: str
    endpoint_id: str
    attempt: int
    url: str
    body: bytes
    secrets: tuple[str, ...]


class Sender:
    """Delivers what is due, each endpoint in a thread of its own. Any number of senders share a database.

    An endpoint is told one thing after the other, so that one that hangs holds one thread; those of one
    account get a quarter of the threads at most, and those that failed last time half. `post` takes ten
    seconds at most and follows no redirect; `count` hears "delivered", "failed", "dropped" and "disabled".
    """

    def __init__(
        self,
        database: Database,
        post: Post,
        *,
        count: Callable[[str], None] = lambda _: None,
        threads: int = 16,
        monotonic: Callable[[], float] = time.monotonic,
        dice: random.Random | None = None,
    ) -> None:
        self.database, self.post, self.count = database, post, count
        self.threads, self.monotonic, self.dice = threads, monotonic, dice or random.Random()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="webhooks")
        self._busy: dict[str, Due] = {}
        self._begun: set[Future[None]] = set()
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._tidied_s = -math.inf

    def look(self) -> int:
        """Begin what is due and return to how many endpoints; nothing is waited for."""
        if self._closing.is_set():
            return 0
        if self.monotonic() - self._tidied_s >= TIDY_EVERY_S:
            self._tidied_s = self.monotonic()
            self._tidy()
        begun = 0
        with self._lock:
            for due in self._due():
                failing = sum(each.failing for each in self._busy.values())
                if len(self._busy) >= self.threads or (due.failing and failing >= self.threads // 2):
                    break
                if due.account_id in self._full():
                    continue
                self._busy[due.endpoint_id] = due
                task = self._pool.submit(self._serve, due.endpoint_id)
                self._begun.add(task)
                task.add_done_callback(self._begun.discard)
                begun += 1
        return begun

    def finish(self) -> None:
        """Wait for what was begun."""
        wait(set(self._begun))

    def close(self) -> None:
        """Wait for what is being sent, and begin nothing more: the rest stays due."""
        self._closing.set()
        self._pool.shutdown()

    def _full(self) -> list[str]:
        """Return which accounts have as many threads as they may."""
        busy = Counter(each.account_id for each in self._busy.values())
        return [account_id for account_id, count in busy.items() if count >= max(1, self.threads // 4)]

    def _due(self) -> list[Due]:
        """Return which endpoints shall be told something, those that work first."""
        failing = Endpoint.failing_since.is_not(None)
        wanted = (
            select(Endpoint.id, Endpoint.account_id, failing)
            .join(Delivery, Delivery.endpoint_id == Endpoint.id)
            .where(_is_due(self.database.now()), Endpoint.disabled_at.is_(None))
            .where(Endpoint.id.not_in(list(self._busy)), Endpoint.account_id.not_in(self._full()))
            .group_by(Endpoint.id, Endpoint.account_id, failing)
            .order_by(failing, func.min(Delivery.next_at))
            .limit(self.threads)
        )
        with self.database.reading() as session:
            return [
                Due(name, account_id, bool(failed)) for name, account_id, failed in session.execute(wanted)
            ]

    def _serve(self, endpoint_id: str) -> None:
        """Tell an endpoint what is due until it fails; others get a turn after a while."""
        try:
            for _ in range(IN_A_ROW):
                claim = None if self._closing.is_set() else self._claim(endpoint_id)
                if claim is None or not self._send(claim):
                    break
        except Exception as error:
            log.error("a webhook was not delivered: %s", type(error).__name__)
            raise
        finally:
            with self._lock:
                del self._busy[endpoint_id]

    def _claim(self, endpoint_id: str) -> Claim | None:
        """Take what is due first, so that no other sender takes it for a while."""
        now = self.database.now()
        wanted = (
            select(Delivery, Endpoint)
            .join(Endpoint, Delivery.endpoint_id == Endpoint.id)
            .where(_is_due(now), Endpoint.id == endpoint_id, Endpoint.disabled_at.is_(None))
            .order_by(Delivery.next_at)
            .limit(1)
            .with_for_update(of=Delivery, skip_locked=True)
        )
        with self.database.writing() as session:
            if (found := session.execute(wanted).one_or_none()) is None:
                return None
            delivery, endpoint = found
            delivery.attempts, delivery.next_at = delivery.attempts + 1, now + HELD_S
            old = endpoint.old_secret if (endpoint.old_secret_until or 0) > now else None
            keys = (endpoint.secret,) if old is None else (endpoint.secret, old)
            body = write_body(delivery)
            return Claim(delivery.id, endpoint.id, delivery.attempts, endpoint.url, body, keys)

    def _send(self, claim: Claim) -> bool:
        """Send what was claimed, write down how it went, and return whether it arrived."""
        now = self.database.now()
        signatures = [sign(secret, claim.delivery_id, now, claim.body) for secret in claim.secrets]
        headers = {
            "content-type": "application/json",
            "webhook-id": claim.delivery_id,
            "webhook-timestamp": str(now),
            "webhook-signature": " ".join(signatures),
        }
        wanted_s = 0
        try:
            answer = self.post(claim.url, claim.body, headers)
            arrived = 200 <= answer.status < 300
            wanted_s = read_retry_after(answer.retry_after, self.database.now())
        except (UnstaticError, OSError):
            arrived = False
        wait_s = max(wait_after(claim.attempt, self.dice.random()), wanted_s)
        self.count(self._write_down(claim, arrived, wait_s))
        return arrived

    def _write_down(self, claim: Claim, arrived: bool, wait_s: int) -> str:
        now = self.database.now()
        with self.database.writing() as session:
            # An endpoint is locked before its deliveries, as where it is removed
            wanted = select(Endpoint).where(Endpoint.id == claim.endpoint_id)
            endpoint = session.scalars(wanted.with_for_update(key_share=True)).one_or_none()
            row = select(Delivery).where(Delivery.id == claim.delivery_id).with_for_update()
            delivery = session.scalars(row).one_or_none()
            if endpoint is None or delivery is None:
                return "dropped"
            if arrived:
                delivery.delivered_at, delivery.next_at, endpoint.failing_since = now, None, None
                return "delivered"
            if delivery.attempts != claim.attempt or delivery.delivered_at is not None:
                return "failed"  # another sender has it by now

            since = min(endpoint.failing_since or now, now)
            endpoint.failing_since = since
            delivery.next_at = now + wait_s
            often_enough = delivery.attempts >= LEAST_ATTEMPTS
            if often_enough and now - since >= DAY_S:
                disable(session, endpoint, now)
                return "disabled"
            if (often_enough and now - delivery.created_at >= DAY_S) or delivery.attempts >= MOST_ATTEMPTS:
                session.delete(delivery)
                return "dropped"
            return "failed"

    def _tidy(self) -> None:
        """Forget what was delivered a week ago, secrets that are over, and what disabled ones should hear."""
        now = self.database.now()
        self._forget(Delivery.delivered_at <= now - WEEK_S)
        disabled = select(Endpoint.id).where(Endpoint.disabled_at.is_not(None))
        self._forget(Delivery.delivered_at.is_(None) & Delivery.endpoint_id.in_(disabled))
        with self.database.writing() as session:
            session.execute(
                update(Endpoint)
                .where(Endpoint.old_secret_until <= now)
                .values(old_secret=None, old_secret_until=None)
            )

    def _forget(self, over: ColumnElement[bool]) -> None:
        """Delete deliveries until few are left; it holds no endpoint, and waits for none that others hold."""
        some = select(Delivery.id).where(over).limit(AT_ONCE).with_for_update(skip_locked=True)
        gone, found = delete(Delivery).where(Delivery.id.in_(some)).returning(Delivery.id), AT_ONCE
        while found == AT_ONCE:
            with self.database.writing() as session:
                found = len(session.execute(gone).all())


def wait_after(attempt: int, share: float) -> int:
    """Return the seconds to wait after an attempt that failed: twice as long each time, less up to half.

    `share`, from 0 to 1, spreads what failed together.
    """
    longest = min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S)
    return round(longest * (0.5 + 0.5 * share))


def read_retry_after(value: str, now: int) -> int:
    """Return the seconds that a Retry-After asks for, an hour at most; 0 if it asks for nothing."""
    if value.isascii() and value.strip().isdigit():
        asked = int(value[:9])
    else:
        try:
            asked = int(parsedate_to_datetime(value).timestamp()) - now
        except (ValueError, OverflowError):
            return 0
    return min(max(asked, 0), LONGEST_WAIT_S)


def _is_due(now: int) -> ColumnElement[bool]:
    """Nothing waits longer than the longest wait: where it seems so, the clock has jumped back."""
    return or_(Delivery.next_at <= now, Delivery.next_at > now + LONGEST_WAIT_S)
