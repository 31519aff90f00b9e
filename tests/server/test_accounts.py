"""Who is let in and who is not, in one shape; keys, tiers and invites."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, event, func, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from unstatic.core.errors import InputError
from unstatic.server import accounts, ledger
from unstatic.server.accounts import OWNER, TIERS, Caller, is_single_user
from unstatic.server.database import Database
from unstatic.server.errors import ApiError
from unstatic.server.tables import Account, Entry, Invite, Key

MakeAccount = Callable[..., Account]


def key_of(database: Database, account: Account, *, lasts_s: int | None = None) -> tuple[str, str]:
    """Return the id and the text of a new key."""
    with database.writing() as session:
        key, secret = accounts.make_key(session, account.id, "laptop", database.now(), lasts_s=lasts_s)
    return key.id, secret


def let_in(database: Database, header: str | None) -> Caller:
    """Return who a header lets in."""
    with database.glancing() as session:
        return accounts.authenticate(session, database, header)


def refused(database: Database, header: str | None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        let_in(database, header)
    return caught.value


# ------------------------------------------------------------------------------------------------------ keys


def test_a_key_lets_its_account_in(database: Database, make_account: MakeAccount):
    account = make_account()
    key_id, secret = key_of(database, account)
    for header in (f"Bearer {secret}", f"bearer   {secret} "):
        assert let_in(database, header) == Caller(account.id, key_id, "creator")


def test_f33_a_key_has_256_bits_and_only_its_digest_is_kept(database: Database, make_account: MakeAccount):
    account = make_account()
    secrets = {key_of(database, account)[1] for _ in range(20)}
    assert len(secrets) == 20
    assert all(len(each.removeprefix("sk-unstatic-")) * 6 >= 256 for each in secrets)
    with database.reading() as session:
        kept = [str(value) for row in session.execute(text("SELECT * FROM keys")) for value in row]
    assert not [each for each in kept for secret in secrets if secret.removeprefix("sk-unstatic-") in each]


def test_f31_whoever_has_no_valid_key_gets_one_answer(
    database: Database, make_account: MakeAccount, clock: Any
):
    account = make_account()
    _, good = key_of(database, account)
    revoked_id, revoked = key_of(database, account)
    _, brief = key_of(database, account, lasts_s=60)
    with database.writing() as session:
        accounts.revoke_key(session, revoked_id, database.now())
    assert let_in(database, f"Bearer {brief}").account_id == account.id
    clock.now_s += 60
    wrong = (
        *(None, "", "Bearer", "Bearer ", good, f"Basic {good}", f"Token {good}", f"Bearer{good}"),
        *(f"Bearer {good}x", f"Bearer {good[:-1]}", f"Bearer {good.swapcase()}", "Bearer sk-unstatic-"),
        *(f"Bearer {good}, Bearer {good}", f"Bearer {good}\0", "Bearer sk-unstatic-\u00e9", "Bearer \ud800"),
        *(f"Bearer {revoked}", f"Bearer {brief}", f"Bearer {revoked_id}"),
    )
    answers = [refused(database, header) for header in wrong]
    assert {each.status for each in answers} == {401}
    assert len({str(each.body) for each in answers}) == 1
    assert answers[0].body["error"]["type"] == "authentication_error"


def test_f31_a_long_header_is_refused_before_anything_is_done_with_it(
    database: Database, make_account: MakeAccount
):
    _, good = key_of(database, make_account())
    assert refused(database, f"Bearer {good}" + " " * 300).status == 401  # what is too much is not cut off
    assert refused(database, "Bearer sk-unstatic-" + "x" * 1_000_000).status == 401


def test_f31_a_key_in_the_address_is_not_read(client: Any):
    key = client.headers.pop("authorization").removeprefix("Bearer ")
    for name in ("key", "api_key", "access_token", "authorization"):
        assert client.get("/v1/videos", params={name: key}).status_code == 401
    assert client.get("/v1/videos", headers={"authorization": f"Bearer {key}"}).status_code == 200


def test_revoking_is_at_once_and_what_is_unknown_is_said(database: Database, make_account: MakeAccount):
    key_id, secret = key_of(database, make_account())
    for later in (0, 10):  # the first time counts
        with database.writing() as session:
            accounts.revoke_key(session, key_id, database.now() + later)
    with database.reading() as session:
        assert session.get_one(Key, key_id).revoked_at == database.now()
    assert refused(database, f"Bearer {secret}").status == 401
    with database.writing() as session, pytest.raises(InputError, match="'key_none' is unknown"):
        accounts.revoke_key(session, "key_none", database.now())


def test_f34_a_disabled_account_is_told_so_and_may_come_back(database: Database, make_account: MakeAccount):
    account = make_account()
    _, secret = key_of(database, account)
    with database.writing() as session:
        accounts.disable(session, account.id, database.now())
    answer = refused(database, f"Bearer {secret}")
    assert (answer.status, answer.code) == (403, "account_disabled")
    with database.writing() as session:
        accounts.enable(session, account.id)
    assert let_in(database, f"Bearer {secret}").account_id == account.id


def test_use_is_noted_once_a_minute_at_most_also_by_a_clock_that_was_set_back(
    database: Database, make_account: MakeAccount, clock: Any
):
    key_id, secret = key_of(database, make_account())

    def used_at(after_s: int) -> int | None:
        clock.now_s += after_s
        let_in(database, f"Bearer {secret}")
        with database.reading() as session:
            return session.get_one(Key, key_id).used_at

    start = database.now()
    assert [used_at(0), used_at(59), used_at(1)] == [start, start, start + 60]
    assert used_at(-1_000) == start - 940


def test_f8_f9_a_key_is_let_in_where_its_use_cannot_be_noted(database: Database, make_account: MakeAccount):
    account = make_account()
    key_id, secret = key_of(database, account)

    @event.listens_for(database.engine, "begin")
    def only_read(connection: Connection) -> None:
        only = "PRAGMA query_only=ON" if database.is_sqlite else "SET TRANSACTION READ ONLY"
        connection.exec_driver_sql(only)

    with pytest.raises(DBAPIError), database.writing() as session:
        session.execute(update(Key).values(used_at=1))
    assert let_in(database, f"Bearer {secret}") == Caller(account.id, key_id, "creator")
    with database.reading() as session:
        assert session.get_one(Key, key_id).used_at is None


@pytest.mark.parametrize("lasts_s", [0, -1, 10**12])
def test_a_key_cannot_last_for_no_time(database: Database, make_account: MakeAccount, lasts_s: int):
    with pytest.raises(InputError, match=str(lasts_s)):
        key_of(database, make_account(), lasts_s=lasts_s)


# ------------------------------------------------------------------------------------------------ one person


def test_a_server_without_keys_has_one_user(database: Database, make_account: MakeAccount):
    assert is_single_user(database)
    for header in (None, "Bearer anything", "Basic eA=="):
        assert let_in(database, header) == Caller(OWNER, None, "admin")
    with database.reading() as session:
        assert session.get_one(Account, OWNER).balance == accounts.OWNERS_CREDITS
    key_id, _ = key_of(database, make_account())
    with database.writing() as session:
        accounts.revoke_key(session, key_id, database.now())
    assert not is_single_user(database), "a revoked key must not open the door to everybody"
    assert refused(database, None).status == 401


def test_twenty_who_are_first_at_once_make_one_owner(database: Database):
    with ThreadPoolExecutor(20) as pool:
        callers = list(pool.map(lambda _: accounts.owner(database), range(20)))
    assert set(callers) == {Caller(OWNER, None, "admin")}
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Entry)) == 2
        assert ledger.pots(session, OWNER)["available"] == accounts.OWNERS_CREDITS


def test_the_owner_with_a_key_is_not_bound_to_this_machine(client: Any, database: Database):
    accounts.owner(database)
    with database.writing() as session:
        _, secret = accounts.make_key(session, OWNER, "phone", database.now())
    headers = {"Host": "films.example.com", "Authorization": f"Bearer {secret}"}
    assert client.get("/v1/videos", headers=headers).status_code == 200


# -------------------------------------------------------------------------------------------------- accounts


@pytest.mark.parametrize("tier", TIERS)
def test_an_account_begins_as_its_tier_says(database: Database, tier: str):
    with database.writing() as session:
        account = accounts.open_account(session, " Ada ", tier, database.now())
    with database.reading() as session:
        row, allowed = session.get_one(Account, account.id), TIERS[tier]
        assert (row.name, row.tier, row.balance) == ("Ada", tier, allowed.credits)
        assert (row.concurrency, row.weight) == (allowed.concurrency, allowed.weight)
        assert ledger.pots(session, account.id)["available"] == allowed.credits


def test_a_tier_can_be_changed(database: Database, make_account: MakeAccount):
    account = make_account()
    with database.writing() as session:
        accounts.change_tier(session, account.id, "viewer")
    with database.reading() as session:
        row = session.get_one(Account, account.id)
        assert (row.tier, row.concurrency, row.weight, row.balance) == ("viewer", 1, 0.5, 1_000)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda session: accounts.open_account(session, "Ada", "king", 1), "tier 'king' is unknown"),
        (lambda session: accounts.open_account(session, "", "viewer", 1), "the name ''"),
        (lambda session: accounts.open_account(session, "a\nb", "viewer", 1), "can be printed"),
        (lambda session: accounts.open_account(session, "\u202eb", "viewer", 1), "can be printed"),
        (lambda session: accounts.open_account(session, "\ud800", "viewer", 1), "can be printed"),
        (lambda session: accounts.open_account(session, "a" * 81, "viewer", 1), "1 to 80"),
        (lambda session: accounts.open_account(session, "a", "viewer", 1, credits_=-1), "-1 credits"),
        (lambda session: accounts.open_account(session, "a", "viewer", 1, credits_=10**30), "0 credits"),
        (lambda session: accounts.invite(session, "viewer", 1, credits_=-5), "-5 credits"),
        (lambda session: accounts.invite(session, "king", 1), "tier 'king' is unknown"),
        (lambda session: accounts.invite(session, "viewer", 1, lasts_s=0), "last 0 seconds"),
        (lambda session: accounts.disable(session, "acct_x", 1), "'acct_x' is unknown"),
        (lambda session: accounts.make_key(session, "acct_x", "a", 1), "'acct_x' is unknown"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    database: Database, wrong: Callable[[Session], object], message: str
):
    with pytest.raises(InputError, match=message) as caught, database.writing() as session:
        wrong(session)
    assert "\n" not in str(caught.value)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Account)) == 0


# --------------------------------------------------------------------------------------------------- invites


def invited(database: Database, **more: Any) -> str:
    with database.writing() as session:
        return accounts.invite(session, "viewer", database.now(), **more)[1]


def redeem(
    database: Database, code: str, name: str = "Ada", *, arrived: int | None = None
) -> tuple[Account, str]:
    now = database.now()
    arrived = now if arrived is None else arrived
    with database.writing() as session:
        return accounts.redeem(session, code, name, now, arrived=arrived, window_s=120.0)


def test_an_invite_makes_an_account_with_credits_and_a_key(database: Database):
    account, secret = redeem(database, invited(database, credits_=77))
    assert let_in(database, f"Bearer {secret}").account_id == account.id
    with database.reading() as session:
        row = session.get_one(Account, account.id)
        assert (row.tier, row.balance) == ("viewer", 77)
        assert session.scalars(select(Invite.account_id)).all() == [account.id]


def test_an_invite_of_many_who_take_it_at_once_goes_to_one(database: Database):
    code = invited(database)

    def take(number: int) -> bool:
        try:
            redeem(database, code, f"guest {number}")
        except ApiError:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(take, range(10))) == 1
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Account)) == 1


def test_unknown_used_and_expired_invites_look_alike(database: Database, clock: Any):
    used, late = invited(database), invited(database, lasts_s=60)
    redeem(database, used)
    clock.now_s += 60
    answers = []
    for code in (used, late, "invite-x", "", "\ud800", "x" * 100_000):
        with pytest.raises(ApiError) as caught:
            redeem(database, code, "Eve")
        answers.append(str(caught.value.body))
        assert (caught.value.status, caught.value.code) == (404, "invalid_invite")
    assert len(set(answers)) == 1


def test_a_name_that_cannot_be_does_not_use_the_invite_up(database: Database):
    code = invited(database)
    with pytest.raises(InputError):
        redeem(database, code, "\n")
    assert redeem(database, code)[0].name == "Ada"


def test_f19_an_invite_whose_answer_got_lost_is_answered_again_with_another_key(
    database: Database, clock: Any
):
    code = invited(database, lasts_s=60)
    account, lost = redeem(database, code)
    clock.now_s += 119
    again, secret = redeem(database, code, " Ada")
    assert again.id == account.id
    assert refused(database, f"Bearer {lost}").status == 401
    with database.reading() as session:
        assert session.get_one(Account, account.id).balance == TIERS["viewer"].credits
        assert len(session.scalars(select(Key)).all()) == 1
    assert let_in(database, f"Bearer {secret}").account_id == account.id
    with pytest.raises(ApiError):  # whoever has the key has used it
        redeem(database, code)


@pytest.mark.parametrize("why", ["late", "another name", "revoked", "a second key", "overtaken"])
def test_f19_a_used_invite_gives_nobody_else_a_key(database: Database, clock: Any, why: str):
    code = invited(database)
    clock.now_s += 1
    arrived = database.now()  # in the same second as the request that gets the key
    account, secret = redeem(database, code)
    with database.writing() as session:
        key = session.scalars(select(Key)).one()
        if why == "revoked":
            accounts.revoke_key(session, key.id, database.now())
        if why == "a second key":
            accounts.make_key(session, account.id, "laptop", database.now())
    if why != "overtaken":
        clock.now_s, arrived = clock.now_s + (121 if why == "late" else 1), None
    with pytest.raises(ApiError) as caught:
        redeem(database, code, "Eve" if why == "another name" else "Ada", arrived=arrived)
    assert caught.value.code == "invalid_invite"
    if why != "revoked":
        assert let_in(database, f"Bearer {secret}").account_id == account.id
