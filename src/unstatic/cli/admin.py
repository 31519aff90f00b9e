"""`unstatic admin`: who may ask for films, what was asked for, and who is told of it.

What is made prints what is needed next: an id, or a secret that nobody can read again, alone on a line.
"""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from unstatic.cli.options import whole
from unstatic.cli.serve import Data
from unstatic.cli.stores import facts, opened, print_new, show
from unstatic.core.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from unstatic.server.tables import Endpoint

DAY_S = 86_400

app = typer.Typer(no_args_is_help=True, help="Make accounts and keys, give credits, look after jobs.")
account_app = typer.Typer(no_args_is_help=True, help="Who may ask for films, and how much.")
key_app = typer.Typer(no_args_is_help=True, help="What opens an account to a program.")
invite_app = typer.Typer(no_args_is_help=True, help="Codes that make an account, once.")
credits_app = typer.Typer(no_args_is_help=True, help="What accounts can spend.")
jobs_app = typer.Typer(no_args_is_help=True, help="What was asked for, and what became of it.")
endpoint_app = typer.Typer(no_args_is_help=True, help="Addresses that are told when films are ready.")
GROUPS = {
    "account": account_app,
    "key": key_app,
    "invite": invite_app,
    "credits": credits_app,
    "jobs": jobs_app,
    "endpoint": endpoint_app,
}
for name, group in GROUPS.items():
    app.add_typer(group, name=name)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; times are seconds since 1970.")]
AccountId = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")]
Days = Annotated[
    int | None, typer.Option(parser=whole, metavar="INTEGER", help="How long it opens; for ever by default.")
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]
OfAccount = Annotated[str | None, typer.Option("--account", metavar="ID", help="Only of this account.")]
Tier = Annotated[str, typer.Option(help="admin, red_team, creator or viewer.")]
TierCredits = Annotated[
    int | None,
    typer.Option(
        "--credits", parser=whole, metavar="INTEGER", help="Credits to begin with; as many as the tier gives."
    ),
]


def _lasts_s(days: int | None) -> int | None:
    return None if days is None else days * DAY_S


# --------------------------------------------------------------------------------------------------- accounts


@account_app.command("new")
def new_account(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it.")],
    tier: Tier = "creator",
    credits_: TierCredits = None,
    key: Annotated[bool, typer.Option("--key", help="Make a key as well, which is the second line.")] = False,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Make an account and print its id."""
    with opened(data, writes=True) as (session, now, _):
        from unstatic.server import accounts

        made = accounts.open_account(session, name, tier, now, credits_=credits_)
        lines = {"id": made.id}
        if key:
            lines["key"] = accounts.make_key(session, made.id, "first", now)[1]
    print_new(lines, as_json=as_json)


@account_app.command("list")
def list_accounts(as_json: AsJson = False, data: Data = None) -> None:
    """List the accounts, the oldest first."""
    with opened(data) as (session, _, _):
        from sqlalchemy import select

        from unstatic.server.tables import Account

        rows = facts(
            session.scalars(select(Account).order_by(Account.created_at, Account.id)),
            "id name tier balance created_at disabled_at",
        )
    show(rows, "there is no account: make one with `unstatic admin account new`", as_json=as_json)


@account_app.command("change")
def change_account(account: AccountId, tier: Tier, data: Data = None) -> None:
    """Give an account another tier; its credits stay."""
    with opened(data, writes=True) as (session, _, _):
        from unstatic.server import accounts

        accounts.change_tier(session, account, tier)


@account_app.command("disable")
def disable_account(
    account: AccountId,
    undo: Annotated[bool, typer.Option("--undo", help="Let it in again.")] = False,
    data: Data = None,
) -> None:
    """Let no key of an account in; its jobs go on."""
    with opened(data, writes=True) as (session, now, _):
        from unstatic.server import accounts

        if undo:
            accounts.enable(session, account)
        else:
            accounts.disable(session, account, now)


# ----------------------------------------------------------------------------------------- keys and invites


@key_app.command("new")
def new_key(
    account: AccountId,
    name: Annotated[str, typer.Option(metavar="NAME", help="What it is for.")] = "key",
    days: Days = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Make a key and print it; it is not shown again."""
    with opened(data, writes=True) as (session, now, _):
        from unstatic.server import accounts

        made, text = accounts.make_key(session, account, name, now, lasts_s=_lasts_s(days))
        lines = {"id": made.id, "key": text} if as_json else {"key": text}
    print_new(lines, as_json=as_json)


@key_app.command("list")
def list_keys(account: OfAccount = None, as_json: AsJson = False, data: Data = None) -> None:
    """List the keys, of which only the end is known."""
    with opened(data) as (session, _, _):
        from sqlalchemy import select

        from unstatic.server.tables import Key

        wanted = select(Key).order_by(Key.created_at, Key.id)
        wanted = wanted if account is None else wanted.where(Key.account_id == account)
        columns = "id account_id name shown created_at expires_at revoked_at used_at"
        rows = facts(session.scalars(wanted), columns)
    show(rows, "there is no key: make one with `unstatic admin key new`", as_json=as_json)


@key_app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id.")], data: Data = None
) -> None:
    """Let a key open nothing from now on."""
    with opened(data, writes=True) as (session, now, _):
        from unstatic.server import accounts

        accounts.revoke_key(session, key, now)


