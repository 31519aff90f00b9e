"""Answers that carry files (RFC 9110, 13 and 14): whole, a range of it, or what is made at this moment."""

import logging
import re
from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

import anyio
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from unstatic.server.errors import ApiError
from unstatic.server.storage import Opened, Storage, StorageError

MAX_NAME_LENGTH = 120
# What is read in the thread that answers: a stream asks for a thread again and again
AT_ONCE_BYTES = 256 * 1024

_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,99})-([0-9]{0,99})[ \t]*", re.IGNORECASE)
_NOT_IN_NAMES = '/\\:*?"<>|%'
log = logging.getLogger(__name__)


class Stream(StreamingResponse):
    """A body in pieces. If the storage fails meanwhile it has no end, which the client will notice.

    `release` is called after the answer, also if the client goes away.
    """

    def __init__(
        self,
        content: AsyncIterator[bytes | str],
        status: int = 200,
        headers: dict[str, str] | None = None,
        *,
        media_type: str | None = None,
        release: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(content, status, headers, media_type)
        self.release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.release()

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except StorageError as error:
            log.warning("an answer ends early: %s", error)


class Download(Stream):
    """A stretch of a file that is open; it is closed after the answer."""

    def __init__(self, opened: Opened, start: int, stop: int, status: int, headers: dict[str, str]) -> None:
        pieces = iterate_in_threadpool(opened.pieces(start, stop))
        super().__init__(pieces, status, headers, release=opened.close)


def download(
    request: Request, storage: Storage, key: str, *, media_type: str, name: str, etag: str
) -> Response:
    """Answer a GET or HEAD of a file that its client shall save as `name`.

    `etag` is some word that changes whenever the bytes do. Of several ranges at once none is honoured: the
    answer is the whole file. Raises MissingKeyError.
    """
    opened = storage.open(key)
    try:
        answer = _answer(request, opened, media_type, name, f'"{etag}"')
    except BaseException:
        opened.close()
        raise
    if not isinstance(answer, Download):
        opened.close()
    return answer


def _answer(request: Request, opened: Opened, media_type: str, name: str, etag: str) -> Response:
    asked, size = request.headers, opened.size_bytes
    always = {"ETag": etag, "Cache-Control": "private", "Accept-Ranges": "bytes"}

    # Is it what the client has, or had?
    if "if-match" in asked and not _names(asked["if-match"], etag, weakly=False):
        return _refusal(412, "the file is another one by now", "precondition_failed", always)
    if "if-none-match" in asked and _names(asked["if-none-match"], etag, weakly=True):
        return Response(status_code=304, headers=always)

    # Which bytes of it?
    start, stop, status = 0, size, 200
    whole = request.method != "GET" or asked.get("if-range", etag) != etag
    if not whole and (found := _range(asked.get("range", ""), size)):
        start, stop = found
        status = 206
        if start >= stop:
            headers = {**always, "Content-Range": f"bytes */{size}"}
            return _refusal(416, f"the file has {size} bytes", "range_not_satisfiable", headers)

    headers = {
        **always,
        "Content-Type": media_type,
        "Content-Length": str(stop - start),
        "Content-Disposition": disposition(name),
        "X-Content-Type-Options": "nosniff",
    }
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    if request.method == "HEAD":
        return Response(headers=headers)
    if stop - start <= AT_ONCE_BYTES:
        return Response(b"".join(opened.pieces(start, stop)), status, headers)
    return Download(opened, start, stop, status, headers)


def _refusal(status: int, message: str, code: str, headers: dict[str, str]) -> Response:
    return JSONResponse(ApiError(status, message, code=code).body, status, headers)


def _names(listed: str, etag: str, *, weakly: bool) -> bool:
    """Return whether a list of entity tags has this one in it, which is strong."""
    tags = [tag.strip() for tag in listed.split(",")]
    return "*" in tags or etag in tags or (weakly and f"W/{etag}" in tags)


def _range(asked: str, size: int) -> tuple[int, int] | None:
    """Return the first byte of a range and the one after its last; nothing if it is not one that counts.

    A range outside the file is empty.
    """
    found = _RANGE.fullmatch(asked)
    if found is None:
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def disposition(name: str) -> str:
    """Return the header that has a file saved under `name` (RFC 6266), whatever a stranger put into it."""
    plain = "".join("_" if c in _NOT_IN_NAMES or not c.isprintable() else c for c in name).strip(" .-")
    stem, dot, suffix = plain.rpartition(".")
    if dot and len(suffix) < 10:
        plain = f"{stem[: MAX_NAME_LENGTH - len(suffix) - 1]}.{suffix}"
    plain = plain[:MAX_NAME_LENGTH] or "download"
    ascii_only = "".join(c if c.isascii() else "_" for c in plain)
    also = "" if plain == ascii_only else f"; filename*=UTF-8''{quote(plain, safe='')}"
    return f'attachment; filename="{ascii_only}"{also}'


async def growing(
    next_piece: Callable[[int], bytes | None], is_over: Callable[[], bool], *, poll_s: float | int = 0.25
) -> AsyncIterator[bytes]:
    """Yield piece 0, 1, 2, ... as soon as each is there, and end after the last one that is there once over.

    Both functions may wait for disk and network. Give the answer as a `Stream`.
    """
    number, over = 0, False
    while True:
        piece = await run_in_threadpool(next_piece, number)
        if piece is not None:
            yield piece
            number += 1
        elif over:
            return
        else:
            over = await run_in_threadpool(is_over)
            if not over:
                await anyio.sleep(poll_s)
