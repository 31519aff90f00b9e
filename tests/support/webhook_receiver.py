"""A receiver of webhooks on the loopback, and how tests send to it."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from sqlalchemy import select

from unstatic.server import fetching, jobs, webhooks
from unstatic.server.database import Database
from unstatic.server.fetching import Answer, Policy
from unstatic.server.outbox import Sender
from unstatic.server.tables import Account, Delivery, Endpoint

TIME_S, SHORT_TIME_S = 10, 0.3


class Receiver:
    """A server on the loopback that behaves as the path says, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, str], bytes]] = []
        self.codes: dict[str, int] = {}
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.told.append((self.path, headers, body))
                if self.path == "/hangs":
                    receiver.released.wait(10)
                self.send_response(receiver.codes.get(self.path, 204))
                if self.path == "/redirects":
                    self.send_header("location", f"{receiver.url}/elsewhere")
                if self.path == "/later":
                    self.send_header("retry-after", "600")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.told]

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


def post(url: str, body: bytes, headers: dict[str, str], *, time_s: float | int = TIME_S) -> Answer:
    """Send as a server does that takes the loopback for public."""
    port = urlsplit(url).port or 80
    policy = Policy(http=True, ports=(port,), allowed_networks=("127.0.0.0/8",), time_s=time_s)
    return fetching.post(url, body, headers, policy)


def post_hastily(url: str, body: bytes, headers: dict[str, str]) -> Answer:
    """Send as `post` does, and wait only for a moment."""
    return post(url, body, headers, time_s=SHORT_TIME_S)


def until_told(
    receiver: Receiver, path: str, times: int, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Wait until an endpoint was told something so often."""
    end_s = time.monotonic() + 10
    while receiver.paths().count(path) < times:
        assert time.monotonic() < end_s, receiver.paths()
        meanwhile()
        time.sleep(0.01)


def listen(database: Database, account: Account, url: str) -> Endpoint:
    """Write an endpoint of an account."""
    with database.writing() as session:
        return webhooks.make(session, account.id, url, database.now())


def end_a_job(database: Database, account: Account) -> str:
    """Let a job fail; its account is told in the same transaction."""
    asked = jobs.Asked(kind="video", model="nano", prompt="p", spec={}, size="128x128", seconds=4.0, cost=1)
    with database.writing() as session:
        job = jobs.create(session, session.get_one(Account, account.id), asked, database.now())
        jobs.cancel(session, job, database.now())
        return job.id


def look(sender: Sender) -> int:
    """Let a sender look once, and wait for what it has begun."""
    begun = sender.look()
    sender.finish()
    return begun


def row(database: Database) -> Delivery:
    """Return the one delivery that there is."""
    with database.reading() as session:
        return session.scalars(select(Delivery)).one()
