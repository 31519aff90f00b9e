"""What a running server consists of: `app.state.server`. Nothing of it is global."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unstatic.core.files import atomic_path
from unstatic.models.manifest import Manifest
from unstatic.server.database import Database
from unstatic.server.limits import Rates
from unstatic.server.metrics import Metrics
from unstatic.server.settings import Settings
from unstatic.server.shares import Shares, Turns
from unstatic.server.storage import Storage
from unstatic.server.tracing import Tracing


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """What every request may use. `manifests` are the models on offer, the first is the default.

    `spool` is where uploads lie while their request lasts. Those are looked at that have one of the `turns`,
    for which only requests wait that have a share of `examined`. `uploads` counts the bytes that are sent at
    a moment, `bodies` those in memory, `planned` the letters of prompts that are read, `lookups` the names
    of endpoints that are resolved, `streams` the films that are followed, `waits` the requests that wait for
    pictures. `secret` signs addresses of pictures.
    """

    settings: Settings
    database: Database
    storage: Storage
    manifests: Mapping[str, Manifest]
    spool: Path
    secret: bytes
    turns: Turns
    examined: Shares
    uploads: Shares
    bodies: Shares
    planned: Shares
    lookups: Shares
    streams: Shares
    waits: Shares
    rates: Rates
    metrics: Metrics
    tracing: Tracing


def read_secret(path: Path) -> bytes:
    """Return what signs addresses, drawn when a server starts for the first time."""
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(32), encoding="ascii")
    return path.read_bytes()
