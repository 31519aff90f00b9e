"""/v1/videos/characters: named clips whose look later films take up."""

import secrets

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session

from unstatic.server.asking import Asking, Clip, asking
from unstatic.server.errors import not_found
from unstatic.server.idempotency import attempt_of, once
from unstatic.server.routes.incoming import ERRORS, ID, Incoming, Known, WithBody
from unstatic.server.schemas import CharacterAnswer, CharacterBody, of_body, read_body
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
            prepare=lambda: _stored(one),
            write=lambda session, account, clip: [_written(session, account, body, clip, incoming)],
            undo=lambda _: one.drop(),
        )
    return _found(incoming, made[0])


@router.get("/{character_id}")
def get_character(character_id: str, incoming: Known) -> CharacterAnswer:
    """Look at a character."""
    return _found(incoming, character_id)


def _stored(one: Asking) -> str:
    """Return the key of the clip that was sent."""
    one.folder = f"characters/{one.account_id}/{secrets.token_hex(16)}"
    clip: Clip = one.clip("video", None)
    key = one.keep("clip.mp4", clip)
    one.check_files()
    one.store()
    assert key is not None
    return key


def _written(session: Session, account: Account, body: CharacterBody, clip: str, incoming: Incoming) -> str:
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


def _found(incoming: Incoming, character_id: str) -> CharacterAnswer:
    own = select(Character).where(Character.id == character_id, Character.account_id == incoming.account_id)
    with incoming.database.reading() as session:
        row = session.scalars(own).one_or_none() if ID.fullmatch(character_id) else None
    if row is None:
        raise not_found("character", character_id)
    return CharacterAnswer(id=row.id, name=row.name, description=row.description, created_at=row.created_at)
