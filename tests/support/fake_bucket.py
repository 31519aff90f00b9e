"""An object store on loopback that knows of S3 what s3fs asks for, and believes every signature."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

WRITTEN = "2026-01-02T03:04:05.000Z"
ENTRY = "<Contents><Key>{}</Key><Size>{}</Size><LastModified>" + WRITTEN + "</LastModified></Contents>"


class FakeBucket(ThreadingHTTPServer):
    """`objects` by their path, bucket first; with `fails` every put is answered with (status, code)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.objects: dict[str, bytes] = {}
        self.fails: tuple[int, str] | None = None


class Handler(BaseHTTPRequestHandler):
    server: FakeBucket
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.fails:
            return self.answer(self.server.fails[0], f"<Error><Code>{self.server.fails[1]}</Code></Error>")
        self.server.objects[urlsplit(self.path).path[1:]] = data
        return self.answer(200)

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path[1:], parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            below = f"{path.rstrip('/')}/{query['prefix'][0]}"
            names = sorted(name for name in self.server.objects if name.startswith(below))
            found = [ENTRY.format(name.split("/", 1)[1], len(self.server.objects[name])) for name in names]
            return self.answer(200, f"<ListBucketResult>{''.join(found)}</ListBucketResult>")
        if path not in self.server.objects:
            return self.answer(404, "<Error><Code>NoSuchKey</Code></Error>")
        data = self.server.objects[path]
        if asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            return self.answer(206, data[int(asked[1]) : int(asked[2]) + 1])
        return self.answer(200, data)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        """Delete several objects."""
        bucket = urlsplit(self.path).path.strip("/")
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        for key in re.findall("<Key>(.*?)</Key>", asked):
            self.server.objects.pop(f"{bucket}/{key}", None)
        self.answer(200, "<DeleteResult/>")

    def answer(self, status: int, body: bytes | str = b"") -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else data)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def running() -> Iterator[FakeBucket]:
    """Run one until the block ends."""
    with FakeBucket() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        yield server
        server.shutdown()
