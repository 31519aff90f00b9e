"""Who may do what: accounts of four tiers, keys that open them, invites that make them.

A key is shown once and kept as its SHA-256: it has 256 random bits, so that nothing slower is needed. As long
as no key was ever made one person uses the server, the account "owner" (`routes/incoming.py` lets only this
machine in then).
"""

import contextlib
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from unstatic.core.errors import InputError
from unstatic.server import ledger
from unstatic.server.database import Database
from unstatic.server.errors import ApiError
from unstatic.server.tables import Account, Invite, Key, new_id

OWNER = "owner"
OWNERS_CREDITS = 10**12
KEY_PREFIX, INVITE_PREFIX = "sk-unstatic-", "invite-"
LONGEST_HEADER, SHOWN = 300, 4
USED_EVERY_S = 60
MOST_CREDITS, MOST_YEARS_S = 10**12, 100 * 366 * 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """What accounts of a kind may do: `films` a minute, `seconds` of film a day, `waiting` jobs at a time.

    They keep up to `characters`, as long as they like, and make twice as many a day.
    """

    concurrency: int
    weight: float | int
    films: int
    seconds: int
    longest_s: float | int
    waiting: int
    uploads: bool
    characters: int
    credits: int


TIERS = {
    "admin": Tier(
        concurrency=64,
        weight=4,
        films=600,
        seconds=10**9,
        longest_s=60,
        waiting=10_000,
        uploads=True,
        characters=1_000,
        credits=1_000_000,
    ),
    "red_team": Tier(
        concurrency=4,
        weight=2,
        films=60,
        seconds=7_200,
        longest_s=60,
        waiting=200,
        uploads=True,
        characters=100,
        credits=5_000,
    ),
    "creator": Tier(
        concurrency=2,
        weight=1,
        films=20,
        seconds=1_800,
        longest_s=60,
        waiting=100,
        uploads=True,
        characters=50,
        credits=1_000,
    ),
    "viewer": Tier(
        concurrency=1,
        weight=0.5,
        films=4,
        seconds=120,
        longest_s=8,
        waiting=10,
        uploads=False,
        characters=0,
        credits=100,
    ),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `key_id` is None for the one person of a server without keys."""

    account_id: str
    key_id: str | None
    tier: str


OWNING = Caller(OWNER, None, "admin")
# Asked for every request, so these are built once
_KEY_OF = (
    select(Key.id, Key.digest, Key.revoked_at, Key.expires_at, Key.used_at)
    .add_columns(Account.id.label("account_id"), Account.tier, Account.disabled_at)
    .join(Account, Account.id == Key.account_id)
    .where(Key.digest == bindparam("digest"))
)
_DOOR = select(exists(select(Key.id)), exists(select(Account.id).where(Account.id == OWNER)))


def tier_of(name: str) -> Tier:
    """Return a tier. Raises InputError for one that there is not."""
    if name not in TIERS:
        raise InputError(f"tier {name!r} is unknown: take one of {', '.join(TIERS)}")
    return TIERS[name]


# -------------------------------------------------------------------------------------------------- accounts


def open_account(session: Session, name: str, tier: str, now: int, *, credits_: int | None = None) -> Account:
    """Make an account with the credits of its tier, or with others. Raises InputError for an unknown tier."""
    allowed = tier_of(tier)
    account = Account(
        id=new_id("acct"),
        name=_named(name),
        tier=tier,
        concurrency=allowed.concurrency,
        weight=allowed.weight,
        created_at=now,
    )
    session.add(account)
    session.flush()
    ledger.grant(session, account.id, _credits(allowed, credits_), "opened", now)
    return account


def change_tier(session: Session, account_id: str, tier: str) -> Account:
    """Give an account another tier. Raises InputError for an account or a tier that there is not."""
    account, allowed = account_of(session, account_id), tier_of(tier)
    account.tier, account.concurrency, account.weight = tier, allowed.concurrency, allowed.weight
    return account


def disable(session: Session, account_id: str, now: int) -> Account:
    """Let no key of an account in from now on; its jobs go on. Raises InputError."""
    account = account_of(session, account_id)
    account.disabled_at = account.disabled_at or now
    return account


def enable(session: Session, account_id: str) -> Account:
    """Let an account in again. Raises InputError."""
    account = account_of(session, account_id)
    account.disabled_at = None
    return account


def account_of(session: Session, account_id: str, *, lock: bool = True) -> Account:
    """Return an account, to be changed if it is locked. Raises InputError for one that there is not."""
    account = session.get(Account, account_id, with_for_update={"key_share": True} if lock else None)
    if account is None:
        raise InputError(f"account {account_id[:80]!r} is unknown: `unstatic admin account list` shows all")
    return account


def owner(database: Database) -> Caller:
    """Return the one person of a server without keys, whose account is made when it is first needed."""
    with database.reading() as session:
        known = session.get(Account, OWNER) is not None
    if not known:
        with contextlib.suppress(IntegrityError), database.writing() as session:  # another may be quicker
            if session.get(Account, OWNER) is None:
                _open_for_owner(session, database.now())
    return OWNING


def _open_for_owner(session: Session, now: int) -> None:
    allowed = TIERS["admin"]
    session.add(
        Account(
            id=OWNER,
            name=OWNER,
            tier="admin",
            concurrency=allowed.concurrency,
            weight=allowed.weight,
            created_at=now,
        )
    )
    session.flush()
    ledger.grant(session, OWNER, OWNERS_CREDITS, "opened", now)


def is_single_user(database: Database) -> bool:
    """Return whether no key was ever made."""
    with database.reading() as session:
        return _is_without_keys(session)


def _is_without_keys(session: Session) -> bool:
    return session.scalar(select(Key.id).limit(1)) is None


# ------------------------------------------------------------------------------------------------------ keys


def make_key(
    session: Session, account_id: str, name: str, now: int, *, lasts_s: int | None = None
) -> tuple[Key, str]:
    """Make a key and return it with its text, which nobody can read again. Raises InputError."""
    expires_at = _until(now, lasts_s)
    text = KEY_PREFIX + secrets.token_urlsafe(32)
    key = Key(
        id=new_id("key"),
        account_id=account_of(session, account_id).id,
        name=_named(name),
        shown=f"{KEY_PREFIX}...{text[-SHOWN:]}",
        digest=_digest(text),
        created_at=now,
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    return key, text


def revoke_key(session: Session, key_id: str, now: int) -> None:
    """Let a key open nothing from now on. Raises InputError for one that there is not."""
    key = session.get(Key, key_id)
    if key is None:
        raise InputError(f"key {key_id[:80]!r} is unknown: `unstatic admin key list` shows all")
    key.revoked_at = key.revoked_at or now


def authenticate(session: Session, database: Database, header: str | None) -> Caller:
    """Return who sends this Authorization header; `session` looks, the database notes that the key was used.

    Raises ApiError 401 without a reason why, or 403.
    """
    now = database.now()
    digest = _digest(_key_in(header) or "")
    found = session.execute(_KEY_OF, {"digest": digest}).one_or_none()
    if found is None:
        has_keys, has_owner = session.execute(_DOOR).one()
        if has_keys:
            raise _refused()
        return OWNING if has_owner else owner(database)
    is_valid = _is_valid(found.revoked_at, found.expires_at, now)
    if not hmac.compare_digest(found.digest, digest) or not is_valid:
        raise _refused()
    if found.disabled_at is not None:
        raise ApiError(403, "this account is disabled: ask who runs the server", code="account_disabled")
    if found.used_at is None or not 0 <= now - found.used_at < USED_EVERY_S:
        _note_use(database, found.id, found.used_at, now)
    return Caller(found.account_id, found.id, found.tier)


def _note_use(database: Database, key_id: str, used_at: int | None, now: int) -> None:
    """Write down that a key was used, once of many at a time; a database that is full still lets it in."""
    unchanged = Key.id == key_id, Key.used_at.is_not_distinct_from(used_at)
    with contextlib.suppress(DBAPIError), database.writing() as session:
        session.execute(update(Key).where(*unchanged).values(used_at=now))


def _key_in(header: str | None) -> str | None:
    """Return the key in a header, or None if there is none."""
    if header is None or len(header) > LONGEST_HEADER:
        return None
    scheme, _, text = header.partition(" ")
    text = text.strip()
    right = scheme.lower() == "bearer" and text.startswith(KEY_PREFIX) and text.isascii()
    return text if right else None


def _is_valid(revoked_at: int | None, expires_at: int | None, now: int) -> bool:
    return revoked_at is None and (expires_at is None or now < expires_at)


def _refused() -> ApiError:
    message = "this needs a valid key in the header Authorization: Bearer sk-unstatic-..."
    return ApiError(401, message, code="invalid_api_key")


# --------------------------------------------------------------------------------------------------- invites


def invite(
    session: Session, tier: str, now: int, *, credits_: int | None = None, lasts_s: int | None = None
) -> tuple[Invite, str]:
    """Make an invite and return it with its code, which nobody can read again. Raises InputError."""
    allowed = tier_of(tier)
    code = INVITE_PREFIX + secrets.token_urlsafe(24)
    made = Invite(
        id=new_id("inv"),
        digest=_digest(code),
        tier=tier,
        credits=_credits(allowed, credits_),
        created_at=now,
        expires_at=_until(now, lasts_s),
    )
    session.add(made)
    session.flush()
    return made, code


def redeem(
    session: Session, code: str, name: str, now: int, *, arrived: int, window_s: float
) -> tuple[Account, str]:
    """Make the account of an invite, once, and return it with a key. Raises ApiError for another code.

    Whoever has `arrived` with the same code and name within `window_s` after that is taken for a retry.
    """
    wanted = select(Invite).where(Invite.digest == _digest(code)).with_for_update()
    found = session.scalars(wanted).one_or_none()
    if found is not None and found.account_id is not None:
        account = _redeemed(session, found.account_id, name, arrived, window_s)
    elif found is not None and (found.expires_at is None or now < found.expires_at):
        account = open_account(session, name, found.tier, now, credits_=found.credits)
        found.account_id = account.id
    else:
        account = None
    if account is None:
        raise ApiError(404, "this invite is unknown, used or over: ask for another", code="invalid_invite")
    _, text = make_key(session, account.id, "first", now)
    return account, text


def _redeemed(session: Session, account_id: str, name: str, arrived: int, window_s: float) -> Account | None:
    """Return the account of a used invite without its key, if the answer with that seems to be lost.

    The key opens nothing any more, so that whoever else has the code shares no account with its owner. One
    that was used, or was made for a request that came after this one, is not lost.
    """
    account = account_of(session, account_id)
    keys = session.scalars(select(Key).where(Key.account_id == account_id).with_for_update()).all()
    if len(keys) != 1 or account.name != name.strip() or arrived - account.created_at > window_s:
        return None
    if keys[0].used_at is not None or keys[0].revoked_at is not None or keys[0].created_at >= arrived:
        return None
    session.delete(keys[0])
    return account


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _credits(tier: Tier, chosen: int | None) -> int:
    """Return how many credits an account begins with. Raises InputError for too many or less than none."""
    amount = tier.credits if chosen is None else chosen
    if not 0 <= amount <= MOST_CREDITS:
        raise InputError(f"{amount} credits cannot be given: give 0 to {MOST_CREDITS}")
    return amount


def _until(now: int, lasts_s: int | None) -> int | None:
    """Return when something ends that lasts so long. Raises InputError for a time that cannot be."""
    if lasts_s is None:
        return None
    if not 1 <= lasts_s <= MOST_YEARS_S:
        raise InputError(f"it cannot last {lasts_s} seconds: give 1 to {MOST_YEARS_S}")
    return now + lasts_s


def _named(name: str) -> str:
    """Return a name for people. Raises InputError for one that is empty, long or not printable."""
    if not 1 <= len(name.strip()) <= 80 or not name.isprintable():
        raise InputError(f"the name {name[:80]!r} must have 1 to 80 characters that can be printed")
    return name.strip()
