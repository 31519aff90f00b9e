"""The steps to today's tables, and what comes out of a store that is full, locked, read-only or torn."""

import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import postgres
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from serving import add_key, application, client_of
from sqlalchemy import create_engine, event, func, select, text, update
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from unstatic.core.errors import InputError
from unstatic.server import database as module
from unstatic.server import jobs, ledger
from unstatic.server.database import Database
from unstatic.server.jobs import Asked
from unstatic.server.tables import Account, Job, Table

MakeAccount = Callable[..., Account]
FILM = {"prompt": "a red ball", "seconds": 4}
# Holds the write lock until its stdin ends
HOLD = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
    " c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read(); c.rollback(); c.close()"
)


def asked(prompt: str) -> Asked:
    return Asked(kind="video", model="nano", prompt=prompt, spec={}, size="128x128", seconds=4.0, cost=1)


def ask(database: Database, account: Account, prompt: str = "p") -> str:
    with database.writing() as session:
        return jobs.create(session, session.get_one(Account, account.id), asked(prompt), database.now()).id


def only_sqlite(database: Database) -> Path:
    """Return the file of the database; other stores have none that a test could break."""
    if not database.is_sqlite:
        pytest.skip("only SQLite is a file")
    assert database.engine.url.database is not None
    return Path(database.engine.url.database)


