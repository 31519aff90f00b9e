"""The database and the storage that settings name."""

from typing import NamedTuple

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from unstatic.core.errors import InputError, UnstaticError
from unstatic.server.database import Database
from unstatic.server.settings import Settings
from unstatic.server.storage import Storage


class Stores(NamedTuple):
    """Where everything is that outlives a process."""

    database: Database
    storage: Storage


def open_stores(settings: Settings) -> Stores:
    """Open both, with today's tables. Raises InputError for a folder that cannot be made, UnstaticError."""
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(
            f"the folder {settings.data} cannot be made: {error.strerror}, name another"
        ) from None
    database = Database(settings.database_url)
    try:
        database.migrate()
    except CommandError:
        raise UnstaticError(
            "the server's database was made by a newer unstatic: install that, or go back to a backup"
        ) from None
    except DBAPIError as error:
        reason = str(error.orig).partition("\n")[0]
        raise UnstaticError(f"the server's database cannot be used: {reason}") from None
    return Stores(database, Storage.at(settings.storage_url, settings.storage_options))
