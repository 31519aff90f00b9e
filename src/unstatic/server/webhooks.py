"""Telling an account's endpoints what became of its jobs, signed after Standard Webhooks.

What shall be told is a row of `deliveries`, written with what happened. A sender claims a row, sends it, and
writes down how that went. If it dies in between, the row is due again after `HELD_S`, and the endpoint is
told twice, under the same id.
"""

import base64
import binascii
import hashlib
import hmac
import json
import logging
import math
import random
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from unstatic.core.errors import InputError, UnstaticError
from unstatic.server.database import Database
from unstatic.server.errors import ApiError
from unstatic.server.tables import Account, Delivery, Endpoint, new_id

EVENTS = ("video.completed", "video.failed")
MOST_ENDPOINTS = 10
SECRET_BYTES = 32
DAY_S, WEEK_S = 86_400, 7 * 86_400

FIRST_WAIT_S, LONGEST_WAIT_S = 5, 3_600
# A clock that jumps ahead does not use a day up, and one that jumps back does not make it endless
LEAST_ATTEMPTS, MOST_ATTEMPTS = 12, 64
# How long a claim lasts: longer than any time-out of sending
HELD_S = 120
IN_A_ROW = 20
TIDY_EVERY_S = 600
AT_ONCE = 1_000

log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What an endpoint said: the code, and the header Retry-After."""

    status: int
    retry_after: str = ""


Post = Callable[[str, bytes, dict[str, str]], Answer]


# ------------------------------------------------------------------------------------------------ endpoints


def make(
    session: Session, account_id: str, url: str, now: int, *, name: str = "", events: tuple[str, ...] = EVENTS
) -> Endpoint:
    """Write an endpoint of an account, with a secret of its own. Raises ApiError if it has too many."""
    session.scalars(select(Account.id).where(Account.id == account_id).with_for_update()).one()
    if len(list_of(session, account_id)) >= MOST_ENDPOINTS:
        message = f"an account has at most {MOST_ENDPOINTS} webhook endpoints: delete one first"
        raise ApiError(400, message, code="too_many_endpoints")
    endpoint = Endpoint(
        id=new_id("we"),
        account_id=account_id,
        url=url,
        name=name,
        events=list(events),
        secret=new_secret(),
        created_at=now,
    )
    session.add(endpoint)
    session.flush()
    return endpoint


def list_of(session: Session, account_id: str) -> list[Endpoint]:
    """Return the endpoints of an account, the newest first."""
    mine = select(Endpoint).where(Endpoint.account_id == account_id)
    return list(session.scalars(mine.order_by(Endpoint.created_at.desc(), Endpoint.id)))


def find(session: Session, account_id: str, endpoint_id: str, *, lock: bool = False) -> Endpoint | None:
    """Return an endpoint of an account."""
    wanted = select(Endpoint).where(Endpoint.id == endpoint_id, Endpoint.account_id == account_id)
    return session.scalars(wanted.with_for_update() if lock else wanted).one_or_none()


def rotate(endpoint: Endpoint, now: int, *, keep_old: bool = True) -> None:
    """Give an endpoint a new secret; for a day the old one signs as well, if it is kept."""
    endpoint.old_secret = endpoint.secret if keep_old else None
    endpoint.old_secret_until = now + DAY_S if keep_old else None
    endpoint.secret = new_secret()


def disable(session: Session, endpoint: Endpoint, now: int) -> None:
    """Tell an endpoint, which the transaction holds, nothing more, nor what it still should have heard."""
    endpoint.disabled_at = now
    session.execute(
        delete(Delivery).where(Delivery.endpoint_id == endpoint.id, Delivery.delivered_at.is_(None))
    )


def enable(endpoint: Endpoint) -> None:
    """Tell an endpoint again what happens from now on."""
    endpoint.disabled_at = endpoint.failing_since = None


def remove(session: Session, endpoint: Endpoint) -> None:
    """Delete an endpoint, which the transaction holds, and all that it should have heard."""
    session.execute(delete(Delivery).where(Delivery.endpoint_id == endpoint.id))
    session.delete(endpoint)


# -------------------------------------------------------------------------------------------------- signing


def new_secret() -> str:
    """Return a secret as Standard Webhooks writes it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sign(secret: str, delivery_id: str, timestamp: int, body: bytes) -> str:
    """Return a signature for the header `webhook-signature`; several are separated by spaces.

    Raises InputError for a secret that is none.
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise InputError("a webhook secret is whsec_ and base64: rotate it") from None
    content = f"{delivery_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def write_body(delivery: Delivery) -> bytes:
    """Return what an endpoint is sent: the same at every attempt."""
    content = {
        "id": delivery.id,
        "object": "event",
        "created_at": delivery.created_at,
        "type": delivery.event,
        "data": {"id": delivery.job_id},
    }
    return json.dumps(content, separators=(",", ":")).encode()


# -------------------------------------------------------------------------------------------------- sending


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

    An endpoint is told one thing after the other, so that one that hangs holds one thread; those that failed
    last time get half of the threads at most. `post` takes ten seconds at most and follows no redirect;
    `count` hears "delivered", "failed", "dropped" and "disabled".
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
        self._busy: dict[str, bool] = {}  # by endpoint: whether it failed last time
        self._begun: set[Future[None]] = set()
        self._lock = threading.Lock()
        self._tidied_s = -math.inf

    def look(self) -> int:
        """Begin what is due and return to how many endpoints; nothing is waited for."""
        if self.monotonic() - self._tidied_s >= TIDY_EVERY_S:
            self._tidied_s = self.monotonic()
            self._tidy()
        begun = 0
        with self._lock:
            for endpoint_id, failing in self._due():
                crowded = failing and sum(self._busy.values()) >= self.threads // 2
                if crowded or len(self._busy) >= self.threads:
                    break
                self._busy[endpoint_id] = failing
                task = self._pool.submit(self._serve, endpoint_id)
                self._begun.add(task)
                task.add_done_callback(self._begun.discard)
                begun += 1
        return begun

    def finish(self) -> None:
        """Wait for what was begun."""
        wait(set(self._begun))

    def close(self) -> None:
        """Wait for what was begun, and begin nothing more."""
        self._pool.shutdown()

    def _due(self) -> list[tuple[str, bool]]:
        """Return which endpoints shall be told something, those that work first."""
        failing = Endpoint.failing_since.is_not(None)
        wanted = (
            select(Endpoint.id, failing)
            .join(Delivery, Delivery.endpoint_id == Endpoint.id)
            .where(_is_due(self.database.now()), Endpoint.disabled_at.is_(None))
            .where(Endpoint.id.not_in(list(self._busy)))
            .group_by(Endpoint.id, failing)
            .order_by(failing, func.min(Delivery.next_at))
            .limit(self.threads)
        )
        with self.database.reading() as session:
            return [(endpoint_id, bool(failed)) for endpoint_id, failed in session.execute(wanted)]

    def _serve(self, endpoint_id: str) -> None:
        """Tell an endpoint what is due until it fails; others get a turn after a while."""
        try:
            for _ in range(IN_A_ROW):
                claim = self._claim(endpoint_id)
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
        disabled = select(Endpoint.id).where(Endpoint.disabled_at.is_not(None))
        over = or_(
            Delivery.delivered_at <= now - WEEK_S,
            Delivery.delivered_at.is_(None) & Delivery.endpoint_id.in_(disabled),
        )
        with self.database.writing() as session:
            some = select(Delivery.id).where(over).limit(AT_ONCE)
            session.execute(delete(Delivery).where(Delivery.id.in_(some)))
            session.execute(
                update(Endpoint)
                .where(Endpoint.old_secret_until <= now)
                .values(old_secret=None, old_secret_until=None)
            )


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
