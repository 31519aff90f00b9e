"""/v1/webhook_endpoints: who is told when a film is ready, as the official client manages it."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from unstatic.server import webhooks
from unstatic.server.errors import ApiError, not_found
from unstatic.server.fetching import FetchError, check_target
from unstatic.server.idempotency import attempt_of, once
from unstatic.server.routes.incoming import ERRORS, ID, Incoming, Known, Sent, WithBody
from unstatic.server.schemas import Body, of_body, read_body
from unstatic.server.tables import Account, Endpoint

Event = Literal["video.completed", "video.failed"]
Events = Annotated[tuple[Event, ...], Field(min_length=1)]
Url = Annotated[str, Field(min_length=1, max_length=2_000, examples=["https://example.org/hook"])]
Label = Annotated[str, Field(max_length=200)]


class EndpointBody(Body):
    """An address to be told something, by default of everything that ends."""

    url: Url
    name: Label = ""
    event_types: Events = webhooks.EVENTS


class ChangeBody(Body):
    """What shall be different; an endpoint that is enabled again hears of what happens from then on."""

    url: Url | None = None
    name: Label | None = None
    event_types: Events | None = None
    disabled: bool | None = None


class RotateBody(Body):
    """Whether the old secret signs for another day."""

    keep_old_secret_active_for_24_hours: bool = True


class EndpointAnswer(BaseModel):
    """An endpoint, and how it fares."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int
    url: str
    name: str
    event_types: list[str]
    signing_secret_hint: str
    failing_since: int | None
    disabled_at: int | None


class EndpointWithSecret(EndpointAnswer):
    """An endpoint and its secret, which is shown only when it is new."""

    signing_secret: str


class EndpointList(BaseModel):
    """Endpoints of the account."""

    object: Literal["list"] = "list"
    data: list[EndpointAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class EndpointDeleted(BaseModel):
    """An endpoint that is gone."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


Write = Callable[[Session, Account, None], list[str]]
router = APIRouter(prefix="/v1/webhook_endpoints", tags=["webhooks"], responses=ERRORS)


@router.post("", openapi_extra=of_body(EndpointBody))
def make(sent: WithBody) -> EndpointWithSecret:
    """Name an address that shall be told when films are ready."""
    body, incoming = read_body(EndpointBody, sent.form.fields), sent.incoming

    def write(session: Session, account: Account, _: None) -> list[str]:
        now, events = incoming.database.now(), tuple(body.event_types)
        return [webhooks.make(session, account.id, body.url, now, name=body.name, events=events).id]

    def check() -> None:
        with incoming.database.reading() as session:
            webhooks.check_room(session, incoming.account_id)
        _check(incoming, body.url)

    return _shown_once(sent, body, write, check=check)


@router.get("")
def list_endpoints(
    incoming: Known, limit: Annotated[int, Query(ge=0, le=100)] = 20, after: str | None = None
) -> EndpointList:
    """List the endpoints, the newest first."""
    with incoming.database.reading() as session:
        rows = webhooks.list_of(session, incoming.account_id)
    ids = [row.id for row in rows]
    if after is not None and after not in ids:
        raise not_found("webhook endpoint", after)
    begin = 0 if after is None else ids.index(after) + 1
    page = rows[begin : begin + limit]
    return EndpointList(
        data=[_answer(row) for row in page],
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=begin + limit < len(rows),
    )


@router.get("/{endpoint_id}")
def get(endpoint_id: str, incoming: Known) -> EndpointAnswer:
    """Look at an endpoint."""
    with incoming.database.reading() as session:
        return _answer(_held(session, incoming, endpoint_id))


@router.post("/{endpoint_id}", openapi_extra=of_body(ChangeBody))
def change(endpoint_id: str, sent: WithBody) -> EndpointAnswer:
    """Change an endpoint, disable it, or enable it again."""
    body, incoming = read_body(ChangeBody, sent.form.fields), sent.incoming
    if body.url is not None:
        with incoming.database.reading() as session:
            _held(session, incoming, endpoint_id)
        _check(incoming, body.url)
    with incoming.database.writing() as session:
        endpoint = _held(session, incoming, endpoint_id, lock=True)
        endpoint.url = endpoint.url if body.url is None else body.url
        endpoint.name = endpoint.name if body.name is None else body.name
        endpoint.events = endpoint.events if body.event_types is None else list(body.event_types)
        if body.disabled is False:
            webhooks.enable(endpoint)
        elif body.disabled and endpoint.disabled_at is None:
            webhooks.disable(session, endpoint, incoming.database.now())
        return _answer(endpoint)


@router.post("/{endpoint_id}/rotate_secret", openapi_extra=of_body(RotateBody))
def rotate(endpoint_id: str, sent: WithBody) -> EndpointWithSecret:
    """Give an endpoint a new secret; for a day the old one signs, too."""
    body, incoming = read_body(RotateBody, sent.form.fields), sent.incoming

    def write(session: Session, _: Account, __: None) -> list[str]:
        endpoint = _held(session, incoming, endpoint_id, lock=True)
        keep = body.keep_old_secret_active_for_24_hours
        webhooks.rotate(endpoint, incoming.database.now(), keep_old=keep)
        return [endpoint.id]

    return _shown_once(sent, body, write)


@router.delete("/{endpoint_id}")
def delete(endpoint_id: str, incoming: Known) -> EndpointDeleted:
    """Tell an address nothing more."""
    with incoming.database.writing() as session:
        webhooks.remove(session, _held(session, incoming, endpoint_id, lock=True))
    return EndpointDeleted(id=endpoint_id)


def _held(session: Session, incoming: Incoming, endpoint_id: str, *, lock: bool = False) -> Endpoint:
    """Return an endpoint of the caller. Raises ApiError 404 for all others alike."""
    known = ID.fullmatch(endpoint_id) is not None
    endpoint = webhooks.find(session, incoming.account_id, endpoint_id, lock=lock) if known else None
    if endpoint is None:
        raise not_found("webhook endpoint", endpoint_id)
    return endpoint


def _shown_once(
    sent: Sent, body: Body, write: Write, check: Callable[[], None] = lambda: None
) -> EndpointWithSecret:
    """Return an endpoint and its secret, the same for a request that is sent again."""
    incoming = sent.incoming
    request = incoming.request
    attempt = attempt_of(request.headers, request.url.path, body, {})
    made = once(
        incoming.server,
        incoming.account_id,
        attempt,
        prepare=check,
        write=write,
        undo=lambda _: None,
    )
    with incoming.database.reading() as session:
        endpoint = _held(session, incoming, made[0])
    return EndpointWithSecret(**_answer(endpoint).model_dump(), signing_secret=endpoint.secret)


def _check(incoming: Incoming, url: str) -> None:
    """Raise ApiError 400 for an address that nothing is sent to, 429 while others are looked up for long."""
    try:
        with incoming.server.lookups.of(incoming.account_id):
            check_target(url, webhooks.policy_of(incoming.server.settings))
    except FetchError as error:
        raise ApiError(400, str(error), code=error.code, param="url") from None


def _answer(row: Endpoint) -> EndpointAnswer:
    return EndpointAnswer(
        id=row.id,
        created_at=row.created_at,
        url=row.url,
        name=row.name,
        event_types=row.events,
        signing_secret_hint=f"whsec_...{row.secret[-4:]}",
        failing_since=row.failing_since,
        disabled_at=row.disabled_at,
    )
