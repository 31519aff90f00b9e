"""What tests of the server share: a migrated database of their own, on SQLite and on PostgreSQL."""

import os
import random
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import postgres
import pytest
from fastapi import FastAPI
from serving import add_key, application, client_of
from sqlalchemy import create_engine, text
from starlette.testclient import TestClient
from webhook_receiver import Receiver, post

from unstatic.generate.api import Model, load
from unstatic.server import ledger
from unstatic.server.database import Database
from unstatic.server.outbox import Sender
from unstatic.server.state import Server
from unstatic.server.tables import Account, new_id


@pytest.fixture(scope="session")
def nano() -> Model:
    """Return the shipped model, loaded once for all films."""
    return load("nano", device="cpu")


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


def migrate(url: str) -> None:
    opened = Database(url)
    opened.migrate()
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """Run PostgreSQL and return the folder of its socket; skip where it is missing, but never in CI."""
    programs = postgres.found()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: .ci/run installs it")
        pytest.skip("PostgreSQL is not installed")
    with postgres.running(programs) as folder:
        migrate(postgres.url(folder, "template1"))  # what every new database is a copy of
        yield folder


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the address of an empty database with today's tables."""
    if request.param == "sqlite":
        found = f"sqlite:///{tmp_path}/jobs.sqlite"
        migrate(found)
        yield found
        return
    folder = request.getfixturevalue("postgres_folder")
    name = f"test_{secrets.token_hex(6)}"
    engine = create_engine(postgres.url(folder, "postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield postgres.url(folder, name)
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def database(database_url: str, clock: Clock) -> Iterator[Database]:
    """Return an empty database."""
    opened = Database(database_url, clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def make_account(database: Database) -> Callable[..., Account]:
    """Return a function that opens an account with credits."""

    def make(*, balance: int = 1_000, concurrency: int = 4, weight: float = 1.0) -> Account:
        with database.writing() as session:
            account = Account(
                id=new_id("acct"),
                name="somebody",
                tier="creator",
                concurrency=concurrency,
                weight=weight,
                created_at=database.now(),
            )
            session.add(account)
            session.flush()
            ledger.grant(session, account.id, balance, "test", database.now())
        return account

    return make


@pytest.fixture
def app(database: Database, tmp_path: Path) -> FastAPI:
    """Return the application on an empty database."""
    return application(tmp_path, database)


@pytest.fixture
def server(app: FastAPI) -> Server:
    """Return what the application consists of."""
    return app.state.server


@pytest.fixture
def account(make_account: Callable[..., Account]) -> Account:
    """Return an account with credits."""
    return make_account()


@pytest.fixture
def client(app: FastAPI, database: Database, account: Account) -> Iterator[TestClient]:
    """Yield a client with a key of the account."""
    with client_of(app, add_key(database, account.id)) as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return an endpoint that listens on this machine."""
    opened = Receiver()
    yield opened
    opened.close()


@pytest.fixture
def sender(database: Database) -> Iterator[Sender]:
    """Return what sends webhooks, with dice that fall alike."""
    opened = Sender(database, post, dice=random.Random(1))
    yield opened
    opened.close()
