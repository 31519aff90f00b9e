"""The application: routes, errors and what they share, made from settings; nothing runs by being imported."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from unstatic import __version__
from unstatic.core.errors import InputError
from unstatic.generate.load import find
from unstatic.models.manifest import Manifest
from unstatic.server.asking import MOST_LETTERS
from unstatic.server.database import Database
from unstatic.server.errors import add_handlers
from unstatic.server.limits import Rates
from unstatic.server.metrics import Metrics
from unstatic.server.routes import characters, endpoints, extras, images, invites, models, operations, videos
from unstatic.server.settings import Settings
from unstatic.server.shares import Shares, Turns
from unstatic.server.spool import open_spool
from unstatic.server.state import Server, read_secret
from unstatic.server.storage import Storage
from unstatic.server.telemetry import Telemetry
from unstatic.server.tracing import trace_to

# Of 40 threads that answer, at most so many wait for files of strangers, and two work on them
EXAMINED_AT_ONCE, MOST_EXAMINED, MOST_OF_ONE = 2, 10, 4
# What an account may have under way: the largest requests, films that it follows, requests for pictures
MOST_UPLOADS, MOST_STREAMS, MOST_WAITS = 4, 16, 32
# Bodies that lie in memory: of an account, and of all
MOST_BODY_BYTES, MOST_BODIES_BYTES = 64_000_000, 256_000_000
# Letters of prompts that are read for all accounts: each of eight threads has the longest, or more have less
MOST_LETTERS_OF_ALL = 4 * MOST_LETTERS
# Names that are resolved, which may take as long as their servers like
MOST_LOOKUPS, MOST_LOOKUPS_OF_ALL = 2, 6


def create_app(
    settings: Settings, *, database: Database | None = None, storage: Storage | None = None
) -> FastAPI:
    """Return the application. What is not given is opened as the settings say, and closed at the end."""
    server = open_server(settings, database=database, storage=storage)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        del app
        yield
        server.tracing.close()
        if database is None:
            server.database.close()

    app = FastAPI(
        title="unstatic",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.state.server = server
    add_handlers(app)
    # characters, edits and extensions come before the ids of videos
    for routes in (characters, extras, videos, images, models, operations, endpoints, invites):
        app.include_router(routes.router)
    app.add_middleware(Telemetry, metrics=server.metrics, tracing=server.tracing)
    return app


def open_server(
    settings: Settings, *, database: Database | None = None, storage: Storage | None = None
) -> Server:
    """Return what the settings say, its database led to today's tables. Raises InputError."""
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if database is None:
        database = Database(settings.database_url)
        database.migrate()
    if storage is None:
        storage = Storage.at(settings.storage_url, settings.storage_options)
    return Server(
        settings=settings,
        database=database,
        storage=storage,
        manifests=read_manifests(settings.models),
        spool=open_spool(settings.data),
        secret=read_secret(settings.data / "secret"),
        turns=Turns(EXAMINED_AT_ONCE),
        examined=Shares("too many files are looked at", most=MOST_OF_ONE, in_all=MOST_EXAMINED),
        uploads=Shares("this account sends too much", most=MOST_UPLOADS * settings.max_upload),
        bodies=Shares("too many large bodies are read", most=MOST_BODY_BYTES, in_all=MOST_BODIES_BYTES),
        planned=Shares("too many long prompts are read", most=MOST_LETTERS, in_all=MOST_LETTERS_OF_ALL),
        lookups=Shares("too many addresses are looked up", most=MOST_LOOKUPS, in_all=MOST_LOOKUPS_OF_ALL),
        streams=Shares(f"this account follows {MOST_STREAMS} films", most=MOST_STREAMS),
        waits=Shares(f"this account has {MOST_WAITS} requests that wait for pictures", most=MOST_WAITS),
        rates=Rates(settings.reads),
        metrics=Metrics(database),
        tracing=trace_to(settings.otlp_endpoint),
    )


def read_manifests(names: tuple[str, ...]) -> Mapping[str, Manifest]:
    """Return what the models on offer can do. Raises InputError for one that is not installed."""
    if not names:
        raise InputError("no model is offered: name one, for example nano")
    found = [find(name).manifest for name in names]
    return {manifest.name: manifest for manifest in found}
