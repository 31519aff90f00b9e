"""A server that speaks as the Hugging Face hub does, as far as pulling a model needs it."""

import hashlib
import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """One repository; what it does wrong can be chosen.

    `cut_after` ends a transfer of weights after so many bytes, once; `damaged` names files that arrive with a
    flipped byte; `gone` answers 404, `gated` 403; `extra` are names that the listing holds besides.
    """

    folder: Path
    licence: str = "apache-2.0"
    cut_after: int | None = None
    damaged: set[str] = field(default_factory=set)
    gone: bool = False
    gated: bool = False
    extra: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    url: str = ""

    def names(self) -> list[str]:
        return sorted(
            each.relative_to(self.folder).as_posix() for each in self.folder.rglob("*") if each.is_file()
        )

    def about(self) -> dict[str, object]:
        siblings: list[dict[str, object]] = []
        for name in self.names():
            content = (self.folder / name).read_bytes()
            blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            file: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
            if name.endswith(".safetensors"):
                sha256 = hashlib.sha256(content).hexdigest()
                file["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(file)
        siblings += [{"rfilename": name, "size": 1, "blobId": "0" * 40} for name in self.extra]
        return {
            "id": "someone/tiny-wan",
            "sha": REVISION,
            "private": False,
            "gated": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "cardData": {"license": self.licence},
            "siblings": siblings,
        }


@contextmanager
def serving(hub: FakeHub) -> Generator[FakeHub]:
    """Serve a hub on this machine while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def do_GET(self, body: bool = True) -> None:
            hub.asked.append(f"{self.command} {self.path} {self.headers.get('Range') or ''}".strip())
            hub.secrets += filter(None, [self.headers.get("Authorization")])
            if hub.gated or hub.gone:
                code, kind = (403, "GatedRepo") if hub.gated else (404, "RepoNotFound")
                return self.answer(code, b"{}", {"X-Error-Code": kind}, body)
            if self.path.startswith("/api/models/someone/tiny-wan"):
                if (revision := re.search(r"/revision/([^?]+)", self.path)) and revision[1] not in (
                    "main",
                    REVISION,
                ):
                    return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body)
                return self.answer(200, json.dumps(hub.about()).encode(), {}, body)
            match = re.fullmatch(rf"/someone/tiny-wan/resolve/{REVISION}/(.+)", self.path)
            if match is None or match[1] not in hub.names():
                return self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body)
            return self.file(match[1], body)

        def file(self, name: str, body: bool) -> None:
            content = (hub.folder / name).read_bytes()
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": REVISION}
            if name in hub.damaged:
                content = content[:-1] + bytes([content[-1] ^ 1])
            code, first = 200, 0
            if match := re.match(r"bytes=(\d+)-", self.headers.get("Range") or ""):
                code, first = 206, int(match[1])
                headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            cut = hub.cut_after if body and name.endswith(".safetensors") else None
            if cut is not None and len(content) - first > cut:
                hub.cut_after = None
                self.answer(code, content[first:], headers, body=False)
                self.wfile.write(content[first : first + cut])
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)
                return None
            return self.answer(code, content[first:], headers, body)

        def answer(self, code: int, content: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(code)
            for name, value in {
                "Content-Length": str(len(content)),
                "Accept-Ranges": "bytes",
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
