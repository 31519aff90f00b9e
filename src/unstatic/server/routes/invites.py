"""/v1/invites: a code that somebody was given becomes an account with a key."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from unstatic.server import accounts, forms
from unstatic.server.routes.incoming import ERRORS, server_of
from unstatic.server.schemas import Body, of_body, read_body
from unstatic.server.state import Server

MOST_BYTES = 10_000
router = APIRouter(prefix="/v1/invites", tags=["invites"], responses=ERRORS)


class RedeemBody(Body):
    """A code, and how its account shall be called."""

    code: Annotated[str, Field(min_length=1, max_length=200)]
    name: Annotated[str, Field(min_length=1, max_length=80)]


class Redeemed(BaseModel):
    """An account, and the key to it, which is not shown again."""

    object: Literal["invite.redeemed"] = "invite.redeemed"
    account_id: str
    key: str


@router.post("/redeem", openapi_extra=of_body(RedeemBody))
async def redeem(request: Request) -> Redeemed:
    """Make an account of an invite, once; nothing else than its code is needed.

    Sent again within a short time it answers with a new key, as long as the first was not used.
    """
    server = server_of(request)
    arrived = server.database.now()
    server.rates.take(f"invites {request.client.host if request.client else ''}")
    async with forms.reading(request, spool=server.spool, max_bytes=MOST_BYTES) as form:
        body = read_body(RedeemBody, form.fields)
    return await run_in_threadpool(_redeemed, server, body, arrived)


def _redeemed(server: Server, body: RedeemBody, arrived: int) -> Redeemed:
    now, window_s = server.database.now(), server.settings.retry_window
    with server.database.writing() as session:
        account, key = accounts.redeem(session, body.code, body.name, now, arrived=arrived, window_s=window_s)
        return Redeemed(account_id=account.id, key=key)
