"""Transactions on SQLite or PostgreSQL, and the steps that lead an older database to today's tables."""

import contextlib
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session

from unstatic.core.errors import InputError

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_S = 10
# What PostgreSQL does of itself about clients that are stopped or gone while they hold something: nothing
PATIENCE = {
    "lock_timeout": f"{BUSY_S}s",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
# Any number: who migrates holds it
MIGRATION_LOCK = 7_210_061


class Database:
    """The one store of the server. `clock` is the time that rows get, in seconds since 1970.

    SQLite waits for the disk before a commit counts, so that a power cut takes back nothing that was said.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        try:
            parsed = make_url(url)
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            if parsed.get_backend_name() not in ("sqlite", "postgresql"):
                raise InputError(f"a database {parsed.drivername} is unknown: take sqlite or postgresql")
            self.is_sqlite = parsed.get_backend_name() == "sqlite"
            self.engine = create_engine(parsed, pool_pre_ping=not self.is_sqlite, **self._pool())
            self._glancer = self._second_engine(parsed)
        except (ArgumentError, NoSuchModuleError):
            raise InputError("the database is no URL as postgresql://USER:PASSWORD@HOST/NAME") from None
        if self.is_sqlite:
            _close_to_others(parsed.database)
            _prepare_sqlite(self.engine)
            _set_pragmas(self._glancer, "query_only=ON")
            self._reader = self.engine
        else:
            event.listen(self.engine, "connect", _lose_patience)
            state = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            self._reader = self.engine.execution_options(**state)
        self._writer = self.engine.execution_options(writes=True)

    def _pool(self) -> dict[str, object]:
        many: dict[str, object] = {"pool_size": 20, "max_overflow": 30}
        return many | {"connect_args": {"timeout": BUSY_S} if self.is_sqlite else KEEPALIVES}

    def _second_engine(self, url: URL) -> Engine:
        """Return what `glancing` uses: on SQLite connections of its own, as the driver forgets the mode."""
        if self.is_sqlite:
            return create_engine(url, isolation_level="AUTOCOMMIT", **self._pool())
        return self.engine.execution_options(isolation_level="AUTOCOMMIT")

    def now(self) -> int:
        """Return the time for rows."""
        return int(self.clock())

    @contextmanager
    def reading(self) -> Generator[Session]:
        """Look at one state of the database; nothing is changed."""
        with Session(self._reader, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def glancing(self) -> Generator[Session]:
        """Look at the database without a transaction, in half the time: no two statements see one state."""
        with Session(self._glancer, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Generator[Session]:
        """Change all that the block changes, or nothing: an exception takes it back."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Lead the database to today's tables; of several processes that try, one does it."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._writer.begin() as connection:
            if not self.is_sqlite:
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()
        self._glancer.dispose()


def _close_to_others(path: str | None) -> None:
    """Make the file of a new database readable to its owner only; SQLite's other files follow it."""
    if path and not Path(path).exists():
        with contextlib.suppress(OSError):  # the first connection says what is wrong
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _prepare_sqlite(engine: Engine) -> None:
    """Lock at the beginning of what writes.

    A transaction that begins by reading and writes later would fail where another wrote in between.
    """
    _set_pragmas(engine)

    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "begin", on_begin)


def _set_pragmas(engine: Engine, *more: str) -> None:
    """Let readers and one writer of SQLite work side by side."""

    def on_connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver shall not begin anything itself
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", *more):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine, "connect", on_connect)


def _lose_patience(connection: Any, _: object) -> None:
    """Let PostgreSQL wait for nothing without an end, as SQLite does."""
    was, connection.autocommit = connection.autocommit, True
    connection.execute("; ".join(f"SET {name} = '{value}'" for name, value in PATIENCE.items()))
    connection.autocommit = was
