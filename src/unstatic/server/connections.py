"""Connections: those that ask for nothing and take nothing in are given up, and there are only so many.

uvicorn ends a connection that is silent after an answer. Here is what it leaves open: one that never said
anything, said half the head of a request, says a head without an end, or takes no answer in. Slow bodies are
refused by `forms.py`.
"""

import sys
from asyncio import AbstractEventLoop
from heapq import nsmallest
from typing import Any, Protocol, runtime_checkable

from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from unstatic.server.errors import BUSY_WAIT_S, ApiError, answer

HEAD_S, TAKE_S = 20.0, 60.0
# Of a head, or of the trailers of a body; what comes at once is read in pieces as large
MOST_HEAD_BYTES = 65_536
# Of the files that a process may have open, so many are the database's and others'; a connection may need two
MOST_FILES, OTHER_FILES, FEWEST = 20_000, 256, 32


@runtime_checkable
class Timer(Protocol):
    """What `call_later` returns, also uvloop's, which is no asyncio.TimerHandle."""

    def cancel(self) -> object:
        """Stop it."""
        ...


class Connection(HttpToolsProtocol):
    """A connection of which the head of a request must come within `HEAD_S`, and be taken in within `TAKE_S`.

    A head without an end within `MOST_HEAD_BYTES`, all of which the parser would keep, is answered with 431,
    or ends the connection where another answer is under way.

    There are at most `limit_concurrency` of them: one more ends those that were silent for longest, and where
    all are at work it is told so.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.most, self.limit_concurrency = self.limit_concurrency, None
        self.heard_s, self.has_asked, self.head_bytes = self.loop.time(), False, 0
        self.head: Timer | None = None
        self.take: Timer | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked at the moment."""
        return not self.has_asked or self.cycle.response_complete

    def connection_made(self, transport: Any) -> None:  # uvloop's is no asyncio.Transport
        """Wait for a request, if there is room for it."""
        super().connection_made(transport)
        self._wait()
        if self.most is not None and len(self.connections) > self.most and not self._make_room(self.most):
            self.app = _full

    def data_received(self, data: bytes) -> None:
        """Read on; what is left of a body that was answered early is not waited for."""
        self.heard_s = self.loop.time()
        for begin in range(0, len(data), MOST_HEAD_BYTES):
            if not self.transport.is_closing():
                self._read(data[begin : begin + MOST_HEAD_BYTES])
        if self.is_idle and self.head is None:
            self._wait()

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that its head is there."""
        self.head, self.head_bytes = _stopped(self.head), 0
        super().on_headers_complete()
        self.has_asked = True

    def on_body(self, body: bytes) -> None:
        """Note that this is no head."""
        self.head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request has ended, with its trailers."""
        self.head_bytes = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Note that the other side takes nothing in."""
        super().pause_writing()
        self.take = self.loop.call_later(TAKE_S, self._give_up)

    def resume_writing(self) -> None:
        """Note that it does."""
        self.take = _stopped(self.take)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.head, self.take = _stopped(self.head), _stopped(self.take)
        super().connection_lost(exc)

    def _read(self, piece: bytes) -> None:
        """Read a piece, of which what is no head sets the count back."""
        self.head_bytes += len(piece)
        super().data_received(piece)
        if self.head_bytes <= MOST_HEAD_BYTES or self.transport.is_closing():
            return
        if self.is_idle:
            self.transport.write(_too_large())
            self.transport.close()
        else:
            self._give_up()

    def _wait(self) -> None:
        _stopped(self.head)
        self.head = self.loop.call_later(HEAD_S, self._give_up)

    def _give_up(self) -> None:
        self.transport.abort()

    def _make_room(self, most: int) -> bool:
        """End some connections that are idle, those first that never asked; return whether there were any."""
        idle = [each for each in self.connections if isinstance(each, Connection) and each.is_idle]
        idle = [each for each in idle if each is not self]
        some = nsmallest(1 + most // 100, idle, key=lambda each: (each.has_asked, each.heard_s))
        for each in some:
            self.connections.discard(each)
            each._give_up()
        return bool(some)


def _stopped(timer: Timer | None) -> None:
    if timer is not None:
        timer.cancel()


def _too_large() -> bytes:
    """Return the answer to a head that is too large, for which no application is asked."""
    message = f"the head of a request has at most {MOST_HEAD_BYTES} bytes"
    refusal = answer(ApiError(431, message, code="head_too_large"))
    refusal.headers["Connection"] = "close"
    head = b"".join(name + b": " + value + b"\r\n" for name, value in refusal.raw_headers)
    return STATUS_LINE[431] + head + b"\r\n" + bytes(refusal.body)


async def _full(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request for which there is no room."""
    error = ApiError(503, "the server is busy: ask again later", code="busy", retry_after_s=BUSY_WAIT_S)
    refusal = answer(error)
    refusal.headers["Connection"] = "close"
    await refusal(scope, receive, send)


def most_connections() -> int:
    """Let this process open as many files as it may, and return for how many connections that is enough."""
    if sys.platform == "win32":
        return MOST_FILES // 4
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = MOST_FILES if hard == unlimited else min(hard, MOST_FILES)
    if soft != unlimited and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    files = MOST_FILES if soft == unlimited else min(soft, MOST_FILES)
    return max(FEWEST, (files - OTHER_FILES) // 2)
