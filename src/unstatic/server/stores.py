"""The database and the storage that settings name."""

from typing import NamedTuple

from unstatic.core.errors import InputError
from unstatic.server.database import Database
from unstatic.server.settings import Settings
from unstatic.server.storage import Storage


class Stores(NamedTuple):
    """Where everything is that outlives a process."""

    database: Database
    storage: Storage


def open_stores(settings: Settings) -> Stores:
    """Open both, with today's tables. Raises InputError for a folder that cannot be made."""
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(
            f"the folder {settings.data} cannot be made: {error.strerror}, name another"
        ) from None
    database = Database(settings.database_url)
    database.migrate()
    return Stores(database, Storage.at(settings.storage_url, settings.storage_options))
