"""The server's database as `unstatic admin` opens it, and rows of it as people and programs read them."""

import json
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import typer

from unstatic.cli.output import warn
from unstatic.cli.serve import server_settings
from unstatic.core.errors import UnstaticError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from unstatic.server.database import Database
    from unstatic.server.settings import Settings


class Opened(NamedTuple):
    """A transaction, the time for rows, and the settings of the server."""

    session: "Session"
    now: int
    settings: "Settings"


@contextmanager
def opened(data: Path | None, *, writes: bool = False) -> Generator[Opened]:
    """Open the server's database for one transaction. Raises UnstaticError where it cannot be used."""
    settings = server_settings(data=data)
    from sqlalchemy.exc import DBAPIError

    from unstatic.server.stores import open_stores

    try:
        if settings.database is None and not (settings.data / "jobs.sqlite").exists():
            warn(f"there was no server's database in {settings.data}: a new one is made")
        database: Database = open_stores(settings).database
        with closing(database), database.writing() if writes else database.reading() as session:
            yield Opened(session, database.now(), settings)
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise UnstaticError(f"the server's database cannot be used: {reason}") from None


def show(rows: Sequence[Mapping[str, object]], none: str, *, as_json: bool) -> None:
    """Print rows as JSON or in columns; `none` is said where there is no row."""
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        warn(none)
        return
    heads = [each.removesuffix("_at").removesuffix("_id").replace("_", " ") for each in rows[0]]
    lines = [heads, *([_text(name, value) for name, value in row.items()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(map(str.ljust, line, widths)).rstrip())


def facts(rows: Iterable[object], columns: str) -> list[dict[str, object]]:
    """Return what rows of a table say, by the names of its columns."""
    return [{name: getattr(row, name) for name in columns.split()} for row in rows]


def _text(name: str, value: object) -> str:
    if value is None or value == "":
        return "-"
    if name.endswith(("_at", "_since")) and isinstance(value, int):
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(value))
    if isinstance(value, float):
        return f"{value:g}"
    text = ", ".join(cast(list[str], value)) if isinstance(value, list) else str(value)
    return "".join(each if each.isprintable() else "?" for each in text)  # clients choose some of these names


def print_new(lines: Mapping[str, str], *, as_json: bool) -> None:
    """Print what was made: every value alone on a line, or all as one JSON object."""
    typer.echo(json.dumps(dict(lines)) if as_json else "\n".join(lines.values()))