@invite_app.command("new")
def new_invite(
    tier: Tier = "creator",
    credits_: TierCredits = None,
    days: Days = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Make an invite and print its code; it is not shown again."""
    with opened(data, writes=True) as (session, now, _):
        from unstatic.server import accounts

        made, code = accounts.invite(session, tier, now, credits_=credits_, lasts_s=_lasts_s(days))
        lines = {"id": made.id, "code": code} if as_json else {"code": code}
    print_new(lines, as_json=as_json)


@invite_app.command("list")
def list_invites(as_json: AsJson = False, data: Data = None) -> None:
    """List the invites, and the accounts they made."""
    with opened(data) as (session, _, _):
        from sqlalchemy import select

        from unstatic.server.tables import Invite

        rows = facts(
            session.scalars(select(Invite).order_by(Invite.created_at, Invite.id)),
            "id tier credits created_at expires_at account_id",
        )
    show(rows, "there is no invite: make one with `unstatic admin invite new`", as_json=as_json)


# --------------------------------------------------------------------------------------------------- credits


@credits_app.command("give")
def give_credits(
    account: AccountId,
    amount: Annotated[int, typer.Argument(parser=whole, metavar="AMOUNT", help="How many.")],
    take: Annotated[bool, typer.Option("--take", help="Take them away instead.")] = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the ledger.")] = "given",
    data: Data = None,
) -> None:
    """Give credits to an account, and print what it has."""
    with opened(data, writes=True) as (session, now, _):
        from unstatic.server import accounts, ledger
        from unstatic.server.errors import ApiError

        if not 1 <= amount <= accounts.MOST_CREDITS:
            raise InputError(f"{amount} credits cannot be given: give 1 to {accounts.MOST_CREDITS}")
        held = accounts.account_of(session, account)
        try:
            ledger.grant(session, account, -amount if take else amount, reason, now)
        except ApiError:
            raise InputError(f"{amount} credits cannot be taken: the account has {held.balance}") from None
        session.refresh(held)
        balance = held.balance
    typer.echo(balance)


@credits_app.command("show")
def show_credits(account: AccountId, as_json: AsJson = False, data: Data = None) -> None:
    """Show what an account has, and every movement of it."""
    with opened(data) as (session, _, _):
        from sqlalchemy import select

        from unstatic.server import accounts, ledger
        from unstatic.server.tables import Entry

        balance = accounts.account_of(session, account, lock=False).balance
        pots = ledger.pots(session, account)
        # What an account can spend or has put aside; the other side of a movement is not its own
        mine = select(Entry).where(Entry.account_id == account, Entry.pot != ledger.HOUSE)
        rows = facts(session.scalars(mine.order_by(Entry.number)), "created_at reason pot amount job_id")
    if as_json:
        whole_of = {"balance": balance, "reserved": pots[ledger.RESERVED], "entries": rows}
        typer.echo(json.dumps(whole_of))
        return
    show(rows, "nothing has moved", as_json=False)
    typer.echo(f"{balance} to spend, {pots[ledger.RESERVED]} put aside for jobs")


# ------------------------------------------------------------------------------------------------------ jobs


@jobs_app.command("list")
def list_jobs(
    account: OfAccount = None,
    status: Annotated[
        str | None, typer.Option(help="Only queued, in_progress, completed or failed ones.")
    ] = None,
    limit: Annotated[int, typer.Option(parser=whole, metavar="INTEGER", help="How many at most.")] = 50,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """List jobs, the newest first, without their prompts."""
    with opened(data) as (session, _, _):
        from sqlalchemy import select

        from unstatic.server.jobs import NEXT
        from unstatic.server.tables import Job

        if status is not None and status not in NEXT:
            raise InputError(f"status {status!r} is unknown: take one of {', '.join(NEXT)}")
        if not 1 <= limit <= 1_000_000:
            raise InputError(f"limit is {limit}: list 1 to 1000000")
        wanted = select(Job).where(Job.deleted_at.is_(None)).order_by(Job.number.desc()).limit(limit)
        wanted = wanted if account is None else wanted.where(Job.account_id == account)
        wanted = wanted if status is None else wanted.where(Job.status == status)
        rows = facts(
            session.scalars(wanted), "id account_id status progress model size seconds created_at error_code"
        )
    show(rows, "there is no such job", as_json=as_json)


@jobs_app.command("requeue")
def requeue_job(job: JobId, data: Data = None) -> None:
    """Take a job from its worker; the next one begins it anew."""
    with opened(data, writes=True) as (session, _, _):
        from unstatic.server import jobs

        jobs.requeue(session, job)


@jobs_app.command("cancel")
def cancel_job(job: JobId, data: Data = None) -> None:
    """End a job that waits or is made; its credits go back."""
    with opened(data, writes=True) as (session, now, _):
        from sqlalchemy import select

        from unstatic.server import jobs
        from unstatic.server.tables import Job

        held = session.scalars(select(Job).where(Job.id == job).with_for_update()).one_or_none()
        if held is None or held.deleted_at is not None:
            raise InputError(f"job {job[:80]!r} is unknown: `unstatic admin jobs list` shows all")
        if held.status in jobs.ENDED:
            raise InputError(f"job {job!r} is {held.status}: only one that has not ended can be cancelled")
        jobs.cancel(session, held, now, free=True)


# ------------------------------------------------------------------------------------------------- endpoints


@endpoint_app.command("new")
def new_endpoint(
    account: AccountId,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where webhooks are sent.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="What people call it.")] = "",
    event: Annotated[
        list[str] | None,
        typer.Option(metavar="EVENT", help="video.completed or video.failed; both by default."),
    ] = None,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Make an endpoint and print the secret that signs."""
    with opened(data, writes=True) as (session, now, settings):
        from unstatic.server import accounts, webhooks
        from unstatic.server.errors import ApiError
        from unstatic.server.fetching import check_target

        events = tuple(dict.fromkeys(event or webhooks.EVENTS))
        if unknown := [each for each in events if each not in webhooks.EVENTS]:
            raise InputError(f"event {unknown[0]!r} is unknown: take one of {', '.join(webhooks.EVENTS)}")
        check_target(url, webhooks.policy_of(settings))
        accounts.account_of(session, account)
        try:
            made = webhooks.make(session, account, url, now, name=name, events=events)
        except ApiError as error:
            raise InputError(str(error)) from None
        lines = {"id": made.id, "secret": made.secret} if as_json else {"secret": made.secret}
    print_new(lines, as_json=as_json)


@endpoint_app.command("list")
def list_endpoints(account: OfAccount = None, as_json: AsJson = False, data: Data = None) -> None:
    """List the endpoints, and how they fare."""
    with opened(data) as (session, _, _):
        from sqlalchemy import select

        from unstatic.server.tables import Endpoint

        wanted = select(Endpoint).order_by(Endpoint.created_at, Endpoint.id)
        wanted = wanted if account is None else wanted.where(Endpoint.account_id == account)
        columns = "id account_id name url events created_at failing_since disabled_at"
        rows = facts(session.scalars(wanted), columns)
    show(rows, "there is no endpoint: make one with `unstatic admin endpoint new`", as_json=as_json)


EndpointId = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint's id.")]


@endpoint_app.command("rotate")
def rotate_secret(
    endpoint: EndpointId,
    forget: Annotated[bool, typer.Option("--forget", help="Sign no more with the old one.")] = False,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Print a new secret; the old one also signs for a day."""
    with opened(data, writes=True) as (session, now, _):
        from unstatic.server import webhooks

        held = _endpoint_of(session, endpoint)
        webhooks.rotate(held, now, keep_old=not forget)
        lines = {"id": held.id, "secret": held.secret} if as_json else {"secret": held.secret}
    print_new(lines, as_json=as_json)


@endpoint_app.command("disable")
def disable_endpoint(
    endpoint: EndpointId,
    undo: Annotated[bool, typer.Option("--undo", help="Tell it again.")] = False,
    data: Data = None,
) -> None:
    """Tell an endpoint nothing more, nor what it missed."""
    with opened(data, writes=True) as (session, now, _):
        from unstatic.server import webhooks

        held = _endpoint_of(session, endpoint)
        if undo:
            webhooks.enable(held)
        else:
            webhooks.disable(session, held, now)


def _endpoint_of(session: "Session", endpoint_id: str) -> "Endpoint":
    """Return an endpoint, to be changed. Raises InputError for one that there is not."""
    from unstatic.server.tables import Endpoint

    found = session.get(Endpoint, endpoint_id, with_for_update=True)
    if found is None:
        known = "`unstatic admin endpoint list` shows all"
        raise InputError(f"endpoint {endpoint_id[:80]!r} is unknown: {known}")
    return found


# ---------------------------------------------------------------------------------------------------- report


@app.command("report")
def report(as_json: AsJson = False, data: Data = None) -> None:
    """Show jobs and credits of every account, and who waits."""
    with opened(data) as (session, now, _):
        from sqlalchemy import func, select

        from unstatic.server.jobs import NEXT, QUEUED
        from unstatic.server.ledger import RESERVED
        from unstatic.server.tables import Account, Entry, Job

        counted = select(Job.account_id, Job.status, func.count()).group_by(Job.account_id, Job.status)
        aside = select(Entry.account_id, func.sum(Entry.amount)).where(Entry.pot == RESERVED)
        oldest = select(func.count(), func.min(Job.created_at)).where(Job.status == QUEUED)
        jobs = {(account, status): count for account, status, count in session.execute(counted)}
        reserved = {id_: int(sum_) for id_, sum_ in session.execute(aside.group_by(Entry.account_id))}
        waiting, since = session.execute(oldest).one()
        rows = [
            {
                "account_id": each.id,
                "name": each.name,
                "tier": each.tier,
                **{status: jobs.get((each.id, status), 0) for status in NEXT},
                "balance": each.balance,
                "reserved": reserved.get(each.id, 0),
            }
            for each in session.scalars(select(Account).order_by(Account.created_at, Account.id))
        ]
    oldest_s = max(now - since, 0) if waiting else None
    if as_json:
        typer.echo(json.dumps({"accounts": rows, "waiting": waiting, "oldest_waiting_s": oldest_s}))
        return
    show(rows, "there is no account: make one with `unstatic admin account new`", as_json=False)
    typer.echo(f"{waiting} waiting" + ("" if oldest_s is None else f", the oldest for {oldest_s} s"))
