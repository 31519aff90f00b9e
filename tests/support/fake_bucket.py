"""An object store on loopback that says of S3 what s3fs asks for; it believes every signature."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

WRITTEN = "2026-01-02T03:04:05.000Z"


class FakeBucket(ThreadingHTTPServer):
    """`objects` by their path, bucket first; with `fails` every put is answered with (status, code)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.fails: tuple[int, str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeBucket
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.fails:
            self._answer_error(*self.server.fails)
            return
        self.server.objects[self._name()] = data
        self._answer(200)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self._list(query["prefix"][0])
        elif (data := self.server.objects.get(self._name())) is None:
            self._answer_error(404, "NoSuchKey")
        elif found := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            self._answer(206, data[int(found[1]) : int(found[2]) + 1])
        else:
            self._answer(200, data)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        """Delete several objects."""
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        for key in re.findall("<Key>(.*?)</Key>", asked):
            self.server.objects.pop(f"{self._name().rstrip('/')}/{key}", None)
        self._answer(200, b"<DeleteResult/>")

    def _list(self, prefix: str) -> None:
        bucket = self._name().rstrip("/")
        found = {name.removeprefix(f"{bucket}/"): data for name, data in sorted(self.server.objects.items())}
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>{len(data)}</Size><LastModified>{WRITTEN}</LastModified></Contents>"
            for key, data in found.items()
            if key.startswith(prefix)
        )
        self._answer(200, f"<ListBucketResult>{entries}</ListBucketResult>".encode())

    def _name(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/")

    def _answer_error(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[FakeBucket]:
    """Run one until the block ends."""
    with FakeBucket() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
