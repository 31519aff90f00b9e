"""An application with a database of its own, asked as clients ask; films are ended as a worker ends them."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from unstatic.core.shapes import Size
from unstatic.media.write import VideoWriter
from unstatic.server import accounts, jobs, queue
from unstatic.server.app import create_app
from unstatic.server.database import Database
from unstatic.server.jobs import Lease, Made
from unstatic.server.settings import Settings
from unstatic.server.state import Server
from unstatic.server.tables import Job

FPS = 16
SMALL = Size(96, 64)


def application(folder: Path, database: Database | None = None, **settings: object) -> FastAPI:
    """Return an application whose files lie in `folder`."""
    return create_app(Settings(data=folder / "server", **settings), database=database)


@contextmanager
def client_of(
    app: FastAPI, key: str | None = None, *, peer: str = "127.0.0.1", **headers: str
) -> Iterator[TestClient]:
    """Yield a client at the address `peer` that sees answers to errors, not the errors."""
    headers |= {} if key is None else {"Authorization": f"Bearer {key}"}
    where = {"base_url": "http://localhost", "client": (peer, 50_000)}
    with TestClient(app, raise_server_exceptions=False, headers=headers, **where) as client:
        yield client


def add_key(database: Database, account_id: str) -> str:
    """Return a new key of an account."""
    with database.writing() as session:
        return accounts.make_key(session, account_id, "test", database.now())[1]


def write_film(path: Path, *, size: Size = SMALL, frames: int = 12, fps: int = FPS) -> Path:
    """Write an mp4 of grey that becomes lighter."""
    levels = np.linspace(0, 255, frames).astype(np.uint8)[:, None, None, None]
    with VideoWriter(path, fps=fps) as writer:
        writer.write(np.broadcast_to(levels, (frames, size.height, size.width, 3)))
    return path


def write_image(path: Path, size: Size = SMALL) -> Path:
    """Write a picture, in the format of the path's ending."""
    Image.new("RGB", (size.width, size.height), (200, 30, 30)).save(path)
    return path


def begin(server: Server, worker: str = "one") -> tuple[Lease, Job] | None:
    """Claim the next job."""
    with server.database.writing() as session:
        return queue.claim(session, worker, list(server.manifests), server.database.now())


def complete(server: Server, lease: Lease, folder: Path, *, kind: str = "video") -> dict[str, bytes]:
    """Store small files for a job, publish it, and return the bytes by variant."""
    made = folder / secrets.token_hex(4)
    made.mkdir()
    names = {"video": "video.mp4", "thumbnail": "thumbnail.webp", "spritesheet": "spritesheet.jpg"}
    if kind == "image":
        names = {"picture": "picture.png"}
    for name in names.values():
        path = made / name
        server.storage.put_file(
            f"{lease.prefix}/{name}", write_film(path) if name.endswith("mp4") else write_image(path)
        )
    with server.database.writing() as session:
        jobs.complete(session, lease, Made(keep_s=1_000), server.database.now())
    return {variant: (made / name).read_bytes() for variant, name in names.items()}


def finish(server: Server, folder: Path) -> dict[str, bytes]:
    """Claim the next job and complete it."""
    found = begin(server)
    assert found is not None
    lease, job = found
    return complete(server, lease, folder, kind=job.kind)


def fail(server: Server, code: str, message: str) -> None:
    """Claim the next job and end it as failed."""
    found = begin(server)
    assert found is not None
    with server.database.writing() as session:
        jobs.fail(session, found[0], code, message, server.database.now())
