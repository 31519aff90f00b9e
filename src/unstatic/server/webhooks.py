"""Endpoints of an account, which want to be told what became of its jobs; signing as Standard Webhooks says.

`outbox.py` tells them.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from unstatic.core.errors import InputError
from unstatic.server.errors import ApiError
from unstatic.server.fetching import Policy
from unstatic.server.settings import Settings
from unstatic.server.tables import Account, Delivery, Endpoint, new_id

EVENTS = ("video.completed", "video.failed")
MOST_ENDPOINTS = 10
SECRET_BYTES = 32
OVERLAP_S = 86_400
# How long one attempt may take, and what may be read of its answer
TIME_S, ANSWER_BYTES = 10, 65_536


def policy_of(settings: Settings) -> Policy:
    """Return where webhooks may go, and for how long one may take."""
    return Policy(
        http=True, allowed_networks=settings.allowed_networks, time_s=TIME_S, max_bytes=ANSWER_BYTES
    )


# ------------------------------------------------------------------------------------------------ endpoints


def make(
    session: Session, account_id: str, url: str, now: int, *, name: str = "", events: tuple[str, ...] = EVENTS
) -> Endpoint:
    """Write an endpoint of an account, with a secret of its own. Raises ApiError if it has too many."""
    session.scalars(select(Account.id).where(Account.id == account_id).with_for_update()).one()
    check_room(session, account_id)
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


def check_room(session: Session, account_id: str) -> None:
    """Raise ApiError 400 if an account has as many endpoints as it may."""
    if len(list_of(session, account_id)) >= MOST_ENDPOINTS:
        message = f"an account has at most {MOST_ENDPOINTS} webhook endpoints: delete one first"
        raise ApiError(400, message, code="too_many_endpoints")


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
    endpoint.old_secret_until = now + OVERLAP_S if keep_old else None
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
