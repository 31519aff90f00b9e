"""What handlers are given: the server, who asks, and what was sent; and how a request becomes jobs.

Who asks is known before a byte of the body is read.
"""

import ipaddress
import re
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from unstatic.server import forms, jobs, ledger, limits, queue
from unstatic.server.accounts import Caller, authenticate
from unstatic.server.asking import Asking, asking
from unstatic.server.database import Database
from unstatic.server.errors import ApiError, not_found, unknown
from unstatic.server.idempotency import attempt_of, once
from unstatic.server.jobs import Asked
from unstatic.server.schemas import AnyBody, Body, Error, Video, first_answer, read_body
from unstatic.server.state import Server
from unstatic.server.tables import Account, Job

ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": Error}, "5XX": {"model": Error}}
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# Where a proxy says for whom it asks
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
ID = re.compile(r"[a-z]{1,12}_[0-9a-f]{32}", re.ASCII)
POLL_AFTER_MS, AGAIN_S = "500", 15.0


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request of somebody known."""

    server: Server
    caller: Caller
    request: Request

    @property
    def database(self) -> Database:
        """Where its rows are."""
        return self.server.database

    @property
    def account_id(self) -> str:
        """Whose it is."""
        return self.caller.account_id


def server_of(request: Request) -> Server:
    """Return what the application consists of."""
    server = request.app.state.server
    assert isinstance(server, Server)
    return server


def caller_of(request: Request) -> Incoming:
    """Return who asks. Raises ApiError 401, 429, or 403 for a page of strangers in a browser without keys."""
    with server_of(request).database.glancing() as session:
        return let_in(session, request)


def let_in(session: Session, request: Request) -> Incoming:
    """Return who asks, of whom `session` may know. Raises as `caller_of`."""
    server = server_of(request)
    header = request.headers.get("authorization")
    caller = authenticate(session, server.database, header)
    request.state.account_id = caller.account_id  # for the log
    if caller.key_id is None:
        check_origin(request)
    server.rates.take(caller.key_id or caller.account_id)
    check_query(request)
    return Incoming(server, caller, request)


def check_query(request: Request) -> None:
    """Raise ApiError 400 for a parameter of the query that the schema of the route does not have."""
    if not request.query_params:
        return
    method = "get" if request.method == "HEAD" else request.method.lower()
    said: dict[str, Any] = request.app.openapi()["paths"][request.scope["route"].path][method]
    known = {each["name"] for each in said.get("parameters", ()) if each["in"] == "query"}
    for name in request.query_params:
        if name not in known:
            raise unknown(name[:200])


class Watch:
    """Looks now and then whether somebody who follows something for hours would still be let in."""

    def __init__(self, incoming: Incoming) -> None:
        self.incoming, self.due_s = incoming, time.monotonic() + AGAIN_S

    def is_out(self) -> bool:
        """Return whether the key opens nothing any more; most calls need not look."""
        if time.monotonic() < self.due_s:
            return False
        self.due_s = time.monotonic() + AGAIN_S
        try:
            with self.incoming.database.glancing() as session:
                header = self.incoming.request.headers.get("authorization")
                authenticate(session, self.incoming.database, header)
        except ApiError:
            return True
        return False


def check_origin(request: Request) -> None:
    """Raise ApiError 403 if it is no program of this machine that asks for itself.

    Without keys a page from elsewhere could make a browser here ask, and a proxy asks for everybody.
    """
    host, origin = _hostname(f"//{request.headers.get('host', '')}"), request.headers.get("origin")
    named = host in LOOPBACK and (origin is None or _hostname(origin) in LOOPBACK)
    if not named or not _is_near(request) or any(each in request.headers for each in FORWARDED):
        message = "without accounts this server answers to localhost only: see how accounts are made"
        raise ApiError(403, message, code="foreign_origin")


def _is_near(request: Request) -> bool:
    """Return whether this machine is at the other end."""
    try:
        return ipaddress.ip_address(request.client.host if request.client else "").is_loopback
    except ValueError:
        return False


def _hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


Known = Annotated[Incoming, Depends(caller_of)]


@dataclass(frozen=True, slots=True)
class Found:
    """A film of somebody known."""

    incoming: Incoming
    job: Job


def found_video(video_id: str, request: Request) -> Found:
    """Return a film and who asks for it, read in one go: clients ask again and again. Raises ApiError."""
    with server_of(request).database.glancing() as session:
        incoming = let_in(session, request)
        return Found(incoming, held_job(session, incoming, video_id))


FoundVideo = Annotated[Found, Depends(found_video)]


@dataclass(frozen=True, slots=True)
class Sent:
    """A request with a body, which is read whole."""

    incoming: Incoming
    form: forms.Form


async def sent_of(incoming: Known) -> AsyncGenerator[Sent]:
    """Yield a request whose body is read; its files are gone when it has been answered. Raises ApiError."""
    server = incoming.server
    most = server.settings.max_upload
    said = incoming.request.headers.get("content-length", "")
    size_bytes = min(int(said), most) if said.isdecimal() and len(said) < 18 else most
    uploading = server.uploads.of(incoming.account_id, size_bytes)
    account_id, free, block = incoming.account_id, forms.MAX_TEXT_BYTES, forms.BLOCK_BYTES
    with uploading, server.bodies.growing(account_id, free=free, block=block) as hold:
        async with forms.reading(incoming.request, spool=server.spool, max_bytes=most, hold=hold) as form:
            if form.files:
                limits.check_upload(incoming.caller.tier)
            yield Sent(incoming, form)


WithBody = Annotated[Sent, Depends(sent_of)]


def make_jobs(sent: Sent, body: Body, ask: Callable[[Asking], list[Asked]]) -> list[Job]:
    """Return the jobs that a request asks for, written once however often it is sent."""
    incoming, form = sent.incoming, sent.form
    server, request = incoming.server, incoming.request
    attempt = attempt_of(request.headers, request.url.path, body, form.files)
    with asking(
        server, incoming.account_id, form, check=lambda: limits.check_upload(incoming.caller.tier)
    ) as one:

        def prepare() -> list[Asked]:
            _check_room(incoming, 0.0, 1)  # before a word is read
            asked = ask(one)
            if any(isinstance(each, Path) for each in one.waiting.values()):  # also from addresses
                limits.check_upload(incoming.caller.tier)
            if one.waiting:  # before a film is copied
                _check_room(incoming, max(each.seconds for each in asked), sum(each.cost for each in asked))
            one.store()
            return asked

        def write(session: Session, account: Account, asked: list[Asked]) -> list[str]:
            queue.join_in(session, account)
            now = server.database.now()
            made: list[str] = []
            for each in asked:
                limits.check_new_job(session, account, each.seconds, now, server.settings)
                made.append(jobs.create(session, account, each, now).id)
            return made

        made = once(
            server,
            incoming.account_id,
            attempt,
            prepare=prepare,
            write=write,
            undo=lambda _: one.drop(),
        )
    with server.database.reading() as session:
        return list(session.scalars(select(Job).where(Job.id.in_(made)).order_by(Job.number)))


def _check_room(incoming: Incoming, seconds: float, cost: int) -> None:
    """Raise ApiError for who may not ask for so much now; what is written in the end is checked again."""
    with incoming.database.reading() as session:
        account = session.get_one(Account, incoming.account_id)
        limits.check_new_job(session, account, seconds, incoming.database.now(), incoming.server.settings)
        ledger.check_balance(account, cost)


def make_video(
    sent: Sent, response: Response, kind: type[AnyBody], ask: Callable[[Asking, AnyBody], list[Asked]]
) -> Video:
    """Return the film that a request asks for: its body is read as `kind`, and `ask` makes a job of it."""
    body = read_body(kind, sent.form.fields)
    (job,) = make_jobs(sent, body, lambda asking: ask(asking, body))
    pace(response)
    return first_answer(job)


def find_job(incoming: Incoming, job_id: str, kind: str = "video") -> Job:
    """Return a job of the caller. Raises ApiError 404 for all others alike."""
    with incoming.database.glancing() as session:
        return held_job(session, incoming, job_id, kind=kind)


def held_job(
    session: Session, incoming: Incoming, job_id: str, *, kind: str = "video", lock: bool = False
) -> Job:
    """Return a job of the caller within a transaction. Raises ApiError 404."""
    job = jobs.find(session, incoming.account_id, job_id, lock=lock) if ID.fullmatch(job_id) else None
    if job is None or job.kind != kind:
        raise not_found(kind, job_id)
    return job


def pace(response: Response) -> None:
    """Tell the official client how soon to ask again."""
    response.headers["openai-poll-after-ms"] = POLL_AFTER_MS
