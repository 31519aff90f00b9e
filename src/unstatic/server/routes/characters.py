"""/v1/videos/characters: named clips whose look later films take up."""

import secrets

from fastapi import APIRouter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from unstatic.server.accounts import tier_of
from unstatic.server.asking import Asking, Clip, asking
from unstatic.server.errors import LONGEST_WAIT_S, ApiError, not_found
from unstatic.server.idempotency import attempt_of, once
from unstatic.server.limits import DAY_S
from unstatic.server.routes.incoming import ERRORS, ID, Incoming, Known, WithBody
from unstatic.server.schemas import CharacterAnswer, CharacterBody, CharacterDeleted, of_body, read_body
from unstatic.server.tables import Account, Character, new_id

router = APIRouter(prefix="/v1/videos/characters", tags=["characters"], responses=ERRORS)


@router.post("", openapi_extra=of_body(CharacterBody, files=("video",)))
def create_character(sent: WithBody) -> CharacterAnswer:
    """Keep a clip under a name."""
    incoming, form = sent.incoming, sent.form
    body, request = read_body(CharacterBody, form.fields), incoming.request
    attempt = attempt_of(request.headers, request.url.path, body, form.files)
    with asking(incoming.server, incoming.account_id, form) as one:
        made = once(
            incoming.server,
            incoming.account_id,
            attempt,
            prepare=lambda: _stored(one, incoming),
            write=lambda session, account, clip: [_written(session, account, body, clip, incoming)],
            undo=lambda _: one.drop(),
        )
    return _found(incoming, made[0])


@router.get("/{character_id}")
def get_character(character_id: str, incoming: Known) -> CharacterAnswer:
    """Look at a character."""
    return _found(incoming, character_id)


@router.delete("/{character_id}")
def delete_character(character_id: str, incoming: Known) -> CharacterDeleted:
    """Forget a character. Films that wait still show it; its clip is swept after them."""
    with incoming.database.writing() as session:
        row = _held(session, incoming, character_id, lock=True)
        row.name, row.description, row.deleted_at = "", None, incoming.database.now()
    return CharacterDeleted(id=character_id)


def _stored(one: Asking, incoming: Incoming) -> str:
    """Return the key of the clip that was sent."""
    with incoming.database.reading() as session:  # rather than look at a clip in vain
        _check_room(session, one.account_id, incoming.caller.tier, incoming.database.now())
    one.folder = f"characters/{one.account_id}/{secrets.token_hex(16)}"
    clip: Clip = one.clip("video", None)
    key = one.keep("clip.mp4", clip)
    one.check_files()
    one.store()
    assert key is not None
    return key


def _written(session: Session, account: Account, body: CharacterBody, clip: str, incoming: Incoming) -> str:
    _check_room(session, account.id, account.tier, incoming.database.now())
    row = Character(
        id=new_id("char"),
        account_id=account.id,
        name=body.name,
        description=body.description,
        clip=clip,
        created_at=incoming.database.now(),
    )
    session.add(row)
    session.flush()
    return row.id


def _check_room(session: Session, account_id: str, tier: str, now: int) -> None:
    """Raise ApiError 403 if an account keeps as many as its tier may, 429 if it made twice as many today."""
    most = tier_of(tier).characters
    own = select(func.count()).select_from(Character).where(Character.account_id == account_id)
    if (session.scalar(own.where(Character.deleted_at.is_(None))) or 0) >= most:
        message = f"accounts of the tier {tier} keep up to {most} characters: delete one"
        raise ApiError(403, message, code="tier_limit")
    if (session.scalar(own.where(Character.created_at > now - DAY_S)) or 0) >= 2 * most:
        message = f"accounts of the tier {tier} make {2 * most} characters a day: ask again later"
        raise ApiError(429, message, code="daily_limit_exceeded", retry_after_s=LONGEST_WAIT_S)


def _held(session: Session, incoming: Incoming, character_id: str, *, lock: bool = False) -> Character:
    """Return a character of the caller. Raises ApiError 404 for all others alike."""
    own = select(Character).where(Character.id == character_id, Character.account_id == incoming.account_id)
    own = own.where(Character.deleted_at.is_(None))
    own = own.with_for_update() if lock else own
    row = session.scalars(own).one_or_none() if ID.fullmatch(character_id) else None
    if row is None:
        raise not_found("character", character_id)
    return row


def _found(incoming: Incoming, character_id: str) -> CharacterAnswer:
    with incoming.database.reading() as session:
        row = _held(session, incoming, character_id)
    return CharacterAnswer(id=row.id, name=row.name, description=row.description, created_at=row.created_at)
