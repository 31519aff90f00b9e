"""A server that really listens, and a worker beside it that ends what is asked of it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from serving import begin, complete

from unstatic.server.jobs import LostLeaseError
from unstatic.server.state import Server


@contextmanager
def listening(app: FastAPI, config: uvicorn.Config | None = None) -> Iterator[str]:
    """Run an application on a free port of this machine, or as `config` says, and yield its address."""
    runner = uvicorn.Server(config or uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    while not runner.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{runner.servers[0].sockets[0].getsockname()[1]}/v1"
    runner.should_exit = True
    thread.join()


@contextmanager
def working(server: Server, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Complete whatever is asked for until the block ends, and yield the specs of it."""
    specs: list[dict[str, Any]] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            if (found := begin(server)) is None:
                over.wait(0.02)
                continue
            specs.append(found[1].spec)
            with suppress(LostLeaseError):  # it was deleted meanwhile
                complete(server, found[0], folder, kind=found[1].kind)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield specs
    finally:
        over.set()
        worker.join()
