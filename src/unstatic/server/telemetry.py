"""What an operator sees of a running server: a line of JSON for every request, metrics, and traces if wanted.

Nothing here tells keys, prompts, bodies, paths or query strings: a request is named by its id and the
template of its route, and an error by its kind and the lines that it came through, without its words.
"""

import json
import logging
import re
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unstatic.server.metrics import Metrics
from unstatic.server.tracing import Tracing

REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}", re.ASCII)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
NOWHERE = "(none)"

log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON, with what its `fields` say."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1])
        return json.dumps(line, default=str)


def describe(error: BaseException) -> dict[str, Any]:
    """Return the kind of an error, the lines that it came through, and what caused it; never its words."""
    frames = traceback.extract_tb(error.__traceback__)
    found: dict[str, Any] = {
        "kind": f"{type(error).__module__}.{type(error).__qualname__}",
        "lines": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if (cause := error.__cause__ or error.__context__) is not None and cause is not error:
        found["cause"] = type(cause).__qualname__
    return found


def log_to(stream: TextIO = sys.stderr, *, level: int = logging.INFO) -> None:
    """Let this process write its log as JSON; what others than we and uvicorn say only if it is a warning.

    uvicorn's own lines about requests, which hold paths and queries, are left out.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers, root.level = [handler], logging.WARNING
    for name in ("unstatic", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(level)
    logging.getLogger("uvicorn.error").handlers = []
    logging.getLogger("uvicorn.access").disabled = True


class Telemetry:
    """Gives every request an id, and tells the log, the metrics and the traces how it ended.

    `scope["state"]` gets "request_id"; who knows the account puts "account_id" there.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        tracing: Tracing,
        monotonic: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.app, self.metrics, self.tracing, self.monotonic = app, metrics, tracing, monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, began_s = Headers(scope=scope), self.monotonic()
        name = name_of(headers.get("x-request-id", ""))
        scope.setdefault("state", {})["request_id"] = name
        status = 500  # unless something else is said

        async def say(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        failed: Exception | None = None
        with self.tracing.span(scope["method"], parent=headers.get("traceparent")) as span:
            try:
                await self.app(scope, receive, say)
            except Exception as error:
                failed = error
                raise
            finally:
                route = route_of(scope)
                span.end(f"{scope['method']} {route}", {"http.route": route, "http.status": status})
                self._tell(scope, route, status, self.monotonic() - began_s, failed)

    def _tell(self, scope: Scope, route: str, status: int, took_s: float, failed: Exception | None) -> None:
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        self.metrics.requests.labels(route, method, str(status)).inc()
        self.metrics.request_seconds.labels(route, method).observe(took_s)
        state = scope["state"]
        fields = {
            "request_id": state["request_id"],
            "method": method,
            "route": route,
            "status": status,
            "ms": round(took_s * 1_000, 1),
            "account_id": state.get("account_id"),
        }
        level = logging.ERROR if failed else logging.INFO
        log.log(level, "request", extra={"fields": fields}, exc_info=failed)


def name_of(asked: str) -> str:
    """Return the id of a request: what its client calls it, if that is a plain word, or a new one."""
    return asked if REQUEST_ID.fullmatch(asked) else f"req-{secrets.token_hex(12)}"


def route_of(scope: Scope) -> str:
    """Return the template of the route that was taken, never the path, which a stranger writes."""
    return str(getattr(scope.get("route"), "path", NOWHERE))
