"""One server over HTTP: what is asked of it, how often, and what may come back.

The standard library is enough for one request at a time, and keeps the install small. What a client library
would do of itself, asking again, has to differ here: a film must never be asked for twice.
"""

import json
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from socket import gaierror
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from unstatic.core.errors import InputError, UnstaticError
from unstatic.core.files import human_size
from unstatic.core.keys import KEY_VARIABLE

TRIES, MAX_WAIT_S = 5, 120
NOT_BEGUN = (409, 429, 503)  # with these a server says that it did nothing
PASSING = (*NOT_BEGUN, 408, 425, 500, 502, 504)
MAX_ANSWER_BYTES, MAX_FILM_BYTES, PIECE = 1 << 20, 2 << 30, 1 << 16
WORDS_CHARACTERS = 300

Answer = tuple[dict[str, Any], Message]
T = TypeVar("T")


class ClosedError(InputError):
    """The server lets nobody in with this key, or at this address: whoever chose them can mend that."""


class GoneError(ClosedError):
    """The server has nothing there."""


class RefusedError(Exception):
    """The server answered with the code of an error; it does not leave this file."""

    def __init__(self, code: int, content: bytes, headers: Message) -> None:
        self.code, self.content, self.headers = code, content, headers
        self.wait_s = asked_wait_s(headers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """A server below `base`, and the key for it, which no redirect carries on; `sleep` waits for seconds."""

    base: str
    key: str = field(default="", repr=False)
    timeout_s: float = 60.0
    max_film_bytes: int = MAX_FILM_BYTES
    sleep: Callable[[float], object] = time.sleep

    def ask(
        self,
        method: str,
        path: str,
        body: tuple[bytes, dict[str, str]] = (b"", {}),
        *,
        once: bool = False,
        tries: int = TRIES,
    ) -> Answer:
        """Return the JSON object and the headers that come back for a body and its headers.

        It is asked again where that may help, but only after a server said that it did nothing if it must be
        done `once`. A failed job is an answer, whatever its code. Raises GoneError where nothing is,
        ClosedError where the key opens nothing, InputError for what the user can mend, UnstaticError for the
        rest.
        """

        def asked() -> Answer:
            try:
                with self._open(method, path, *body) as answer:
                    content, headers = answer.read(MAX_ANSWER_BYTES), answer.headers
                    if len(content) == MAX_ANSWER_BYTES:
                        most = human_size(MAX_ANSWER_BYTES)
                        raise UnstaticError(f"{self.base}{path} answers with {most} or more: it was not read")
                    if answer.length:
                        raise ConnectionError("the connection broke")
            except RefusedError as refused:
                content, headers = refused.content, refused.headers
                if _object(content).get("object") != "video":  # as which vLLM-Omni gives out a failed job
                    raise
            if not (found := _object(content)):
                at = f"{self.base}{path}"
                raise UnstaticError(f"{at} does not answer in JSON: check the address, it may end in /v1")
            return found, headers

        return self._tried(asked, path, once=once, tries=tries)

    def download(self, path: str, target: Path) -> None:
        """Write what is there into a file, going on where the connection broke if it is still the same.

        Raises UnstaticError for what is larger than a film may be, or breaks too often.
        """
        there, tag = 0, None

        def fetched() -> None:
            nonlocal there, tag
            headers = {"Range": f"bytes={there}-", "If-Range": tag} if there and tag else {}
            with self._open("GET", path, b"", headers) as answer, target.open("ab") as file:
                goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {there}-")
                there, tag = there if goes_on else 0, answer.headers.get("ETag")
                file.truncate(there)
                self._check_film(there + (answer.length or 0))
                while piece := answer.read1(PIECE):
                    there += file.write(piece)
                    self._check_film(there)
                if answer.length:
                    raise ConnectionError("the connection broke")

        self._tried(fetched, path)

    def _open(self, method: str, path: str, content: bytes, headers: Mapping[str, str]) -> Any:
        request = Request(f"{self.base}{path}", content or None, dict(headers), method=method)
        if self.key:
            request.add_unredirected_header("Authorization", f"Bearer {self.key}")
        try:
            return urlopen(request, timeout=self.timeout_s)
        except HTTPError as error:
            with error:
                raise RefusedError(error.code, error.read(MAX_ANSWER_BYTES), error.headers) from None

    def _tried(self, act: Callable[[], T], path: str, *, once: bool = False, tries: int = TRIES) -> T:
        """Do it, and again where that may help. Raises what the user is told."""
        for number in range(1, tries + 1):
            try:
                return act()
            except RefusedError as refused:
                wait_s, again = refused.wait_s, refused.code in (NOT_BEGUN if once else PASSING)
                if not again or number == tries or (wait_s or 0) > MAX_WAIT_S:
                    raise self._refusal(refused, path) from None
            except (OSError, HTTPException) as error:
                wait_s, reason = None, getattr(error, "reason", error)
                why = cleaned(str(reason)) or type(reason).__name__
                if once and not isinstance(reason, ConnectionRefusedError | gaierror):
                    raise UnstaticError(
                        f"the answer of {self.base} was lost ({why}): it was not asked again, for it may make"
                        f" the film already; {self.base}/videos lists what it makes"
                    ) from None
                if number == tries:
                    raise UnstaticError(
                        f"{self.base} does not answer ({why}): check the address, and that the server runs"
                    ) from None
            self.sleep(2.0 ** (number - 1) if wait_s is None else wait_s)
        raise AssertionError("the last try returns or raises")

    def _refusal(self, refused: RefusedError, path: str) -> UnstaticError:
        code, said = refused.code, words_of(refused.content)
        if code in (401, 403):
            return ClosedError(
                f"{self.base} refuses the key ({said}): set {KEY_VARIABLE} to one that it knows"
            )
        if code in (404, 405):
            return GoneError(f"{self.base} has no {path} ({said}): check the address")
        if code < 500 and code not in PASSING:
            return InputError(f"{self.base} refuses it ({code}): {said}")
        later = f"in {refused.wait_s:.0f} seconds" if refused.wait_s else "later"
        return UnstaticError(f"{self.base} cannot do it now ({code}): {said}; try {later}")

    def _check_film(self, size_bytes: int) -> None:
        if size_bytes > self.max_film_bytes:
            most = human_size(self.max_film_bytes)
            raise UnstaticError(f"{self.base} sends more than {most} for the film: it was not taken")


def asked_wait_s(headers: Message) -> float | None:
    """Return how long Retry-After asks to wait, in seconds or until a date (RFC 9110, 10.2.3), if it does.

    A date is meant by the server's own clock, which it tells in Date.
    """
    asked = (headers.get("Retry-After") or "").strip()
    if asked.isdecimal():
        return float(asked[:9])
    until, now = _moment(asked), _moment(headers.get("Date") or "")
    if until is None:
        return None
    return float(max(0, math.ceil(until - (time.time() if now is None else now))))


def _moment(date: str) -> float | None:
    """Return an HTTP date in seconds since 1970; None for anything else."""
    try:
        moment = parsedate_to_datetime(date)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()  # one of the three forms names no zone
    except (ValueError, OverflowError):
        return None


def as_json(fields: Mapping[str, object]) -> tuple[bytes, dict[str, str]]:
    """Return fields as a JSON object, with its header."""
    return json.dumps(fields).encode(), {"Content-Type": "application/json"}


def as_form(fields: Mapping[str, object], pictures: Mapping[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """Return fields, and PNG pictures as files, as a form in many parts, with its header."""
    boundary = secrets.token_hex(16)
    parts = [(f'"{name}"', str(value).encode()) for name, value in fields.items()]
    kind = "\r\nContent-Type: image/png"
    parts += [(f'"{name}"; filename="{name}.png"{kind}', content) for name, content in pictures.items()]
    begin = f"--{boundary}\r\nContent-Disposition: form-data; name="
    lines = [f"{begin}{about}\r\n\r\n".encode() + content + b"\r\n" for about, content in parts]
    end = f"--{boundary}--\r\n".encode()
    return b"".join(lines) + end, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def words_of(said: Any) -> str:
    """Return what an error says, in any of the shapes that servers give it, read or not."""
    if isinstance(said, bytes):
        said = _object(said) or said.decode(errors="replace")
    while isinstance(said, dict):
        said = next((said[key] for key in ("error", "detail", "message", "msg") if said.get(key)), "")
    if isinstance(said, list):  # FastAPI complains of fields
        fields = [each for each in said if isinstance(each, dict)]
        said = "; ".join(f"{each.get('msg')} {each.get('loc', '')}" for each in fields)
    return cleaned(str(said or "")) or "no reason given"


def cleaned(text: str) -> str:
    """Return a stranger's words as one short line that does nothing to a terminal."""
    return "".join(each for each in " ".join(text.split()) if each.isprintable())[:WORDS_CHARACTERS]


def _object(content: bytes) -> dict[str, Any]:
    """Return a JSON object, an empty one for anything else."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
