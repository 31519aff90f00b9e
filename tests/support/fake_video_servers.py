"""Servers with /v1/videos on this machine, each as the sources of its dialect say; each can be made to fail.

SGLang diffusion and FastVideo: JSON, or a form with a picture; 0 and then 100 percent; a failed job comes
with 200. vLLM-Omni: forms only; a failed job comes with the code of its error. unstatic: JSON or a form,
percent by percent, a header for the pace, one job for one Idempotency-Key.
"""

import json
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

OWNERS = {"sglang": "sglang", "vllm-omni": "vllm", "fastvideo": "fastvideo", "unstatic": "unstatic"}
FORM_FIELDS = ("prompt", "model", "size", "fps", "num_frames", "seed", "negative_prompt")
FORM_FIELDS = (*FORM_FIELDS, "num_inference_steps", "guidance_scale", "input_reference")
WHOLE = ("fps", "num_frames", "seed", "num_inference_steps")
MODEL = "Wan-AI/Tiny"
Film = Callable[[dict[str, Any]], bytes]


@dataclass
class FakeServer:
    """A server of one dialect; `film` makes the file of a job of what was asked.

    `polls` is how often a job is still being made. `faults` are consumed one by one where they fit:
    ("GET /videos/1", 429) answers with that code, "break" closes the connection before an answer, "lose" when
    the work was done, and for a film a number ends the transfer after so many bytes.
    """

    dialect: str
    film: Film
    polls: int = 2
    key: str = ""
    card: dict[str, Any] = field(default_factory=dict)
    failure: tuple[int, str] | None = None
    pace_ms: int | None = None
    redirect: str = ""
    endless: bool = False
    etag: bool = True
    faults: list[tuple[str, int | str]] = field(default_factory=list)
    retry_after: str = "7"
    asked: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    made: list[dict[str, Any]] = field(default_factory=list)
    jobs: dict[str, int] = field(default_factory=dict)
    once: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def fault(self, what: str) -> int | str | None:
        if self.faults and self.faults[0][0] == what:
            return self.faults.pop(0)[1]
        return None

    def error(self, code: int, message: str) -> dict[str, Any]:
        if self.dialect in ("sglang", "fastvideo"):
            return {"error": message} if code == 401 else {"detail": message}
        return {"error": {"message": message, "type": "error", "param": None, "code": code}}

    def create(self, fields: dict[str, Any], once: str | None) -> dict[str, Any]:
        if self.dialect == "unstatic" and once in self.once:
            return self.job(self.once[once])
        self.made.append(fields)
        name = f"video_{len(self.made)}"
        self.jobs[name] = 0
        self.once[once or name] = name
        return self.job(name)

    def job(self, name: str) -> dict[str, Any]:
        polled = self.jobs[name]
        over = polled > self.polls
        status = "queued" if polled == 0 or self.dialect in ("sglang", "fastvideo") else "in_progress"
        status = ("failed" if self.failure else "completed") if over else status
        told = self.dialect == "unstatic" and polled > 0
        percent = 100 if status == "completed" else min(99, 100 * polled // (self.polls + 1)) if told else 0
        job = {
            "id": name,
            "object": "video",
            "status": status,
            "progress": percent,
            "model": MODEL,
            "error": None,
        }
        if status == "failed" and self.failure is not None:
            code, message = self.failure
            job["error"] = {"message": message} | (
                {} if self.dialect in ("sglang", "fastvideo") else {"code": code}
            )
        return job


def form_of(kind: str, content: bytes) -> dict[str, Any]:
    """Read a form as a server does; a file is a tuple of its name, its type and its bytes."""
    parsed = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
    fields: dict[str, Any] = {}
    for part in parsed.get_payload():
        about = part["Content-Disposition"]
        name, file = re.search(r' name="([^"]*)"', about), re.search(r'filename="([^"]*)"', about)
        value = part.get_payload(decode=True)
        fields[name[1]] = (file[1], part.get_content_type(), value) if file else value.decode()
    return fields


class Here(ThreadingHTTPServer):
    """The fake one, on a port."""

    fake: FakeServer


class Handler(BaseHTTPRequestHandler):
    server: "Here"
    protocol_version = "HTTP/1.1"

    @property
    def fake(self) -> FakeServer:
        return self.server.fake

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        path = self.path.removeprefix("/v1")
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.fake.asked.append(f"{self.command} {path}")
        self.fake.keys.append(self.headers.get("Authorization"))
        fault = self.fake.fault(f"{self.command} {path}")
        if fault == "break":
            return self.hang_up()
        if isinstance(fault, int) and not path.endswith("/content"):
            return self.answer(
                fault, self.fake.error(fault, "not now"), {"Retry-After": self.fake.retry_after}
            )
        if self.fake.key and self.headers.get("Authorization") != f"Bearer {self.fake.key}":
            return self.answer(401, self.fake.error(401, "Unauthorized"))
        if self.fake.redirect:
            return self.answer(302, {}, {"Location": self.fake.redirect + self.path})
        if path == "/models":
            card = {
                "id": MODEL,
                "object": "model",
                "owned_by": OWNERS.get(self.fake.dialect, "someone"),
            }
            return self.answer(200, {"object": "list", "data": [card | self.fake.card]})
        if self.command == "POST" and path == "/videos":
            return self.create(content, lose=fault == "lose")
        return self.of_job(path, fault)

    def do_GET(self) -> None:
        self.handle_any()

    def do_POST(self) -> None:
        self.handle_any()

    def do_DELETE(self) -> None:
        self.handle_any()

    def create(self, content: bytes, *, lose: bool) -> None:
        kind = self.headers.get("Content-Type") or ""
        is_form = kind.startswith("multipart/form-data")
        if self.fake.dialect == "vllm-omni" and not is_form:
            return self.answer(422, {"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]})
        fields = form_of(kind, content) if is_form else json.loads(content)
        own = {"enhance_prompt"} if self.fake.dialect == "unstatic" else set[str]()
        assert set(fields) <= {*FORM_FIELDS} | own, "a field that not every server knows"
        fields |= {name: int(fields[name]) for name in WHOLE if name in fields}
        if fields["size"] == "64x8192":
            return self.answer(400, self.fake.error(400, "size 64x8192 is too much: take 64x64"))
        job = self.fake.create(fields, self.headers.get("Idempotency-Key"))
        return self.hang_up() if lose else self.answer(200, job)

    def of_job(self, path: str, fault: int | str | None) -> None:
        _, _, name, *rest = path.split("/")
        if name not in self.fake.jobs:
            return self.answer(404, self.fake.error(404, "Video not found"))
        if self.command == "DELETE":
            del self.fake.jobs[name]
            gone = {"id": name, "object": "video.deleted", "deleted": True}
            return self.answer(200, gone if self.fake.dialect in ("vllm-omni", "unstatic") else {"id": name})
        if rest == ["content"]:
            return self.film(self.fake.film(self.fake.made[int(name[6:]) - 1]), fault)
        self.fake.jobs[name] += 1
        job = self.fake.job(name)
        coded = self.fake.dialect == "vllm-omni" and self.fake.failure and job["status"] == "failed"
        pace = {} if self.fake.pace_ms is None else {"openai-poll-after-ms": str(self.fake.pace_ms)}
        return self.answer(self.fake.failure[0] if coded else 200, job, pace)

    def film(self, content: bytes, fault: int | str | None) -> None:
        asked = self.headers.get("Range") or ""
        self.fake.ranges.append(asked)
        first = int(asked[6:-1]) if asked and self.headers.get("If-Range") == '"film"' else 0
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if self.fake.etag:
            self.send_header("ETag", '"film"')
        if not self.fake.endless:
            self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        if self.fake.endless:
            try:
                while True:
                    self.wfile.write(bytes(1 << 16))
            except OSError:
                self.close_connection = True
        elif isinstance(fault, int):
            self.wfile.write(content[first : first + fault])
            self.hang_up()
        else:
            self.wfile.write(content[first:])

    def answer(self, code: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(2)


@contextmanager
def serving(server: FakeServer) -> Generator[FakeServer]:
    """Serve on this machine while the block runs."""
    http = Here(("127.0.0.1", 0), Handler)
    http.fake = server
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