def count_jobs(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def test_a_new_file_is_its_owner_s_alone_with_all_that_sqlite_adds(tmp_path: Path):
    opened = Database(f"sqlite:///{tmp_path}/jobs.sqlite")
    opened.migrate()
    with opened.reading() as session:
        session.execute(text("SELECT 1"))
        found = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
    opened.close()
    assert found == {"jobs.sqlite": 0, "jobs.sqlite-wal": 0, "jobs.sqlite-shm": 0}


def test_a_glance_locks_nothing_and_sees_what_was_committed(database: Database, make_account: MakeAccount):
    account = make_account()
    with database.glancing() as glance:
        assert glance.scalar(select(func.count()).select_from(Job)) == 0
        with database.writing() as session:
            jobs.create(session, session.get_one(Account, account.id), asked("p"), database.now())
            assert glance.scalar(select(func.count()).select_from(Job)) == 0
        # Within one transaction this would still be 0
        assert glance.scalar(select(func.count()).select_from(Job)) == 1


def test_a_look_sees_one_state_and_changes_nothing(database: Database, make_account: MakeAccount):
    account = make_account()
    with database.reading() as look:
        assert look.scalar(select(func.count()).select_from(Job)) == 0
        ask(database, account)
        assert look.scalar(select(func.count()).select_from(Job)) == 0
    with pytest.raises(DBAPIError, match=r"read-?only"), database.reading() as look:
        look.execute(update(Job).values(progress=50))
    if database.is_sqlite:  # where it costs nothing
        with pytest.raises(DBAPIError, match="readonly"), database.glancing() as glance:
            glance.execute(update(Job).values(progress=50))
    ask(database, account)  # with the same connections
    assert count_jobs(database) == 2


def test_f9_no_lock_is_waited_for_without_an_end(
    database: Database, make_account: MakeAccount, monkeypatch: pytest.MonkeyPatch
):
    if database.is_sqlite:
        pytest.skip("of SQLite another test says that")
    monkeypatch.setitem(module.PATIENCE, "lock_timeout", "300ms")
    account = make_account()
    impatient = Database(database.engine.url.render_as_string(hide_password=False), clock=database.clock)
    with database.writing() as session:
        session.get_one(Account, account.id, with_for_update=True)
        with pytest.raises(OperationalError, match="lock timeout"):
            ask(impatient, account)
    ask(impatient, account)
    with impatient.reading() as session:  # a client that is stopped holds nothing for long
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "1min"
    impatient.close()


@contextmanager
def held_by_another(path: Path) -> Iterator[None]:
    """Let another process write and not finish."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
        process.communicate()


@contextmanager
def no_more_pages(database: Database) -> Iterator[None]:
    """Let the database be as full as a disk can be."""
    with database.reading() as session:
        pages = session.scalar(text("PRAGMA page_count"))

    def fill(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    event.listen(database.engine, "begin", fill)
    yield
    event.remove(database.engine, "begin", fill)
    database.engine.dispose()


def test_the_steps_lead_to_the_tables(database: Database):
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []


def test_of_several_processes_that_migrate_an_empty_database_one_does_it(postgres_folder: Path):
    name = f"empty_{secrets.token_hex(6)}"
    engine = create_engine(postgres.url(postgres_folder, "postgres"), isolation_level="AUTOCOMMIT")
    url = postgres.url(postgres_folder, name)
    code = (
        "import sys; from unstatic.server.database import Database; opened = Database(sys.argv[1]);"
        " print('ready', flush=True); sys.stdin.read(); opened.migrate(); opened.close()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
        running = [subprocess.Popen([sys.executable, "-c", code, url], **pipes) for _ in range(4)]
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        with ThreadPoolExecutor(4) as pool:  # which ends the input of all, and so lets them begin
            said = list(pool.map(lambda process: process.communicate(timeout=60)[1], running))
        assert [process.returncode for process in running] == [0, 0, 0, 0], said
        opened = Database(url)
        test_the_steps_lead_to_the_tables(opened)
        opened.close()
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "no URL"),
        ("somewhere", "no URL"),
        ("mysql://root@here/x", "a database mysql is unknown"),
        ("oracel://root@here/x", "is unknown|no URL"),
    ],
)
def test_a_database_that_cannot_be_is_said_in_one_line(url: str, message: str):
    with pytest.raises(InputError, match=message) as caught:
        Database(url)
    assert "\n" not in str(caught.value)


def test_a_block_that_fails_changes_nothing(database: Database, make_account: MakeAccount):
    account = make_account(balance=5)

    def ask_and_break() -> None:
        with database.writing() as session:
            jobs.create(session, session.get_one(Account, account.id), asked("p"), database.now())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask_and_break()
    assert count_jobs(database) == 0
    with database.reading() as session:
        assert session.get_one(Account, account.id).balance == 5


def test_f8_a_full_disk_refuses_a_job_whole_and_takes_jobs_again_later(
    database: Database, make_account: MakeAccount
):
    only_sqlite(database)
    account, made = make_account(), list[str]()

    def ask_on() -> None:
        while len(made) < 100:
            made.append(ask(database, account, "p" * 20_000))

    with no_more_pages(database):
        with pytest.raises(OperationalError, match="database or disk is full"):
            ask_on()
        assert count_jobs(database) == len(made)
        with database.reading() as session:
            assert ledger.pots(session, account.id)["reserved"] == len(made)
            assert session.get_one(Account, account.id).balance == 1_000 - len(made)
    ask(database, account, "p" * 20_000)
    assert count_jobs(database) == len(made) + 1


def test_f8_over_http_a_full_disk_is_503_and_what_is_there_can_be_read(
    database: Database, account: Account, tmp_path: Path
):
    only_sqlite(database)
    key = add_key(database, account.id)
    with client_of(application(tmp_path, database), key) as client:
        first = client.post("/v1/videos", json=FILM)
        assert first.status_code == 200
        long = FILM | {"prompt": "a red ball " * 2_000}
        with no_more_pages(database):
            answers = [client.post("/v1/videos", json=long | {"seed": seed}) for seed in range(6)]
            assert answers[-1].status_code == 503
            assert 1 <= int(answers[-1].headers["Retry-After"]) <= 120
            assert "disk" not in answers[-1].text
            assert client.get(f"/v1/videos/{first.json()['id']}").status_code == 200
        assert client.post("/v1/videos", json=long).status_code == 200


def test_f9_a_database_that_another_process_holds_is_503_for_writers_only(
    database: Database, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = only_sqlite(database)
    key = add_key(database, account.id)
    monkeypatch.setattr(module, "BUSY_S", 0.3)
    impatient = Database(str(database.engine.url), clock=database.clock)
    with client_of(application(tmp_path, impatient), key) as client:
        made = client.post("/v1/videos", json=FILM).json()
        with held_by_another(path):
            with pytest.raises(OperationalError, match="database is locked"):
                ask(impatient, account)
            answer = client.post("/v1/videos", json=FILM)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert answer.json()["error"]["code"] == "unavailable"
            assert not re.search(r"sqlite|locked|/", answer.json()["error"]["message"])
            assert client.get(f"/v1/videos/{made['id']}").status_code == 200
        assert client.post("/v1/videos", json=FILM).status_code == 200
    impatient.close()


def test_f9_a_database_that_cannot_be_written_can_be_read(database: Database, make_account: MakeAccount):
    path = only_sqlite(database)
    account = make_account()
    ask(database, account)
    closed = Database(f"sqlite:///file:{path}?mode=ro&uri=true", clock=database.clock)
    assert count_jobs(closed) == 1
    with pytest.raises(OperationalError, match="readonly database"):
        ask(closed, account)
    assert count_jobs(closed) == 1
    closed.close()


def test_f9_a_torn_page_is_an_error_of_the_database_and_not_a_wrong_answer(
    database: Database, make_account: MakeAccount
):
    path = only_sqlite(database)
    account = make_account()
    ask(database, account)
    with database.reading() as session:
        root = session.scalar(text("SELECT rootpage FROM sqlite_master WHERE name = 'jobs'"))
        size = session.scalar(text("PRAGMA page_size"))
    assert root is not None
    assert size is not None
    database.close()  # the last one writes the log back
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xa5" * size)
    with pytest.raises(DatabaseError, match="malformed") as caught, database.reading() as session:
        session.scalars(select(Job)).all()
    assert isinstance(caught.value, DBAPIError), "errors.py answers these with 503"
    with pytest.raises(DatabaseError, match="malformed"):
        ask(database, account)
    with database.reading() as session:  # what is whole can be read
        assert session.get_one(Account, account.id).balance == 999


def test_f9_connections_that_broke_are_made_anew(database: Database, make_account: MakeAccount):
    if database.is_sqlite:
        pytest.skip("SQLite has no connections that could break")
    account = make_account()
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    others = "WHERE pid <> pg_backend_pid() AND datname = current_database()"

    def ask_and_lose_the_connection() -> None:
        with database.writing() as session:
            jobs.create(session, session.get_one(Account, account.id), asked("p"), database.now())
            with database.engine.connect() as other:
                other.execute(text(f"{end} {others}"))
            session.execute(select(Job))

    with pytest.raises(OperationalError):
        ask_and_lose_the_connection()
    assert count_jobs(database) == 0
    ask(database, account)
    assert count_jobs(database) == 1
